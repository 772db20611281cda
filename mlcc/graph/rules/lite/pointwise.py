"""What is done to each element, or to pairs of them. Of bytes: in fixed point, as LiteRT's reference kernels do, or as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules.lite import sixteen, tables
from mlcc.graph.rules.lite.fixed import hard_swish_table, logistic_table, tanh_table
from mlcc.graph.rules.lite.grid import (
    QUANTISED,
    RELU,
    RELU6,
    RELU_N1_TO_1,
    TANH,
    Grid,
    away,
    centred,
    dequantised,
    grid,
    is_quantised,
    kind,
    needed,
    placed,
    rescaled,
    tabulated,
)
from mlcc.graph.rules.lite.layout import pointwise
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]
LEFT, SHORTER = 20, 15  # bits by which terms of bytes, and of int16, are moved up before they are scaled


def activated(s: Source, y: Value, activation: int) -> Value:
    """A fused activation of floats."""
    b = s.b
    if activation == 0:
        return y
    if activation == TANH:
        return b("Tanh", y)
    low, high = {RELU: (0.0, None), RELU6: (0.0, 6.0), RELU_N1_TO_1: (-1.0, 1.0)}.get(activation, (None, None))
    if low is None:
        raise s.unsupported(f"fused activation {activation}", "convert the model without it")
    return run(s, "Clip", y, b.like(low, y), None if high is None else b.like(high, y))


def fused(s: Source) -> int:
    return int(s.attr("fused_activation_function", 0))


def of_floats(op: str, *names: str) -> Rule:
    """A standard operator of the same meaning, on floats and plain integers."""

    def rule(s: Source) -> Value:
        refuse_grids(s)
        activation = fused(s)
        operands = [s[i] for i in range(len(s.inputs))]
        return pointwise(s.b, lambda *x: activated(s, run(s, op, *x, **s.some(*names)), activation), operands)

    return rule


def refuse_grids(s: Source) -> None:
    """Where integers with a scale are not known what to do with."""
    for i in range(len(s.inputs)):
        if is_quantised(s, i):
            raise s.unsupported(f"{s.inputs[i].dtype} with a scale", "keep this operator in float")  # type: ignore[union-attr]


def sum_or_difference(op: str) -> Rule:
    """Both operands moved up by LEFT bits and scaled to twice the larger scale; then to the result's. reference/integer_ops/add.h"""

    def rule(s: Source) -> Value:
        if not is_quantised(s):
            return _plain(s, op)
        b, (x, y, out) = s.b, (needed(s, 0), needed(s, 1), needed(s, 0, "out"))
        power = bool(s.attr("pot_scale_int16", True))
        if s[0].dtype == "int16" and power and sixteen.powers_of_two(x, y, out):
            raise s.unsupported("a sum of int16 with scales that are powers of two", "convert the model with a newer converter")
        left = SHORTER if s[0].dtype == "int16" else LEFT
        activation = fused(s)
        twice = 2.0 * float(max(x.scale, y.scale))

        def of(p: Value, q: Value) -> Value:
            parts = raised(b, ((p, x), (q, y)), left, twice)
            real = twice / (float(1 << left) * float(out.scale))
            return placed(s, rescaled(b, b(op, *parts), real), out, activation)

        return pointwise(b, of, [s[0], s[1]])

    return rule


def raised(b: Builder, terms: Sequence[tuple[Value, Grid]], bits: int, scale: float) -> list[Value]:
    """Steps from zero, moved up by some bits and scaled to a common scale."""
    up = b.constant(np.int32(1 << bits))
    return [rescaled(b, b("Mul", centred(b, v, g), up), float(g.scale) / scale) for v, g in terms]


def _plain(s: Source, op: str) -> Value:
    s.attr("pot_scale_int16")
    activation = fused(s)
    refuse_grids(s)
    return pointwise(s.b, lambda x, y: activated(s, s.b(op, x, y), activation), [s[0], s[1]])


