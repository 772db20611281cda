"""Elementwise and movement kernels: one loop nest, the innermost dimension in vectors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.machine import Machine
from mlcc.program.kernel import Access, Body, Map
from mlcc.schedule.tasks import MAP_CHUNK, outer_dims
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, int32
from mlcc.tir.kernels import body as bodies

HEAVY = 16  # instructions from which a body is worth fewer lanes and no second tail


def split_index(f: Function, flat: Expr, dims: Sequence[int]) -> list[Expr]:
    """Row-major indices of a flattened one."""
    found: list[Expr] = []
    for i, n in enumerate(dims):
        below = prod(dims[i + 1 :])
        value = flat if below == 1 else t.Div(flat, int32(below))
        found.append(f.index(value if i == 0 else t.Mod(value, int32(n))))
    return found


def emit(spec: Map, machine: Machine) -> Any:
    f = Function(spec)
    if len(spec.dims) == 1:
        _flat(f, spec, machine)
    else:
        write(f, spec, machine, outer_dims(spec.dims, 1))
    return f.finish()


def write(f: Function, spec: Map, machine: Machine, outer: int) -> None:
    """Tasks f.begin to f.end, numbered over the `outer` first dimensions."""
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        at(f, spec, machine, split_index(f, task, spec.dims[:outer]))


def at(f: Function, spec: Map, machine: Machine, outer: Sequence[Expr]) -> None:
    """What belongs to one point of the first dimensions."""
    with ExitStack() as stack:
        point = [*outer, *(stack.enter_context(f.loop(0, n)) for n in spec.dims[len(outer) : -1])]
        row(f, machine, spec.body, spec.output, spec.body[-1].dtype, point, spec.dims[-1], _lanes(spec, machine))


def row(f: Function, machine: Machine, body: Body, output: Access, dtype: str, point: Sequence[Expr], extent: int, lanes: int) -> None:
    """The innermost dimension: vectors, then ever smaller tails."""
    widths = [lanes] + ([w for w in (8, 4) if w < lanes] if bodies.weight(body) <= HEAVY else []) + [1]
    for a, i in bodies.strips(f, machine, extent, widths):
        at = [*point, i]
        bodies.store(f, a, output, dtype, at, bodies.run(f, a, body, at))


def _lanes(spec: Map, machine: Machine) -> int:
    return machine.lanes(bodies.weight(spec.body) > HEAVY) if bodies.vectorisable(spec.body) else 1


def _flat(f: Function, spec: Map, machine: Machine) -> None:
    """One dimension: a task takes a chunk, the last one what is left."""
    lanes, dtype = _lanes(spec, machine), spec.body[-1].dtype
    extent = spec.dims[0]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        start = f.index(t.Mul(task, int32(MAP_CHUNK)))
        left = f.index(t.Sub(int32(extent), start))
        count = f.index(t.Select(t.LT(left, int32(MAP_CHUNK)), left, int32(MAP_CHUNK)))
        vectors = f.index(t.Div(count, int32(lanes)))
        pieces = [(lanes, int32(0), vectors)]
        if lanes > 1 and extent % lanes != 0:
            whole = f.index(t.Mul(vectors, int32(lanes)))
            pieces.append((1, whole, f.index(t.Sub(count, whole))))
        for width, first, number in pieces:
            a = Arithmetic(f, width, machine)
            with f.loop(0, number) as i:
                at = [f.index(t.Add(t.Add(start, first), t.Mul(i, int32(width))))]
                bodies.store(f, a, spec.output, dtype, at, bodies.run(f, a, spec.body, at))
