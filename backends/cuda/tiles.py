"""Shapes of the tiles that a block makes of a product, by a cost model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.program.kernel import Dot

PROCESSORS = 100  # streaming multiprocessors of a card of middling size: how many blocks run at once, at least
HEAVY = 16  # instructions of a body from which few are written out


@dataclass(frozen=True)
class Tile:
    """rows × columns of a block, held_rows × held_columns of each thread; depth: elements along k in shared memory."""

    rows: int
    columns: int
    held_rows: int
    held_columns: int
    depth: int = 16

    @property
    def across(self) -> int:
        return self.columns // self.held_columns

    @property
    def threads(self) -> int:
        return self.across * (self.rows // self.held_rows)


# (tile, share of the fma units' rate that it can reach: operands loaded from shared memory for each fma)
TILES = (
    (Tile(128, 128, 8, 8), 1.0),
    (Tile(128, 64, 8, 4), 0.8),
    (Tile(64, 64, 4, 4), 0.62),
    (Tile(128, 32, 4, 4), 0.6),
    (Tile(256, 16, 4, 4), 0.55),
    (Tile(32, 32, 2, 4), 0.4),
    (Tile(16, 64, 2, 4), 0.4),
)
THIN = 0.08  # the same for a thread an output, without shared memory


def tile(spec: Dot) -> Tile | None:
    """The tile whose waves of blocks end first; None where a thread for each output does better, and for types that have no tiles."""
    types = spec.arguments[spec.a.arg], spec.arguments[spec.b.arg]
    words = types[0] in ("int8", "uint8") and types[1] == "int8" and spec.dtype == "int32"
    if not words and not (types == ("float32", "float32") and spec.dtype == "float32"):
        return None
    rows, columns, batch = prod(spec.rows), spec.columns, prod(spec.batch)
    heavy = sum(len(SEQUENCES[s.op].instructions) if s.op in SEQUENCES else 1 for s in spec.body) > HEAVY
    best = batch * rows * columns / THIN / PROCESSORS if batch * rows * columns > 256 * PROCESSORS else 256 / THIN
    found = None
    for shape, rate in TILES:
        if heavy and shape.held_rows * shape.held_columns > 16:
            continue
        blocks = batch * -(-rows // shape.rows) * -(-columns // shape.columns)
        cost = -(-blocks // PROCESSORS) * shape.rows * shape.columns / rate
        if cost < best:
            best, found = cost, shape
    if found is not None and words:
        return Tile(found.rows, found.columns, found.held_rows, found.held_columns, 8)
    return found