def product(s: Source) -> Value:
    """reference/integer_ops/mul.h"""
    if not is_quantised(s):
        return _plain(s, "Mul")
    b, (x, y, out) = s.b, (needed(s, 0), needed(s, 1), needed(s, 0, "out"))
    activation = fused(s)
    real = float(np.float32(np.float32(x.scale * y.scale) / out.scale))

    def of(p: Value, q: Value) -> Value:
        return placed(s, rescaled(b, b("Mul", centred(b, p, x), centred(b, q, y)), real), out, activation)

    return pointwise(b, of, [s[0], s[1]])


def extreme(op: str) -> Rule:
    """Of integers with one scale: as they lie."""

    def rule(s: Source) -> Value:
        same_grids(s)
        return pointwise(s.b, lambda x, y: s.b(op, x, y), [s[0], s[1]])

    return rule


def same_grids(s: Source) -> None:
    """Integers that are compared or moved as they lie must mean the same."""
    grids = [grid(s, i) for i in range(len(s.inputs))] + [grid(s, j, "out") for j in range(len(s.attr("types")))]
    values = [*s.inputs, *[None] * len(s.attr("types"))]
    found = {(g.scales, g.zeros) for g, v in zip(grids, values) if g is not None and (v is None or v.dtype in QUANTISED)}
    if is_quantised(s) and len(found) > 1:
        raise s.unsupported("integers of different scales", "convert the model so that they have one")


def quantize(s: Source) -> Value:
    """Floats to the nearest step, half away from zero; integers from one grid to another in fixed point."""
    b, x, out = s.b, s[0], needed(s, 0, "out")
    if is_quantised(s):
        given = needed(s, 0)
        real = float(given.scale) / float(out.scale)
        return pointwise(b, lambda v: placed(s, rescaled(b, centred(b, v, given), real), out), [x])
    return pointwise(b, lambda v: quantised(s, v, out), [x])


def quantised(s: Source, x: Value, out: Grid) -> Value:
    """AffineQuantize: the quotient in binary32."""
    b = s.b
    signed = away(b, b("Div", x, b.constant(out.scale)))
    limit = b.like(2.0**24, signed)  # beyond all types; the sum with the zero point does not wrap
    return placed(s, b.cast(b("Max", b("Min", signed, limit), b("Neg", limit)), "int32"), out)


def dequantize(s: Source) -> Value:
    b, of = s.b, grid(s, 0)
    if s[0].dtype == "float16":
        return b.cast(s[0], "float32")
    if of is None:
        raise s.bad("no scale")
    if len(of.scales) > 1:
        return dequantised(s, s[0], of)
    return pointwise(b, lambda x: b("Mul", b.cast(centred(b, x, of), "float32"), b.constant(of.scale)), [s[0]])


def clamp(low: float | None, high: float | None) -> Rule:
    """RELU and its kin. Integers: scaled to the result's grid, then clamped (activations.cc, ReluQuantized)."""
    kinds: dict[tuple[float | None, float | None], int] = {(0.0, None): RELU, (0.0, 6.0): RELU6, (-1.0, 1.0): RELU_N1_TO_1}
    number = kinds.get((low, high), -1)

    def rule(s: Source) -> Value:
        b = s.b
        if not is_quantised(s):
            ends = [None if v is None else b.like(v, s[0]) for v in (low, high)]
            return pointwise(b, lambda x: run(s, "Clip", x, *ends), [s[0]])
        if number < 0 or s[0].dtype == "int16":
            raise s.unsupported("integers", "keep this operator in float")
        x, out = needed(s, 0), needed(s, 0, "out")
        real = float(np.float32(x.scale / out.scale))
        return pointwise(b, lambda v: placed(s, rescaled(b, centred(b, v, x), real), out, number), [s[0]])

    return rule


def by_table(op: str, table: Callable[[Grid, Grid, str, str], np.ndarray] | None) -> Rule:
    """A standard operator; of bytes a table of what the fixed-point kernel gives."""

    def rule(s: Source) -> Value:
        if not is_quantised(s):
            return pointwise(s.b, lambda x: run(s, op, x), [s[0]])
        sixteen_bits = sixteen.function(s, op) if s[0].dtype == "int16" else None
        if sixteen_bits is not None:
            return sixteen_bits
        if table is None or s[0].dtype == "int16":
            raise s.unsupported(f"{s[0].dtype} with a scale", "keep this operator in float")
        numbers = table(needed(s, 0), needed(s, 0, "out"), s[0].dtype, kind(s))
        return pointwise(s.b, lambda x: tabulated(s, x, numbers), [s[0]])

    return rule


