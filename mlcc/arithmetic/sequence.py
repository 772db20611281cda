"""A tiny straight-line language for what is done to single numbers.

A `Sequence` is a tuple of instructions over the element types that registers hold. It is the contract's definition of a function such as
exp, and the one description of an operator such as Mod that every language prints: whoever executes it gets the same bits, because each
instruction is one IEEE 754 operation or one wrapping integer operation. An instruction `call` names another sequence, for which a printer
may have something better (an instruction of its CPU, say).

    >>> half = sequence("half", ("float32",), lambda x: x * 0.5)
    >>> [(i.op, i.operands, i.value) for i in half.instructions]
    [('arg', (), 0), ('const', (), 0.5), ('mul', (0, 1), None)]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Scalar = float | int

# op → the type of its result: that of the first operand ("same") or the second, or as the instruction says (None)
OPERATIONS: dict[str, str | None] = {
    "arg": None,
    "const": None,
    "call": None,
    "add": "same",
    "sub": "same",
    "mul": "same",
    "div": "same",  # of integers: truncates; the divisor is neither 0 nor −1
    "rem": "same",  # of floats: exact, with the dividend's sign
    "fma": "same",
    "sqrt": "same",
    "floor": "same",
    "ceil": "same",
    "round": "same",  # half to even
    "neg": "same",
    "abs": "same",  # of floats
    "and": "same",
    "or": "same",
    "xor": "same",
    "not": "same",  # of truth values and of bits
    "shl": "same",  # by less than the width
    "sar": "same",  # by less than the width
    "shr": "same",  # zero-filling; by the width and more: 0
    "lt": "bool",
    "le": "bool",
    "eq": "bool",
    "nan": "bool",
    "select": "second",
    "convert": None,  # integers wrap; to floats rounds once; from floats truncates numbers that fit
    "reinterpret": None,
}


@dataclass(frozen=True)
class Instruction:
    """One operation; `operands` are indices of earlier instructions, `value` the literal of `const`, the number of `arg`, the sequence that
    `call` names."""

    op: str
    dtype: str
    operands: tuple[int, ...] = ()
    value: Any = None


@dataclass(frozen=True)
class Sequence:
    """A named function; its result is the last instruction's value."""

    name: str
    arguments: tuple[str, ...]  # their element types
    instructions: tuple[Instruction, ...]

    @property
    def arity(self) -> int:
        return len(self.arguments)

    @property
    def dtype(self) -> str:
        return self.instructions[-1].dtype


