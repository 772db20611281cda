"""Recurrent layers of floats. Their states, which LiteRT keeps between calls, are operands, and results behind the first."""

from __future__ import annotations

from collections.abc import Callable

from mlcc.graph.builder import Builder, Value
from mlcc.graph.repeat import repeat
from mlcc.graph.rules.lite.pointwise import activated, fused, refuse_grids
from mlcc.graph.rules.lite.products import weights
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]


def _times(s: Source, x: Value, index: int, bias: int | None = None) -> Value:
    """x · wᵀ (+ bias)"""
    b = s.b
    y = run(s, "MatMul", x, b.transpose(weights(s, index), (1, 0)))
    return y if bias is None or s.optional(bias) is None else b("Add", y, s[bias])


def _by_time(s: Source) -> tuple[Value, bool]:
    """[steps, batch, features], and whether the axes were turned round."""
    turned = not s.attr("time_major", False)
    return (s.b.transpose(s[0], (1, 0, 2)) if turned else s[0]), turned


def rnn(s: Source) -> tuple[Value, ...]:
    """h' = f(x·Wᵀ + b + h·Rᵀ). UNIDIRECTIONAL_SEQUENCE_RNN; RNN is one step of it."""
    refuse_grids(s)
    b, f, sequence = s.b, fused(s), s.op != "RNN"
    x, turned = _by_time(s) if sequence else (s.b.reshape(s[0], (1, *s[0].shape)), False)
    again = b.transpose(weights(s, 2), (1, 0))

    def turn(b: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        inner = _within(s, b)
        new = activated(inner, b("Add", parts[0], run(inner, "MatMul", old[0], again)), f)
        return [new], [new]

    (h,), (y,) = repeat(b, x.shape[0], [s[4]], [_times(s, x, 1, 3)], turn)
    return (b.transpose(y, (1, 0, 2)) if turned else y if sequence else h), h


def _within(s: Source, b: Builder) -> Source:
    return Source(s.op, s.inputs, s.attributes, s.opset, 1, b, s.declared, s.asked)


def _limited(s: Source, x: Value, limit: float) -> Value:
    return run(s, "Clip", x, s.b.like(-limit, x), s.b.like(limit, x)) if limit > 0 else x


def lstm(s: Source) -> tuple[Value, ...]:
    """Input gates may be missing (1 − the forget gate), peepholes and a projection may be there. lstm_eval.cc, LstmStepFloat; the cell's
    state is cut, not what goes into the gates as ONNX' LSTM has it."""
    refuse_grids(s)
    b, f, sequence = s.b, fused(s), s.op != "LSTM"
    if any(s.optional(i) is not None for i in range(20, 24)):
        raise s.unsupported("layer normalisation in an LSTM", "convert the model without it")
    x, turned = _by_time(s) if sequence else (s.b.reshape(s[0], (1, *s[0].shape)), False)
    cell_clip, projection_clip = (float(s.attr(n, 0)) for n in ("cell_clip", "proj_clip"))
    gates = [g for g in range(4) if s.optional(1 + g) is not None]  # input, forget, cell, output
    if gates not in ([0, 1, 2, 3], [1, 2, 3]):
        raise s.bad(f"an LSTM with {len(gates)} gates")
    given = [_times(s, x, 1 + g, 12 + g) for g in gates]
    again = {g: b.transpose(weights(s, 5 + g), (1, 0)) for g in gates}
    look = {g: s.optional(9 + k) for k, g in enumerate((0, 1, 3))}  # peepholes
    projection = None if s.optional(16) is None else b.transpose(weights(s, 16), (1, 0))
    bias = s.optional(17)

    def turn(b: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        t, (h, c) = _within(s, b), old

        def gate(g: int, cell: Value) -> Value:
            z = b("Add", parts[gates.index(g)], run(t, "MatMul", h, again[g]))
            w = look.get(g)
            return z if w is None else b("Add", z, b("Mul", cell, w))

        forget = b("Sigmoid", gate(1, c))
        enter = b("Sigmoid", gate(0, c)) if 0 in gates else b("Sub", b.like(1, forget), forget)
        c = b("Add", b("Mul", forget, c), b("Mul", enter, activated(t, gate(2, c), f)))
        c = _limited(t, c, cell_clip)
        y = b("Mul", b("Sigmoid", gate(3, c)), activated(t, c, f))
        if projection is not None:
            y = run(t, "MatMul", y, projection)
            y = _limited(t, y if bias is None else b("Add", y, bias), projection_clip)
        return [y, c], [y]

    (h, c), (y,) = repeat(b, x.shape[0], [s[18], s[19]], given, turn)
    return (b.transpose(y, (1, 0, 2)) if turned else y if sequence else h), h, c


def svdf(s: Source) -> tuple[Value, ...]:
    """The newest products of the features stand behind older ones; each unit sums `rank` filters over time. reference/svdf.h"""
    refuse_grids(s)
    b, rank, f = s.b, int(s.attr("rank", 1)), fused(s)
    w, state = weights(s, 2), s[4]
    filters, memory = w.shape
    batch = s[0].shape[0]
    older = b.reshape(state, (batch, filters, memory))
    new = b.reshape(_times(s, s[0], 1), (batch, filters, 1))
    kept = b.many("Concat", [b.slice(older, 2, 1, memory - 1), new], axis=2)[0] if memory > 1 else new
    each = b("Mul", kept, w)
    y = b("ReduceSum", b.reshape(each, (batch, filters // rank, rank * memory)), axes=(2,))
    y = b.reshape(y, (batch, filters // rank))
    y = y if s.optional(3) is None else b("Add", y, s[3])
    return activated(s, y, f), b.reshape(kept, state.shape)


TABLE: dict[str, Rule] = {
    "LSTM": lstm,
    "RNN": rnn,
    "SVDF": svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": rnn,
}
