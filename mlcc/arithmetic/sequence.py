"""A tiny straight-line language for elementary functions.

A `Sequence` is a tuple of instructions over binary32, int32, int64 and truth values. It is the contract's definition of
a function such as exp: whoever executes it (the NumPy reference, TIR kernels, printed C) gets the same bits, because each
instruction is one IEEE 754 operation or one wrapping integer operation.

    >>> half = sequence("half", 1, lambda x: x * 0.5)
    >>> [(i.op, i.operands, i.value) for i in half.instructions]
    [('arg', (), 0), ('const', (), 0.5), ('mul', (0, 1), None)]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Scalar = float | int

# op → result dtype ("same" is that of the first operand)
OPERATIONS = {
    "arg": "f32",
    "const": "same",
    "add": "same",
    "sub": "same",
    "mul": "same",
    "div": "f32",
    "fma": "f32",
    "sqrt": "f32",
    "neg": "same",
    "abs": "f32",
    "and": "same",
    "or": "same",
    "xor": "same",
    "not": "b",
    "shl": "same",
    "sar": "same",
    "shr": "same",
    "lt": "b",
    "le": "b",
    "eq": "b",
    "select": "second",
    "bits": "i32",
    "float_of_bits": "f32",
    "to_float": "f32",
    "to_int64": "i64",
    "zero_extend": "i64",
    "narrow": "i32",
}


@dataclass(frozen=True)
class Instruction:
    """One operation; `operands` are indices of earlier instructions, `value` the literal of `const` or the number of `arg`."""

    op: str
    dtype: str
    operands: tuple[int, ...] = ()
    value: Scalar | None = None


@dataclass(frozen=True)
class Sequence:
    """A named function; its result is the last instruction's value."""

    name: str
    arity: int
    instructions: tuple[Instruction, ...]


class Tracer:
    """Records instructions, each different one once."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self._known: dict[tuple[str, str, tuple[int, ...], str], int] = {}

    def emit(self, op: str, operands: tuple[int, ...] = (), dtype: str | None = None, value: Scalar | None = None) -> Term:
        if dtype is None:
            rule = OPERATIONS[op]
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
        if self.dtype == "f32":
            value = float(np.float32(other))
            if value != float(other) and other == other:
                raise ValueError(f"{other!r} is not a binary32 number")
            return self.tracer.emit("const", (), "f32", value)
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

    def bits(self) -> Term:
        return self.apply("bits")

    def float_of_bits(self) -> Term:
        return self.apply("float_of_bits")

    def to_float(self) -> Term:
        return self.apply("to_float")

    def to_int64(self) -> Term:
        return self.apply("to_int64")

    def zero_extend(self) -> Term:
        return self.apply("zero_extend")

    def narrow(self) -> Term:
        return self.apply("narrow")


def fma(a: Term, b: Term | Scalar, c: Term | Scalar) -> Term:
    """a·b + c, rounded once."""
    return a.apply("fma", b, c)


def select(condition: Term, yes: Term | Scalar, no: Term | Scalar) -> Term:
    """`yes` where the condition holds, else `no`; one of them is a Term."""
    sample = yes if isinstance(yes, Term) else no
    assert isinstance(sample, Term)
    return condition.tracer.emit("select", (condition.index, sample.lift(yes).index, sample.lift(no).index))


def sequence(name: str, arity: int, function: Callable[..., Term]) -> Sequence:
    """Trace `function` of `arity` binary32 arguments."""
    tracer = Tracer()
    result = function(*(tracer.emit("arg", value=i) for i in range(arity)))
    if result.index != len(tracer.instructions) - 1:
        raise ValueError(f"{name}: the result must be the last instruction")
    return Sequence(name, arity, tuple(tracer.instructions))
