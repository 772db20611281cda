"""Dots with a packed right operand: matrix products and convolutions as one register-tiled kernel.

A tile of rows × panels stays in registers over the whole chain, so the contract's order costs nothing. Rows are output pixels or
matrix rows; their addresses are affine, so a convolution needs no im2col.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.scalar import FINITE_HALF
from mlcc.core.dim import Dim
from mlcc.machine import Machine
from mlcc.program.kernel import Dot
from mlcc.program.packing import PANEL, panels
from mlcc.schedule.dot import Tile, tile_of
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, affine, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels.map import split_index

INLINE_BODY = 10  # instructions up to which a body is written out for every register of the tile
UNROLL = 4


@dataclass(frozen=True)
class Block:
    """One tile's place: batch indices, first row, first panel's index and column, and how many of each."""

    batch: tuple[Expr, ...]
    row: Expr
    rows: int
    column: Expr
    widths: tuple[int, ...]  # of its panels
    valid: tuple[Expr, ...]  # columns of each that exist: numbers, or where a run says so expressions


def emit(spec: Dot, machine: Machine) -> Any:
    f = Function(spec)
    write(f, spec, machine)
    return f.finish()


def write(f: Function, spec: Dot, machine: Machine) -> None:
    """Tasks f.begin to f.end."""
    tile = tile_of(spec, machine)
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        *batch, column_tile, row_tile = split_index(f, task, (*spec.batch, tile.column_tiles, tile.row_tiles))
        _tile(f, spec, machine, tile, batch, column_tile, row_tile)


def product(f: Function, spec: Dot, machine: Machine, batch: Sequence[Expr]) -> None:
    """The whole product of one point of the batch."""
    tile = tile_of(spec, machine)
    with f.loop(0, tile.column_tiles) as column_tile, f.loop(0, tile.row_tiles) as row_tile:
        _tile(f, spec, machine, tile, batch, column_tile, row_tile)


def _tile(f: Function, spec: Dot, machine: Machine, tile: Tile, batch: Sequence[Expr], column_tile: Expr, row_tile: Expr) -> None:
    """One tile, or what is left of it at the edges."""
    if isinstance(prod(spec.rows), Dim) or isinstance(spec.columns, Dim):
        _open(f, spec, machine, tile, batch, column_tile, row_tile)
        return
    row = f.index(t.Mul(row_tile, int32(tile.rows)))
    column = f.index(t.Mul(column_tile, int32(PANEL * tile.panels)))
    for rows, row_condition in _row_cuts(tile, row_tile):
        for part, valid, column_condition in _column_cuts(spec.columns, tile.panels, tile.column_tiles, column_tile):
            conditions = [c for c in (row_condition, column_condition) if c is not None]
            with f.when(conditions[0] if len(conditions) == 1 else t.And(*conditions)) if conditions else nullcontext():
                _block(f, spec, machine, Block(tuple(batch), row, rows, column, part, valid))


def _row_cuts(tile: Tile, row_tile: Expr) -> list[tuple[int, Expr | None]]:
    """(rows, condition) of the full row tiles and of the last one, where it differs."""
    if not tile.rest:
        return [(tile.rows, None)]
    if tile.row_tiles == 1:
        return [(tile.rest, None)]
    return [(tile.rows, t.LT(row_tile, int32(tile.row_tiles - 1))), (tile.rest, t.EQ(row_tile, int32(tile.row_tiles - 1)))]


def _open(f: Function, spec: Dot, machine: Machine, tile: Tile, batch: Sequence[Expr], column_tile: Expr, row_tile: Expr) -> None:
    """The same where a run says how many rows or columns there are: whole tiles, and what is left in ever smaller ones."""
    count, columns = prod(spec.rows), spec.columns
    row = f.index(t.Mul(row_tile, int32(tile.rows)))
    column = f.index(t.Mul(column_tile, int32(PANEL * tile.panels)))

    def rows_of(widths: tuple[int, ...], valid: tuple[Expr, ...], at: Expr) -> None:
        def block(first: Expr, rows: int) -> None:
            _block(f, spec, machine, Block(tuple(batch), first, rows, at, widths, valid))

        if isinstance(count, int):
            for rows, condition in _row_cuts(tile, row_tile):
                with f.when(condition) if condition is not None else nullcontext():
                    block(row, rows)
            return
        left = f.index(t.Sub(int32(count), row))
        with f.when(t.LE(int32(tile.rows), left)):
            block(row, tile.rows)
        if tile.rest != 0:
            with f.when(t.LT(left, int32(tile.rows))):
                first: Expr = row
                found = False
                for height in (16, 8, 4, 2, 1):
                    if height < tile.rows:
                        often = f.index(t.Div(left, int32(height)))
                        if 2 * height >= tile.rows or found:
                            with f.when(t.LT(int32(0), often)):
                                block(first, height)
                        else:
                            with f.loop(int32(0), often) as i:
                                block(f.index(t.Add(first, t.Mul(i, int32(height)))), height)
                        done = f.index(t.Mul(often, int32(height)))
                        first, left, found = f.index(t.Add(first, done)), f.index(t.Sub(left, done)), True

    if isinstance(columns, int):
        for part, valid, condition in _column_cuts(columns, tile.panels, tile.column_tiles, column_tile):
            with f.when(condition) if condition is not None else nullcontext():
                rows_of(part, valid, column)
        return
    beyond = f.index(t.Sub(int32(columns), column))
    whole = PANEL * tile.panels
    with f.when(t.LE(int32(whole), beyond)):
        rows_of((PANEL,) * tile.panels, (PANEL,) * tile.panels, column)
    if columns % whole != 0:
        with f.when(t.LT(beyond, int32(whole))), f.loop(int32(0), t.Div(t.Add(beyond, int32(PANEL - 1)), int32(PANEL))) as p:
            skipped = f.index(t.Mul(p, int32(PANEL)))
            width = f.index(t.Min(t.Sub(beyond, skipped), int32(PANEL)))
            rows_of((PANEL,), (width,), f.index(t.Add(column, skipped)))


def _column_cuts(columns: int, per_tile: int, tiles: int, column_tile: Expr) -> list[tuple[tuple[int, ...], tuple[int, ...], Expr | None]]:
    """(panel widths, valid columns, condition) of the full column tiles and of the last one, where it differs."""
    widths = panels(columns)
    full, last = widths[:per_tile], widths[(tiles - 1) * per_tile :]
    valid = (*last[:-1], columns - 16 * (len(widths) - 1))
    if tiles == 1:
        return [(last, valid, None)]
    if (last, valid) == (full, full):
        return [(full, full, None)]
    return [(full, full, t.LT(column_tile, int32(tiles - 1))), (last, valid, t.EQ(column_tile, int32(tiles - 1)))]


def _row_points(f: Function, spec: Dot, block: Block) -> list[list[Expr]]:
    """Batch and row indices of each row of the tile."""
    if len(spec.rows) <= 1:
        return [
            [*block.batch, *([f.index(t.Add(block.row, int32(r))) if r else block.row] if spec.rows else [])] for r in range(block.rows)
        ]
    if spec.rows[-1] % block.rows == 0:
        first = split_index(f, block.row, spec.rows)
        return [[*block.batch, *first[:-1], t.Add(first[-1], int32(r)) if r else first[-1]] for r in range(block.rows)]
    return [[*block.batch, *split_index(f, f.index(t.Add(block.row, int32(r)) if r else block.row), spec.rows)] for r in range(block.rows)]


def _row_bases(f: Function, spec: Dot, block: Block, points: list[list[Expr]]) -> list[tuple[Expr, int]]:
    """Address of each row's first element as (variable, constant): neighbours share a variable where they are evenly spaced."""
    strides = spec.a.strides[: len(spec.batch) + len(spec.rows)]
    if len(spec.rows) <= 1 or spec.rows[-1] % block.rows == 0:
        base = f.index(affine(points[0], strides, spec.a.offset))
        step = strides[-1] if spec.rows else 0
        return [(base, r * step) for r in range(block.rows)]
    return [(f.index(affine(p, strides, spec.a.offset)), 0) for p in points]


