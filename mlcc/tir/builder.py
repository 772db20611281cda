"""Building TIR by hand: expressions, statements in order, loops as context managers.

Vectors are explicit (`float32x16`), so that no pass decides where lanes go. Each intermediate is bound to a variable, since
TIR expressions are trees and a shared subexpression would otherwise be generated once a use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tvm
from tvm import tirx as t

from mlcc.core.dim import Dim, symbols
from mlcc.core.terms import Atom, Symbol
from mlcc.program.kernel import Kernel

Expr = Any
BITS = {
    "float64": 64,
    "int64": 64,
    "uint64": 64,
    "float32": 32,
    "int32": 32,
    "uint32": 32,
    "float16": 16,
    "int16": 16,
    "uint16": 16,
    "int8": 8,
    "uint8": 8,
}


def vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


_VARIABLES: dict[Symbol, Any] = {}


def variable_of(s: Symbol) -> Any:
    """The parameter that holds a size's number."""
    if s not in _VARIABLES:
        _VARIABLES[s] = t.Var(s.variable, "int32")
    return _VARIABLES[s]


def int32(value: int) -> Expr:
    """A number, or a size that a run decides as an expression of its parameters."""
    if not isinstance(value, Dim):
        return t.IntImm("int32", value)
    total: Expr = None
    for atoms, c in value.terms.items():
        term: Expr = None
        for a in atoms:
            term = _atom(a) if term is None else t.Mul(term, _atom(a))
        term = t.IntImm("int32", c) if term is None else term if c == 1 else t.Mul(term, t.IntImm("int32", c))
        total = term if total is None else t.Add(total, term)
    return total


def _atom(a: Atom) -> Expr:
    if isinstance(a, Symbol):
        return variable_of(a)
    x, y = map(int32, a.operands)
    return {"quotient": t.Div, "least": t.Min, "greatest": t.Max}[a.kind](x, y)


class Function:
    """A TIR function `name(begin, end, sizes…, pointers…)` under construction."""

    def __init__(self, spec: Kernel) -> None:
        pointers = spec.arguments
        self.sizes = [variable_of(s) for s in sorted(symbols(spec))]
        self.begin, self.end = t.Var("begin", "int32"), t.Var("end", "int32")
        self.pointers = [t.Var(f"p{i}", tvm.ir.PointerType(tvm.ir.PrimType(d))) for i, d in enumerate(pointers)]
        self.buffers = [t.decl_buffer((2147483647,), d, name=f"b{i}", data_alignment=BITS[d] // 8) for i, d in enumerate(pointers)]
        self._scopes: list[list[Any]] = [[t.DeclBuffer(b, data=p) for b, p in zip(self.buffers, self.pointers)]]
        self._count = 0

    def emit(self, statement: Any) -> None:
        self._scopes[-1].append(statement)

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def let(self, value: Expr, dtype: str) -> Expr:
        """Keep a value in a local cell (a register, once LLVM has seen it).

        Not a bound variable: TVM 0.27's analyser substitutes those into one another, which took minutes for one elementary function,
        and cannot bind vectors of truth values, which stay expressions here.
        """
        if dtype.startswith("bool"):
            return value
        cell = self.local(dtype, 1)
        self.store(cell, 0, value)
        return self.load(cell, 0)

    def index(self, value: Expr) -> Expr:
        """Bind an index to a variable."""
        if isinstance(value, Dim):
            value = int32(value)
        if isinstance(value, (int, t.IntImm, t.Var)):
            return value
        variable = t.Var(self.fresh("v"), "int32")
        self.emit(t.Bind(variable, value))
        return variable

    def local(self, dtype: str, count: int) -> Any:
        """A local array of scalars or vectors; with constant indices it lives in registers."""
        buffer = t.decl_buffer((count,), dtype, name=self.fresh("local"), scope="local")
        self.emit(t.AllocBuffer(buffer))
        return buffer

    def load(self, buffer: Any, index: Expr, lanes: int = 1, stride: int = 1) -> Expr:
        return t.BufferLoad(buffer, [_index(index, lanes, stride)])

    def store(self, buffer: Any, index: Expr, value: Expr, lanes: int = 1, stride: int = 1) -> None:
        self.emit(t.BufferStore(buffer, value, [_index(index, lanes, stride)]))

    @contextmanager
    def loop(self, start: Expr, extent: Expr) -> Iterator[Expr]:
        """A serial loop; a loop known to run once is none."""
        if isinstance(extent, int) and extent == 1 and isinstance(start, int):
            yield int32(start)
            return
        if isinstance(extent, Dim) and extent.high == 1 and isinstance(start, int):  # none or one
            with self.when(t.LT(int32(0), int32(extent))):
                yield int32(start)
            return
        variable = t.Var(self.fresh("i"), "int32")
        self._scopes.append([])
        yield variable
        body = sequence(self._scopes.pop())
        self.emit(t.For(variable, start, int32(extent) if isinstance(extent, Dim) else extent, t.ForKind.SERIAL, body))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        self._scopes.append([])
        yield
        body = sequence(self._scopes.pop())
        self.emit(t.IfThenElse(condition, body, None))

    @contextmanager
    def stage(self, buffers: Sequence[Any]) -> Iterator[None]:
        """Write a part that has pointers of its own."""
        outside = self.buffers
        self.buffers = list(buffers)
        yield
        self.buffers = outside

    def finish(self) -> Any:
        return t.PrimFunc([self.begin, self.end, *self.sizes, *self.pointers], sequence(self._scopes[0]))


def sequence(statements: list[Any]) -> Any:
    if not statements:
        return t.Evaluate(int32(0))
    return statements[0] if len(statements) == 1 else t.SeqStmt(statements)


def _index(index: Expr, lanes: int, stride: int) -> Expr:
    base = int32(index) if isinstance(index, int | Dim) else index
    return base if lanes == 1 else t.Ramp(base, int32(stride), int32(lanes))


def affine(indices: Sequence[Expr], strides: Sequence[int], offset: int = 0) -> Expr:
    """Σ index·stride + offset, without the terms that vanish."""
    total: Expr = None
    for i, s in zip(indices, strides):
        if s == 0:
            continue
        if isinstance(i, (t.IntImm, int)):
            offset += int(i) * s
            continue
        term = i if s == 1 else t.Mul(i, int32(s))
        total = term if total is None else t.Add(total, term)
    if total is None:
        return int32(offset)
    return t.Add(total, int32(offset)) if offset != 0 else total
