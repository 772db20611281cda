"""TIR as mlcc.program.serial writes it, and the kernels that are written so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.scalar import stored
from mlcc.arithmetic.sequence import Sequence as Instructions
from mlcc.machine import Machine
from mlcc.program import serial
from mlcc.program.kernel import Access, Scan, Scatter
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels.map import split_index


class TirWriter:
    """Statements of a function, one element at a time."""

    def __init__(self, f: Function, machine: Machine) -> None:
        self.f, self.machine = f, machine
        self.a = Arithmetic(f, 1, machine)

    def loop(self, extent: int, first: int = 0) -> AbstractContextManager[Expr]:
        return self.f.loop(int32(first), extent - first)

    def when(self, condition: Expr) -> AbstractContextManager[None]:
        return self.f.when(condition)

    def cell(self, dtype: str, start: Expr) -> Any:
        return self.lanes(dtype, 1, start)

    def get(self, cell: Any) -> Expr:
        return self.f.load(cell, 0)

    def set(self, cell: Any, value: Expr) -> None:
        self.f.store(cell, 0, value)

    def lanes(self, dtype: str, count: int, start: Expr) -> Any:
        cells = self.f.local(dtype, count)
        for j in range(count):
            self.f.store(cells, j, start)
        return cells

    def update(self, lanes: Any, lane: Expr, change: Callable[[Expr], Expr]) -> None:
        at = self.f.index(lane)
        self.f.store(lanes, at, change(self.f.load(lanes, at)))

    def fold(self, lanes: Any, count: int, dtype: str, combine: Instructions) -> Expr:
        """As halving vectors."""
        while count > 1:
            count //= 2
            a = Arithmetic(self.f, count, self.machine)
            x, y = (self.f.let(self.f.load(lanes, j, count), a.v(dtype)) for j in (0, count))
            self.f.store(lanes, 0, a.run(combine, x, y), count)
        return self.f.let(self.f.load(lanes, 0), dtype)

    def const(self, value: float | int, dtype: str) -> Expr:
        return self.a.const(value, dtype)

    def load(self, access: Access, dtype: str, point: Sequence[Expr]) -> Expr:
        return self.f.let(bodies.load(self.f, self.a, access, dtype, point), stored(dtype))

    def store(self, access: Access, dtype: str, point: Sequence[Expr], value: Expr) -> None:
        bodies.store(self.f, self.a, access, dtype, point, value)

    def run(self, s: Instructions, *x: Expr) -> Expr:
        return self.f.let(self.a.run(s, *x), s.dtype)


def emit(spec: Scan, machine: Machine) -> Any:
    f = Function(spec)
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        serial.scan(TirWriter(f, machine), spec, split_index(f, task, spec.dims))
    return f.finish()


def emit_scatter(spec: Scatter, machine: Machine) -> Any:
    """Applies updates in order, so it is one task."""
    f = Function(spec)
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as _, ExitStack() as stack:
        serial.scatter(TirWriter(f, machine), spec, [stack.enter_context(f.loop(int32(0), n)) for n in spec.dims])
    return f.finish()