def _block(f: Function, spec: Dot, machine: Machine, block: Block) -> None:
    depth = prod(spec.k)
    points = _row_points(f, spec, block)
    bases = _row_bases(f, spec, block, points)
    makers = [Arithmetic(f, w, machine) for w in block.widths]
    acc = [[f.local(a.v(spec.dtype), 1) for a in makers] for _ in range(block.rows)]
    per_batch = depth * spec.packing.across(spec.columns)
    b_base = f.index(
        t.Add(affine(list(block.batch), [s * per_batch for s in spec.b.strides], spec.b.offset), t.Mul(block.column, int32(depth)))
    )
    for r, point in enumerate(points):
        for p, a in enumerate(makers):
            f.store(acc[r][p], 0, _start(f, a, spec, block, point, p))
    _chains(f, spec, block, bases, makers, acc, b_base, depth)
    _finish(f, spec, machine, block, points, makers, acc)


def _start(f: Function, a: Arithmetic, spec: Dot, block: Block, point: list[Expr], p: int) -> Expr:
    if spec.init is None:
        return a.const(0, spec.dtype)
    at = [*point, f.index(t.Add(block.column, int32(16 * p)) if p else block.column)]
    valid = block.valid[p]
    if (isinstance(valid, int) and valid == a.lanes) or spec.init.strides[-1] == 0:
        return bodies.load(f, a, spec.init, spec.dtype, at)
    scratch = f.local(spec.dtype, a.lanes)
    one = Arithmetic(f, 1, a.machine)
    f.store(scratch, 0, a.const(0, spec.dtype), a.lanes)
    with f.loop(0, valid) as j:
        f.store(scratch, j, bodies.load(f, one, spec.init, spec.dtype, [*at[:-1], f.index(t.Add(at[-1], j))]))
    return f.load(scratch, 0, a.lanes)