class Tracer:
    """Records instructions, each different one once."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._known: dict[tuple[str, str, tuple[int, ...], str], int] = {}

    def emit(self, op: str, operands: tuple[int, ...] = (), dtype: str | None = None, value: Any = None) -> Term:
        rule = dtype or OPERATIONS[op]
        assert rule is not None, op
        source = {"same": 0, "second": 1}.get(rule)
        dtype = rule if source is None else self.instructions[operands[source]].dtype
        key = (op, dtype, operands, repr(value))
        if key not in self._known:
            self._known[key] = len(self.instructions)
            self.instructions.append(Instruction(op, dtype, operands, value))
        return Term(self, self._known[key], dtype)


@dataclass(frozen=True, eq=False)
class Term:
    """A traced value with Python's operators."""

    tracer: Tracer
    index: int
    dtype: str

    def lift(self, other: Term | Scalar) -> Term:
        if isinstance(other, Term):
            return other
        if self.dtype in ("float32", "float64"):
            value = float(np.dtype(self.dtype).type(other))
            if value != float(other) and other == other:
                raise ValueError(f"{other!r} is not a {self.dtype} number")
            return self.tracer.emit("const", (), self.dtype, value)
        return self.tracer.emit("const", (), self.dtype, int(other))

    def apply(self, op: str, *others: Term | Scalar) -> Term:
        return self.tracer.emit(op, (self.index, *(self.lift(o).index for o in others)))

    def __add__(self, o: Term | Scalar) -> Term:
        return self.apply("add", o)

    def __radd__(self, o: Scalar) -> Term:
        return self.lift(o).apply("add", self)

    def __sub__(self, o: Term | Scalar) -> Term:
        return self.apply("sub", o)

    def __rsub__(self, o: Scalar) -> Term:
        return self.lift(o).apply("sub", self)

    def __mul__(self, o: Term | Scalar) -> Term:
        return self.apply("mul", o)

    def __rmul__(self, o: Scalar) -> Term:
        return self.lift(o).apply("mul", self)

    def __truediv__(self, o: Term | Scalar) -> Term:
        return self.apply("div", o)

    def __rtruediv__(self, o: Scalar) -> Term:
        return self.lift(o).apply("div", self)

    def __neg__(self) -> Term:
        return self.apply("neg")

    def __and__(self, o: Term | Scalar) -> Term:
        return self.apply("and", o)

    def __or__(self, o: Term | Scalar) -> Term:
        return self.apply("or", o)

    def __xor__(self, o: Term | Scalar) -> Term:
        return self.apply("xor", o)

    def __invert__(self) -> Term:
        return self.apply("not")

    def __lshift__(self, o: Term | Scalar) -> Term:
        return self.apply("shl", o)

    def __rshift__(self, o: Term | Scalar) -> Term:
        return self.apply("sar", o)

    def __lt__(self, o: Term | Scalar) -> Term:
        return self.apply("lt", o)

    def __le__(self, o: Term | Scalar) -> Term:
        return self.apply("le", o)

    def __gt__(self, o: Term | Scalar) -> Term:
        return self.lift(o).apply("lt", self)

    def __ge__(self, o: Term | Scalar) -> Term:
        return self.lift(o).apply("le", self)

    def equals(self, o: Term | Scalar) -> Term:
        return self.apply("eq", o)

    def shift_right_logical(self, o: Term | Scalar) -> Term:
        return self.apply("shr", o)

    def sqrt(self) -> Term:
        return self.apply("sqrt")

    def __abs__(self) -> Term:
        return self.apply("abs")

    def is_nan(self) -> Term:
        return self.apply("nan")

    def convert(self, dtype: str) -> Term:
        return self if dtype == self.dtype else self.tracer.emit("convert", (self.index,), dtype)

    def reinterpret(self, dtype: str) -> Term:
        return self.tracer.emit("reinterpret", (self.index,), dtype)

    def bits(self) -> Term:
        """A float's bits, an integer of its width."""
        return self.reinterpret("int64" if self.dtype == "float64" else "int32")

    def float_of_bits(self) -> Term:
        return self.reinterpret("float64" if self.dtype == "int64" else "float32")


def fma(a: Term, b: Term | Scalar, c: Term | Scalar) -> Term:
    """a·b + c, rounded once."""
    return a.apply("fma", b, c)


def select(condition: Term, yes: Term | Scalar, no: Term | Scalar) -> Term:
    """`yes` where the condition holds, else `no`; one of them is a Term."""
    sample = yes if isinstance(yes, Term) else no
    assert isinstance(sample, Term)
    return condition.tracer.emit("select", (condition.index, sample.lift(yes).index, sample.lift(no).index))


def call(s: Sequence, *arguments: Term) -> Term:
    """Another sequence's result."""
    return arguments[0].tracer.emit("call", tuple(a.index for a in arguments), s.dtype, s)


def sequence(name: str, arguments: tuple[str, ...], function: Callable[..., Term]) -> Sequence:
    """Trace `function` of arguments of these element types."""
    tracer = Tracer()
    result = function(*(tracer.emit("arg", dtype=d, value=i) for i, d in enumerate(arguments)))
    kept = _needed(tracer.instructions, result.index)
    return Sequence(name, arguments, kept)


def _needed(instructions: list[Instruction], result: int) -> tuple[Instruction, ...]:
    """Those that a result depends on, and all arguments; the result last."""
    needed = {result}
    for n in range(result, -1, -1):
        if n in needed:
            needed |= set(instructions[n].operands)
    order = [n for n, i in enumerate(instructions[: result + 1]) if n in needed or i.op == "arg"]
    place = {n: k for k, n in enumerate(order)}
    return tuple(Instruction(i.op, i.dtype, tuple(place[o] for o in i.operands), i.value) for i in (instructions[n] for n in order))
