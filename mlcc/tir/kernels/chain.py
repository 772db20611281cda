"""Fma chains over operands as they lie: depthwise convolutions, and dots whose shape suits no panel."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np
from tvm import tirx as t

from mlcc.core.dim import Dim
from mlcc.core.terms import Size, most
from mlcc.machine import Machine
from mlcc.program.kernel import Access, Chain
from mlcc.schedule.tasks import outer_dims
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, affine, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels.map import split_index

UNROLL = 25  # taps written out


def emit(spec: Chain, machine: Machine) -> Any:
    """Vectors over the last dimension, neighbours of the one before it at once: independent chains that share their operands' loads."""
    f = Function(spec)
    outer = outer_dims(spec.dims, 2)
    inside = spec.dims[outer:]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task, ExitStack() as stack:
        point = split_index(f, task, spec.dims[:outer])
        for n in inside[:-2]:
            point.append(stack.enter_context(f.loop(0, n)))
        _plane(f, spec, machine, point, inside[-2:])
    return f.finish()


def tile_rows(rows: int, registers: int) -> int:
    """Neighbours at once: accumulators and the operands they share fill the registers; tiles of equal size, or nearly."""
    fitting = max(1, min(most(rows), (registers - 2) // 2))
    return fitting if isinstance(rows, Dim) else -(-rows // -(-rows // fitting))


def pieces(first: Size, count: Size, tile: int) -> list[tuple[int, Size, Size]]:
    """(rows, first row, how often) of ever smaller tiles for `count` rows, fewer than a tile, from row `first` on."""
    found = []
    for height in (16, 8, 4, 2, 1):
        if height < tile:
            found.append((height, first, count // height))
            first, count = first + count // height * height, count % height
    return found


def _plane(f: Function, spec: Chain, machine: Machine, point: list[Expr], dims: tuple[int, ...]) -> None:
    """The last two dimensions (or the last one)."""
    extent = dims[-1]
    rows = dims[0] if len(dims) == 2 else 1
    tile = tile_rows(rows, machine.registers if machine.vector_bits > 32 else 16)
    widest = max(1, min(16, machine.vector_bits // 32))
    for a, column in bodies.strips(f, machine, extent, (widest, *(w for w in (8, 4, 1) if w < widest))):
        full, rest = divmod(rows, tile)
        with f.loop(0, full) as r:
            _tile(f, a, spec, point, f.index(t.Mul(r, int32(tile))) if len(dims) == 2 else None, tile, column)
        if isinstance(rest, Dim):
            for height, first, count in pieces(full * tile, rest, tile):
                with f.loop(0, count) as r:
                    _tile(f, a, spec, point, f.index(t.Add(int32(first), t.Mul(r, int32(height)))), height, column)
        elif rest:
            _tile(f, a, spec, point, int32(full * tile), rest, column)


def _tile(f: Function, a: Arithmetic, spec: Chain, point: list[Expr], row: Expr, count: int, column: Expr) -> None:
    acc = f.local(a.v(spec.dtype), count)
    places = [[*point, *([f.index(t.Add(row, int32(j))) if j else row] if row is not None else []), column] for j in range(count)]
    n = len(spec.dims)
    for j, at in enumerate(places):
        start = bodies.load(f, a, spec.init, spec.dtype, at) if spec.init else a.const(0, spec.dtype)
        f.store(acc, j, start)
    *outer, inner = spec.reduced

    def operand(access: Access, base: Expr, at: int) -> Expr:
        """A vector at a constant distance from a base: equal distances are one load."""
        where, step = t.Add(base, int32(at)) if at else base, access.strides[n - 1]
        buffer, stored = f.buffers[access.arg], spec.arguments[access.arg]
        value = a.wide(f.load(buffer, where)) if a.lanes > 1 and step == 0 else f.load(buffer, where, a.lanes, step)
        return a.number(value, stored, spec.dtype) if stored in ("int8", "uint8") else value

    def steps(bases: list[Expr], count_taps: int, offsets: list[tuple[int, ...]]) -> None:
        for k in range(count_taps):
            for j in range(count):
                x, w = (
                    operand(access, base, j * (access.strides[n - 2] if row is not None else 0) + offset[k])
                    for access, base, offset in zip((spec.a, spec.b), bases, offsets)
                )
                f.store(acc, j, a.fma(spec.dtype, x, w, f.load(acc, j)))

    total = prod(spec.reduced)
    start = [f.index(affine(places[0], access.strides[:n], access.offset)) for access in (spec.a, spec.b)]
    taps = [access.strides[n:] for access in (spec.a, spec.b)]
    if isinstance(total, int) and total <= UNROLL:
        steps(start, total, [tuple(sum(i * s for i, s in zip(at, st)) for at in np.ndindex(*spec.reduced)) for st in taps])
    else:
        with ExitStack() as stack:
            indices = [stack.enter_context(f.loop(0, m)) for m in outer]
            written = inner if isinstance(inner, int) and inner <= UNROLL else 1
            if written == 1:
                indices.append(stack.enter_context(f.loop(0, inner)))
            bases = [f.index(t.Add(b, affine(indices, st[: len(indices)]))) for b, st in zip(start, taps)]
            steps(bases, written, [tuple(k * st[-1] for k in range(written)) for st in taps])
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    for j, at in enumerate(places):
        value = f.let(f.load(acc, j), a.v(spec.dtype))
        if spec.dtype.startswith("float"):
            value = f.let(t.Add(value, a.const(0.0, spec.dtype)), a.v(spec.dtype))
        bodies.store(f, a, spec.output, dtype, at, bodies.run(f, a, spec.body, at, value))
