"""Register tiles of the packed dot kernel, by a deterministic cost model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcc.core.dim import Dim
from mlcc.core.terms import most
from mlcc.machine import Choice, Machine
from mlcc.program.kernel import Dot
from mlcc.program.packing import PANEL, panels

FAMILY = "dot"
MOST = {"rows": 64, "panels": 16}  # what a choice may say, from 1 on
STREAMS = 4  # panels that the prefetchers follow at once where they come from beyond the first cache


@dataclass(frozen=True)
class Tile:
    """`rows` × `panels` of 16 columns held in registers, `rest` the rows of the last tile (0: none). Where a run says how many rows or
    columns there are, `rest` may be 0 then, and the last tile of columns is of any width."""

    rows: int
    panels: int
    row_tiles: int
    rest: int
    column_tiles: int


def tile_of(spec: Dot, machine: Machine) -> Tile:
    """The tile of a product: as chosen, else the cheapest."""
    chosen = machine.choice if machine.choice is not None and machine.choice.family == FAMILY else choices(spec, machine)[0]
    return _tile(
        chosen["rows"],
        chosen["panels"],
        prod(spec.rows),
        spec.packing.across(spec.columns) // PANEL if spec.packing.even else len(panels(spec.columns)),
    )


def tasks(spec: Dot, machine: Machine) -> int:
    return prod(spec.batch) * tiles(spec, machine)


def tiles(spec: Dot, machine: Machine) -> int:
    """Tiles of one product of the batch."""
    tile = tile_of(spec, machine)
    return tile.row_tiles * tile.column_tiles


def choice(rows: int, columns: int) -> Choice:
    return Choice(FAMILY, (("panels", columns), ("rows", rows)))


def choices(spec: Dot, machine: Machine) -> list[Choice]:
    """Tiles that fit the registers, cheapest first: estimated cycles of fma and load ports over the whole matrix."""
    widths, m = panels(most(spec.columns)), most(prod(spec.rows))
    open_rows = len(spec.rows) > 1 and isinstance(spec.rows[-1], Dim)
    vectors = max(1, 16 * 32 // machine.vector_bits)  # machine vectors a panel
    if machine.vector_bits <= 32:
        return [choice(1, 1)]
    found: list[tuple[float, int, int]] = []
    for p in range(1, (min(6, len(widths)) if isinstance(spec.columns, int) else 1) + 1):
        for r in range(1, min(24, m) + 1):
            accumulators = r * p * vectors
            if accumulators + (p * vectors if r > 1 else 0) + 1 > machine.registers and (r, p) != (1, 1):
                continue
            full, rest = divmod(m, r)
            columns_full, columns_rest = divmod(len(widths), p)
            cost = sum(
                count * _step_cost(rows, cols, vectors)
                for rows, count_r in ((r, full), (rest, int(rest > 0)))
                if count_r
                for cols, count in ((p, count_r * columns_full), (columns_rest, count_r * int(columns_rest > 0)))
                if cols
            )
            cost *= 1.0 + 0.02 * (rest > 0) + 0.01 * (columns_rest > 0)
            if open_rows and spec.rows[-1] % r != 0:  # each row's place by divisions
                cost *= 1.3
            if p > STREAMS and 64 * p * most(prod(spec.k)) > machine.l1_kib << 10:
                cost *= 1.0 + 0.04 * (p - STREAMS)
            found.append((cost, r, p))
    return [choice(r, p) for _, r, p in sorted(found, key=lambda f: f[0])]


def _step_cost(rows: int, cols: int, vectors: int) -> float:
    """Cycles of one k step: two fma ports with four cycles of latency, two load ports."""
    fmas = rows * cols * vectors
    loads = rows + cols * vectors
    return max(fmas / 2, loads / 2, 4.0) + 0.25 * loads


def _tile(rows: int, columns: int, m: int, panel_count: int) -> Tile:
    return Tile(rows, columns, (m + rows - 1) // rows, m % rows, (panel_count + columns - 1) // columns)