def leaky_relu(s: Source) -> Value:
    b, alpha = s.b, s.attr("alpha", 0.0)
    if not is_quantised(s):
        return pointwise(b, lambda x: run(s, "LeakyRelu", x, alpha=alpha), [s[0]])
    x, out = needed(s, 0), needed(s, 0, "out")
    up = float(np.float32(x.scale / out.scale))
    down = float(np.float32(np.float32(x.scale * np.float32(alpha)) / out.scale))

    def of(v: Value) -> Value:
        steps = centred(b, v, x)
        return placed(s, b("Where", b("Less", steps, b.like(0, steps)), rescaled(b, steps, down), rescaled(b, steps, up)), out)

    return pointwise(b, of, [s[0]])


def prelu(s: Source) -> Value:
    """Of bytes: reference/prelu.h"""
    b = s.b
    if not is_quantised(s):
        refuse_grids(s)
        return pointwise(b, lambda x, slope: b("Where", b("Less", x, b.like(0, x)), b("Mul", x, slope), x), [s[0], s[1]])
    if s[0].dtype == "int16":
        raise s.unsupported("int16", "quantise activations to int8")
    given, slopes, out = needed(s, 0), needed(s, 1), needed(s, 0, "out")
    up = float(np.float32(given.scale / out.scale))
    down = float(np.float32(np.float32(given.scale * slopes.scale) / out.scale))

    def of(x: Value, slope: Value) -> Value:
        steps = centred(b, x, given)
        below = rescaled(b, b("Mul", steps, centred(b, slope, slopes)), down)
        return placed(s, b("Where", b("Less", steps, b.like(0, steps)), below, rescaled(b, steps, up)), out)

    return pointwise(b, of, [s[0], s[1]])


def squared_difference(s: Source) -> Value:
    """Of bytes: both moved up by 7 bits and scaled to twice the larger scale. squared_difference.cc"""
    b = s.b
    if not is_quantised(s):

        def plain(x: Value, y: Value) -> Value:
            d = b("Sub", x, y)
            return b("Mul", d, d)

        return pointwise(b, plain, [s[0], s[1]])
    if s[0].dtype != "int8":
        raise s.unsupported(f"{s[0].dtype} with a scale", "keep this operator in float")
    x, y, out = needed(s, 0), needed(s, 1), needed(s, 0, "out")
    twice, up = 2.0 * float(max(x.scale, y.scale)), 7

    def of(p: Value, q: Value) -> Value:
        d = b("Sub", *raised(b, ((p, x), (q, y)), up, twice))
        return placed(s, rescaled(b, b("Mul", d, d), twice * twice / (float(1 << 2 * up) * float(out.scale))), out)

    return pointwise(b, of, [s[0], s[1]])


def squared(s: Source) -> Value:
    refuse_grids(s)
    return pointwise(s.b, lambda x: s.b("Mul", x, x), [s[0]])


def rsqrt(s: Source) -> Value:
    if is_quantised(s):
        return by_table("Rsqrt", tables.rsqrt)(s)  # type: ignore[return-value]
    return pointwise(s.b, lambda x: s.b("Div", s.b.like(1, x), s.b("Sqrt", x)), [s[0]])


def gelu(s: Source) -> Value:
    approximate = bool(s.attr("approximate", False))
    if is_quantised(s):
        return by_table("Gelu", tables.gelu(approximate))(s)  # type: ignore[return-value]
    return pointwise(s.b, lambda x: run(s, "Gelu", x, approximate="tanh" if approximate else "none"), [s[0]])