def _chains(
    f: Function,
    spec: Dot,
    block: Block,
    bases: Sequence[tuple[Expr, int]],
    makers: list[Arithmetic],
    acc: list[list[Any]],
    b_base: Expr,
    depth: int,
) -> None:
    k_strides = spec.a.strides[len(spec.batch) + len(spec.rows) :]
    *outer, inner = spec.k
    many = isinstance(inner, Dim) or inner > 8
    unroll = max(u for u in range(1, UNROLL + 1) if inner % u == 0) if many else inner
    if many and unroll == 1:
        unroll = UNROLL
    one = Arithmetic(f, 1, makers[0].machine)
    scales = _scales(f, spec, block, makers)
    panel_bases = [f.index(t.Add(b_base, int32(depth * 16 * p))) if p else b_base for p in range(len(block.widths))]

    def step(a_offset: Expr, k: Expr, u: int) -> None:
        """Chain step k + u; a_offset is the address of step k relative to the rows' bases."""
        columns = []
        for p, (a, w) in enumerate(zip(makers, block.widths)):
            stored = f.load(f.buffers[spec.b.arg], t.Add(t.Add(panel_bases[p], t.Mul(k, int32(w))), int32(u * w)), w)
            columns.append(_weights(f, a, spec, stored, scales[p]))
        for r, (base, constant) in enumerate(bases):
            scalar = one.number(
                f.load(f.buffers[spec.a.arg], t.Add(t.Add(base, a_offset), int32(constant + u * k_strides[-1]))),
                spec.arguments[spec.a.arg],
                spec.dtype,
            )
            for p, a in enumerate(makers):
                f.store(acc[r][p], 0, a.fma(spec.dtype, a.wide(scalar), columns[p], f.load(acc[r][p], 0)))

    def innermost(indices: list[Expr]) -> None:
        before = affine(indices, k_strides[:-1])
        k_before = f.index(affine(indices, [prod(spec.k[i + 1 :]) for i in range(len(outer))]))
        blocks, rest = divmod(inner, unroll)
        with f.loop(0, blocks) as i:
            first = f.index(t.Mul(i, int32(unroll)))
            offset = f.index(t.Add(before, t.Mul(first, int32(k_strides[-1]))))
            k = f.index(t.Add(k_before, first))
            for u in range(unroll):
                step(offset, k, u)
        if isinstance(rest, Dim):
            with f.loop(int32(0), int32(rest)) as i:
                at = f.index(t.Add(int32(blocks * unroll), i))
                step(f.index(t.Add(before, t.Mul(at, int32(k_strides[-1])))), f.index(t.Add(k_before, at)), 0)
        elif rest:
            offset = f.index(t.Add(before, int32(blocks * unroll * k_strides[-1])))
            k = f.index(t.Add(k_before, int32(blocks * unroll)))
            for u in range(rest):
                step(offset, k, u)

    def nest(level: int, indices: list[Expr]) -> None:
        if level == len(outer):
            innermost(indices)
            return
        with f.loop(0, outer[level]) as i:
            nest(level + 1, [*indices, i])

    nest(0, [])


