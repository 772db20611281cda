"""LSTM, GRU and RNN as loops over time. Each gate is one chain: bias, then the input's terms, then the state's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.repeat import repeat
from mlcc.graph.rules.elementwise import TABLE as ELEMENTWISE
from mlcc.graph.rules.elementwise import clamp
from mlcc.graph.source import Source
from mlcc.graph.symbolic import counting

Step = Callable[[Value, list[Value]], list[Value]]

PARAMETERS = {  # of each activation, with their defaults
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "Softsign": (),
    "Softplus": (),
    "LeakyRelu": (("alpha", 0.01),),
    "ThresholdedRelu": (("alpha", 1.0),),
    "Elu": (("alpha", 1.0),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "Affine": (("alpha", 1.0), ("beta", 0.0)),
    "ScaledTanh": (("alpha", 1.0), ("beta", 1.0)),
}


def activations(s: Source, names: list[str]) -> list[tuple[str, dict[str, float]]]:
    """Each activation with its parameters: activation_alpha and activation_beta list those of the activations that have them, in order."""
    known = {n.lower(): n for n in PARAMETERS}
    given = {p: iter(s.attr(f"activation_{p}", [])) for p in ("alpha", "beta")}
    found = []
    for name in names:
        key = known.get(name.lower())
        if key is None:
            raise s.unsupported(f"activation {name}", f"one of {', '.join(PARAMETERS)}")
        found.append((key, {p: float(next(given[p], default)) for p, default in PARAMETERS[key]}))
    return found


def activation(s: Source, key: str, x: Value, attributes: dict[str, float]) -> Value:
    b = s.b
    if key == "Affine":
        return b("Add", b("Mul", x, b.like(attributes["alpha"], x)), b.like(attributes["beta"], x))
    if key == "ScaledTanh":
        return b("Mul", b("Tanh", b("Mul", x, b.like(attributes["beta"], x))), b.like(attributes["alpha"], x))
    result = ELEMENTWISE[key](Source(key, (x,), attributes, s.opset, 1, s.b))
    assert isinstance(result, Value)
    return result


LSTM_ACTIVATIONS = ("Sigmoid", "Tanh", "Tanh")


class Cell:
    """What the three operators share: operands by direction, activations, the walk over time."""

    def __init__(self, s: Source, gates: int, defaults: tuple[str, ...]) -> None:
        self.s, self.b, self.gates = s, s.b, gates
        self.hidden = int(s.attr("hidden_size", self.hidden_size()))
        self.direction = s.attr("direction", "forward")
        self.count = 2 if self.direction == "bidirectional" else 1
        self.layout = int(s.attr("layout", 0))
        x = s[0]
        self.x = s.b.transpose(x, (1, 0, 2)) if self.layout else x
        if x.rank != 3 or (s[1].shape, s[2].shape) != self.shapes(x.shape[2]):
            raise s.bad(f"input {list(x.shape)}, W {list(s[1].shape)}, R {list(s[2].shape)} do not fit")
        self.steps, self.batch = self.x.shape[:2]
        lengths = s.optional(4)
        known = s.b.array(lengths)
        self.lengths = (
            None if lengths is None or known is not None and (known == self.steps).all() else s.b.reshape(lengths, (self.batch, 1))
        )
        names = s.attr("activations", list(defaults) * self.count)
        if len(names) != len(defaults) * self.count:
            raise s.bad(f"{len(names)} activations, {len(defaults) * self.count} wanted")
        self.activations = activations(s, [n.decode() if isinstance(n, bytes) else n for n in names])

    def hidden_size(self) -> int:
        return self.s[2].shape[-1]

    def shapes(self, features: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the two weights."""
        n = self.gates * self.hidden
        return (self.count, n, features), (self.count, n, self.hidden)

    @contextmanager
    def inside(self, b: Builder) -> Iterator[None]:
        """What is written meanwhile goes into a loop's body."""
        before = self.s, self.b
        self.s, self.b = replace(self.s, b=b), b
        yield
        self.s, self.b = before

    def walk(self, direction: int, states: list[Value], projected: Value, step: Step) -> tuple[Value, list[Value]]:
        """One direction through time: (all outputs [steps, 1, batch, hidden], the final states). step: (projected input, states) → the next
        states, the output first. Sequences that end before a step keep what they had, and give 0."""
        numbers = [] if self.lengths is None else [self.b.cast(counting(self.b, self.steps), self.lengths.dtype)]

        def turn(b: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
            with self.inside(b):
                new = step(parts[0], old)
                y = new[0]
                if self.lengths is not None:
                    going = b("Less", parts[1], self.lengths)
                    new = [b("Where", going, n, o) for n, o in zip(new, old)]
                    y = b("Where", going, y, b.like(0, y))
                return new, [b.reshape(y, (1, self.batch, self.hidden))]

        backward = self.direction == "reverse" or direction == 1
        last, (y,) = repeat(self.b, self.steps, states, [projected, *numbers], turn, backward)
        return y, last

    def activate(self, direction: int, which: int, x: Value) -> Value:
        key, parameters = self.activations[direction * (len(self.activations) // self.count) + which]
        limit = self.s.attr("clip")
        if limit:
            x = clamp(self.s, clamp(self.s, x, self.b.like(-limit, x), False), self.b.like(limit, x), True)
        return activation(self.s, key, x, parameters)

    def part(self, v: Value | None, direction: int) -> Value | None:
        """The slice of an operand that belongs to a direction, its first axis dropped."""
        return None if v is None else self.b.reshape(self.b.slice(v, 0, direction, 1), v.shape[1:])

    def initial(self, index: int, direction: int) -> Value:
        v = self.s.optional(index)
        if v is not None and self.layout:
            v = self.b.transpose(v, (1, 0, 2))
        found = self.part(v, direction)
        return found if found is not None else self.b.constant(np.zeros((self.batch, self.hidden)), self.x.dtype)

    def projected(self, direction: int, bias: Value) -> Value:
        """bias + x·Wᵀ for all steps: [steps, batch, gates·hidden]."""
        w = self.part(self.s[1], direction)
        assert w is not None
        flat = self.b.reshape(self.x, (self.steps * self.batch, self.x.shape[2]))
        return self.b.reshape(self.b("MatMul", flat, self.b.transpose(w, (1, 0)), bias), (self.steps, self.batch, self.gates * self.hidden))

    def recurrent(self, direction: int) -> Value:
        """Rᵀ, as `stepped` takes it."""
        r = self.part(self.s[2], direction)
        assert r is not None
        return self.b.transpose(r, (1, 0))

    def stepped(self, direction: int, h: Value, r: Value, start: Value) -> Value:
        """start + h·Rᵀ."""
        return self.b("MatMul", h, r, start)

    def biases(self, direction: int) -> tuple[Value, Value]:
        both = self.part(self.s.optional(3), direction)
        n = self.gates * self.hidden
        if both is None:
            zero = self.b.constant(np.zeros(n), self.x.dtype)
            return zero, zero
        return self.b.slice(both, 0, 0, n), self.b.slice(both, 0, n, n)

    def gate(self, v: Value, index: int) -> Value:
        return self.b.slice(v, v.rank - 1, index * self.hidden, self.hidden)

    def outputs(self, sequences: list[Value], finals: list[list[Value]]) -> tuple[Value, ...]:
        """Y and the final states in the operator's layout."""
        b = self.b
        y = b.many("Concat", sequences, axis=1)[0]
        last = [b.many("Concat", [b.reshape(v, (1, self.batch, self.hidden)) for v in states], axis=0)[0] for states in finals]
        if self.layout:
            y = b.transpose(y, (2, 0, 1, 3))
            last = [b.transpose(v, (1, 0, 2)) for v in last]
        return (y, *last)[: max(1, self.s.output_count)]


def lstm(s: Source) -> tuple[Value, ...]:
    return long_short_term_memory(Cell(s, 4, LSTM_ACTIVATIONS))


def long_short_term_memory(c: Cell) -> tuple[Value, ...]:
    """Gates i, o, f, c; peepholes added after the chain (elementwise). input_forget: f is 1 − i."""
    sequences, finals = [], []
    for d in range(c.count):
        wb, rb = c.biases(d)
        projected, r, peep = c.projected(d, c.b("Add", wb, rb)), c.recurrent(d), c.part(c.s.optional(7), d)

        def step(x: Value, states: list[Value], d: int = d, r: Value = r, peep: Value | None = peep) -> list[Value]:
            b, (h, cell) = c.b, states

            def peeping(g: Value, index: int, state: Value) -> Value:
                return g if peep is None else b("Add", g, b("Mul", b.slice(peep, 0, index * c.hidden, c.hidden), state))

            gates = c.stepped(d, h, r, x)
            i = c.activate(d, 0, peeping(c.gate(gates, 0), 0, cell))
            if c.s.attr("input_forget", 0):
                f = b("Sub", b.like(1, i), i)
            else:
                f = c.activate(d, 0, peeping(c.gate(gates, 2), 2, cell))
            g = c.activate(d, 1, c.gate(gates, 3))
            after = b("Add", b("Mul", f, cell), b("Mul", i, g))
            o = c.activate(d, 0, peeping(c.gate(gates, 1), 1, after))
            return [b("Mul", o, c.activate(d, 2, after)), after]

        y, last = c.walk(d, [c.initial(5, d), c.initial(6, d)], projected, step)
        sequences.append(y)
        finals.append(last)
    return c.outputs(sequences, [list(states) for states in zip(*finals)])


def gru(s: Source) -> tuple[Value, ...]:
    """Gates z, r, h."""
    c, n = Cell(s, 3, ("Sigmoid", "Tanh")), int(s.attr("hidden_size", s[2].shape[-1]))
    before = not s.attr("linear_before_reset", 0)
    sequences, finals = [], []
    for d in range(c.count):
        b = s.b
        wb, rb = c.biases(d)
        start = (
            b("Add", wb, rb)
            if before
            else b.many("Concat", [b("Add", b.slice(wb, 0, 0, 2 * n), b.slice(rb, 0, 0, 2 * n)), b.slice(wb, 0, 2 * n, n)], axis=0)[0]
        )
        projected, r = c.projected(d, start), c.recurrent(d)

        def step(x: Value, states: list[Value], d: int = d, r: Value = r, rb: Value = rb) -> list[Value]:
            b, (h,) = c.b, states
            r_zr, r_h = b.slice(r, 1, 0, 2 * n), b.slice(r, 1, 2 * n, n)
            zr = b("MatMul", h, r_zr, b.slice(x, 1, 0, 2 * n))
            z, reset = c.activate(d, 0, c.gate(zr, 0)), c.activate(d, 0, c.gate(zr, 1))
            if before:
                candidate = b("MatMul", b("Mul", reset, h), r_h, b.slice(x, 1, 2 * n, n))
            else:
                candidate = b("Add", b("Mul", reset, b("MatMul", h, r_h, b.slice(rb, 0, 2 * n, n))), b.slice(x, 1, 2 * n, n))
            g = c.activate(d, 1, candidate)
            return [b("Add", b("Mul", b("Sub", b.like(1, z), z), g), b("Mul", z, h))]

        y, last = c.walk(d, [c.initial(5, d)], projected, step)
        sequences.append(y)
        finals.append(last)
    return c.outputs(sequences, [list(states) for states in zip(*finals)])


def rnn(s: Source) -> tuple[Value, ...]:
    c = Cell(s, 1, ("Tanh",))
    sequences, finals = [], []
    for d in range(c.count):
        wb, rb = c.biases(d)
        projected, r = c.projected(d, s.b("Add", wb, rb)), c.recurrent(d)

        def step(x: Value, states: list[Value], d: int = d, r: Value = r) -> list[Value]:
            return [c.activate(d, 0, c.b("MatMul", states[0], r, x))]

        y, last = c.walk(d, [c.initial(5, d)], projected, step)
        sequences.append(y)
        finals.append(last)
    return c.outputs(sequences, [list(states) for states in zip(*finals)])


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
