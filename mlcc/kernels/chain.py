"""Fma chains over operands as they lie: depthwise convolutions, and dots whose shape suits no panel."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.kernels import body as bodies
from mlcc.kernels.map import split_index
from mlcc.program.kernel import Chain
from mlcc.schedule.machine import Machine
from mlcc.schedule.tiles import outer_dims
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, int32

UNROLL = 25  # taps written out


def emit(spec: Chain, machine: Machine) -> Any:
    """Vectors over the last dimension, a few neighbours of the one before it at once (independent chains)."""
    f = Function(spec.arguments)
    outer = outer_dims(spec.dims, 2)
    inside = spec.dims[outer:]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task, ExitStack() as stack:
        point = split_index(f, task, spec.dims[:outer])
        for n in inside[:-2]:
            point.append(stack.enter_context(f.loop(0, n)))
        _plane(f, spec, machine, point, inside[-2:])
    return f.finish()


def _plane(f: Function, spec: Chain, machine: Machine, point: list[Expr], dims: tuple[int, ...]) -> None:
    """The last two dimensions (or the last one)."""
    extent = dims[-1]
    rows = dims[0] if len(dims) == 2 else 1
    tile = max(d for d in range(1, 9) if d <= rows and (rows % d == 0 or d <= 4))
    done = 0
    for lanes in dict.fromkeys((max(1, min(16, machine.vector_bits // 32)), 4 if machine.vector_bits > 32 else 1, 1)):
        count = (extent - done) // lanes
        if not count:
            continue
        a = Arithmetic(f, lanes, machine.fma)
        with f.loop(0, count) as i:
            column = f.index(t.Add(t.Mul(i, int32(lanes)), int32(done)))
            full, rest = divmod(rows, tile)
            with f.loop(0, full) as r:
                _tile(f, a, spec, point, f.index(t.Mul(r, int32(tile))) if len(dims) == 2 else None, tile, column)
            if rest:
                _tile(f, a, spec, point, int32(full * tile), rest, column)
        done += count * lanes


def _tile(f: Function, a: Arithmetic, spec: Chain, point: list[Expr], row: Expr, count: int, column: Expr) -> None:
    total = prod(spec.reduced)
    acc = f.local(a.v(spec.dtype), count)
    places = [[*point, *([f.index(t.Add(row, int32(j))) if j else row] if row is not None else []), column] for j in range(count)]
    n = len(spec.dims)
    for j, at in enumerate(places):
        start = bodies.load(f, a, spec.init, spec.dtype, at) if spec.init else a.const(0, spec.dtype)
        f.store(acc, j, start)

    def step(flat: Expr) -> None:
        taps = split_index(f, flat, spec.reduced)
        for j, at in enumerate(places):
            x = bodies.load_across(f, a, spec.a, [*at, *taps], n - 1)
            w = bodies.load_across(f, a, spec.b, [*at, *taps], n - 1)
            f.store(acc, j, a.fma(spec.dtype, x, w, f.load(acc, j)))

    if total <= UNROLL:
        for k in range(total):
            step(int32(k))
    else:
        with f.loop(0, total) as k:
            step(k)
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    for j, at in enumerate(places):
        value = f.let(f.load(acc, j), a.v(spec.dtype))
        if spec.dtype.startswith("float"):
            value = f.let(t.Add(value, a.const(0.0, spec.dtype)), a.v(spec.dtype))
        bodies.store(f, a, spec.output, dtype, at, bodies.run(f, a, spec.body, at, value))