def _scales(f: Function, spec: Dot, block: Block, makers: Sequence[Arithmetic]) -> list[Expr | None]:
    """Each panel's scales, where weights are bytes that stand for floats."""
    if spec.scale is None:
        return [None] * len(makers)
    first = f.index(t.Add(block.column, int32(spec.scale.offset)))
    at = [f.index(t.Add(first, int32(PANEL * p))) if p else first for p in range(len(makers))]
    return [f.let(f.load(f.buffers[spec.scale.arg], i, a.lanes), a.v("float32")) for i, a in zip(at, makers)]


def _weights(f: Function, a: Arithmetic, spec: Dot, stored: Expr, scale: Expr | None) -> Expr:
    """Weights as numbers: bytes times their column's scale or float16 become the binary32 numbers that they stand for."""
    kind = spec.arguments[spec.b.arg]
    if scale is not None:
        whole = f.let(a.cast("float32", a.cast("int32", f.let(stored, a.v(kind)))), a.v("float32"))
        return f.let(a.mul("float32", whole, scale), a.v("float32"))
    if kind == "uint16":
        return f.let(a.run(FINITE_HALF, f.let(stored, a.v(kind))), a.v("float32"))
    return a.number(stored, kind, spec.dtype)


def _finish(
    f: Function, spec: Dot, machine: Machine, block: Block, points: list[list[Expr]], makers: list[Arithmetic], acc: list[list[Any]]
) -> None:
    """+ 0, the body, the store."""
    result = spec.body[-1].dtype if spec.body else spec.dtype
    heavy, vectorisable = bodies.weight(spec.body) > INLINE_BODY, bodies.vectorisable(spec.body)
    whole = [p for p, a in enumerate(makers) if isinstance(block.valid[p], int) and block.valid[p] == a.lanes == PANEL and vectorisable]
    columns = [f.index(t.Add(block.column, int32(PANEL * p)) if p else block.column) for p in range(len(makers))]
    if whole and heavy:  # one loop over all of their vectors, so that the processor overlaps them
        _sweep(
            f,
            spec,
            machine,
            block,
            [[(makers[p], row[p]) for p in whole] for row in acc],
            block.column,
            PANEL * len(whole),
            [machine.lanes(True)],
        )
    elif whole:
        for p in whole:
            for r, point in enumerate(points):
                at, a = [*point, columns[p]], makers[p]
                bodies.store(f, a, spec.output, result, at, bodies.run(f, a, spec.body, at, _canonical(f, a, spec, f.load(acc[r][p], 0))))
    for p, a in enumerate(makers):
        if p not in whole:
            lanes = min(a.lanes, machine.lanes(heavy)) if vectorisable else 1
            widths = [lanes, *((w for w in (8, 4) if w < lanes) if not heavy else ()), 1]
            _sweep(f, spec, machine, block, [[(a, row[p])] for row in acc], columns[p], block.valid[p], widths)


def _sweep(
    f: Function,
    spec: Dot,
    machine: Machine,
    block: Block,
    acc: list[list[tuple[Arithmetic, Any]]],
    column: Expr,
    valid: Expr,
    widths: Sequence[int],
) -> None:
    """The body over some panels of the tile, by way of memory."""
    pitch = sum(a.lanes for a, _ in acc[0])
    scratch = f.local(spec.dtype, pitch * block.rows)
    for r, row in enumerate(acc):
        for p, (a, cell) in enumerate(row):
            f.store(scratch, r * pitch + p * PANEL, _canonical(f, a, spec, f.load(cell, 0)), a.lanes)

    def point(r: Expr) -> list[Expr]:
        return [*block.batch, *(split_index(f, f.index(t.Add(block.row, r)), spec.rows) if spec.rows else [])]

    bodies.sweep(f, machine, spec.body, spec.output, (scratch, pitch, spec.dtype), block.rows, point, column, valid, widths)


def _canonical(f: Function, a: Arithmetic, spec: Dot, value: Expr) -> Expr:
    """The chain's end, + 0: the sign of zero is canonical."""
    if not spec.dtype.startswith("float"):
        return f.let(value, a.v(spec.dtype))
    return f.let(t.Add(value, a.const(0.0, spec.dtype)), a.v(spec.dtype))