def floor_div(s: Source) -> Value:
    """The quotient rounded down."""
    refuse_grids(s)
    b = s.b

    def of(x: Value, y: Value) -> Value:
        if x.dtype.startswith("float"):
            return b("Floor", b("Div", x, y))
        q, rest = b("Div", x, y), b("Fmod", x, y)
        below = b(
            "And", b("Not", b("Equal", rest, b.like(0, rest))), b("Xor", b("Less", rest, b.like(0, rest)), b("Less", y, b.like(0, y)))
        )
        return b("Where", below, b("Sub", q, b.like(1, q)), q)

    return pointwise(b, of, [s[0], s[1]])


def compared(op: str) -> Rule:
    """Of integers with one scale: as they lie."""

    def rule(s: Source) -> Value:
        if any(is_quantised(s, i) for i in range(2)) and grid(s, 0) != grid(s, 1):
            raise s.unsupported("integers of different scales", "keep this operator in float")
        return pointwise(s.b, lambda x, y: run(s, op, x, y), [s[0], s[1]])

    return rule


def chosen(s: Source) -> Value:
    """SELECT: a condition of rank 1 chooses rows."""
    c, x, y = s[0], s[1], s[2]
    if grid(s, 1) != grid(s, 2) and is_quantised(s, 1):
        raise s.unsupported("integers of different scales", "keep this operator in float")
    if s.op == "SELECT" and c.rank == 1 and x.rank > 1:
        c = s.b.reshape(c, (c.shape[0], *(1,) * (x.rank - 1)))
    return s.b("Where", c, x, y)


def cast(s: Source) -> Value:
    s.attr("in_data_type"), s.attr("out_data_type")
    return pointwise(s.b, lambda x: s.b.cast(x, kind(s)), [s[0]])


def rounded(s: Source) -> Value:
    """Half to even: RoundToNearest in reference/round.h."""
    refuse_grids(s)
    return pointwise(s.b, lambda x: s.b("Round", x), [s[0]])


TABLE: dict[str, Rule] = {
    "ABS": of_floats("Abs"),
    "ADD": sum_or_difference("Add"),
    "CAST": cast,
    "CEIL": of_floats("Ceil"),
    "COS": of_floats("Cos"),
    "DEQUANTIZE": dequantize,
    "DIV": of_floats("Div"),
    "ELU": by_table("Elu", tables.populated(tables.elu)),
    "EQUAL": compared("Equal"),
    "EXP": by_table("Exp", tables.populated(np.exp)),
    "FLOOR": of_floats("Floor"),
    "FLOOR_DIV": floor_div,
    "FLOOR_MOD": of_floats("Mod"),
    "GELU": gelu,
    "GREATER": compared("Greater"),
    "GREATER_EQUAL": compared("GreaterOrEqual"),
    "HARD_SWISH": by_table("HardSwish", hard_swish_table),
    "LEAKY_RELU": leaky_relu,
    "LESS": compared("Less"),
    "LESS_EQUAL": compared("LessOrEqual"),
    "LOG": by_table("Log", None),
    "LOGICAL_AND": of_floats("And"),
    "LOGICAL_NOT": of_floats("Not"),
    "LOGICAL_OR": of_floats("Or"),
    "LOGISTIC": by_table("Sigmoid", logistic_table),
    "MAXIMUM": extreme("Max"),
    "MINIMUM": extreme("Min"),
    "MUL": product,
    "NEG": of_floats("Neg"),
    "NOT_EQUAL": lambda s: s.b("Not", compared("Equal")(s)),  # type: ignore[arg-type]
    "POW": of_floats("Pow"),
    "PRELU": prelu,
    "QUANTIZE": quantize,
    "RELU": clamp(0.0, None),
    "RELU6": clamp(0.0, 6.0),
    "RELU_0_TO_1": clamp(0.0, 1.0),
    "RELU_N1_TO_1": clamp(-1.0, 1.0),
    "ROUND": rounded,
    "RSQRT": rsqrt,
    "SELECT": chosen,
    "SELECT_V2": chosen,
    "SIGN": of_floats("Sign"),
    "SIN": of_floats("Sin"),
    "SQRT": of_floats("Sqrt"),
    "SQUARE": squared,
    "SQUARED_DIFFERENCE": squared_difference,
    "SUB": sum_or_difference("Sub"),
    "TANH": by_table("Tanh", tanh_table),
}
