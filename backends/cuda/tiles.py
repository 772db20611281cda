"""Shapes of the tiles that a block makes of a product, by a cost model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.core.terms import most
from mlcc.program.kernel import Dot

PROCESSORS = 100  # streaming multiprocessors of a card of middling size: how many blocks run at once, at least
HEAVY = 16  # instructions of a body from which few are written out


@dataclass(frozen=True)
class Tile:
    """rows × columns of a block, held_rows × held_columns of each thread; depth: elements along k in shared memory; padding: of its rows.

    warps: whether 32 threads hold their tile together, as the matrix instruction for bytes lays it out (16 × 8 of sums: a thread has
    two neighbours in a row, and two eight rows below).
    """

    rows: int
    columns: int
    held_rows: int
    held_columns: int
    depth: int = 16
    padding: tuple[int, int] = (4, 0)
    warps: bool = False

    @property
    def across(self) -> int:
        """Threads, or warps, side by side."""
        return self.columns // (self.held_columns * (4 if self.warps else 1))

    @property
    def threads(self) -> int:
        return self.columns // self.held_columns * (self.rows // self.held_rows)

    @property
    def pitches(self) -> tuple[int, int]:
        """Elements from one k to the next in shared memory, of rows and of columns."""
        return self.rows + self.padding[0], self.columns + self.padding[1]

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements of both operands in shared memory."""
        return self.depth * self.pitches[0], self.depth * self.pitches[1]

    @property
    def row_passes(self) -> tuple[int, int]:
        """How often a thread brings an operand of its k, and the rows from one to the next."""
        return -(-self.rows * self.depth // self.threads), self.threads // self.depth

    @property
    def column_passes(self) -> tuple[int, int]:
        """How often a thread brings four columns, and the k from one time to the next."""
        step = self.threads // (self.columns // 4)
        return max(1, -(-self.depth // step)), step

    def row(self, index: str) -> str:
        """The row of the block that a thread's register `index` is of."""
        if self.warps:
            return f"ty * {self.held_rows * 8} + {index} * 8 + lane / 4"
        return _spread("ty", index, self.held_rows, self.rows)

    def column(self, index: str) -> str:
        if self.warps:
            return f"tx * {self.held_columns * 4} + {index} / 2 * 8 + lane % 4 * 2 + {index} % 2"
        return _spread("tx", index, self.held_columns, self.columns)


def _spread(own: str, index: str, held: int, extent: int) -> str:
    """Groups of four neighbours, spread over the tile: what a warp loads at once lies side by side."""
    if held <= 4:
        return f"{own} * {held} + {index}"
    return f"{index} / 4 * {extent * 4 // held} + {own} * 4 + {index} % 4"


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
# the same for bytes, four a word: by warps with matrix instructions, and by threads with dp4a where rows are few
WORD_TILES = (
    (Tile(128, 128, 8, 8, 8, (8, 8), True), 1.0),
    (Tile(128, 64, 4, 8, 8, (8, 8), True), 0.8),
    (Tile(64, 64, 4, 8, 8, (8, 8), True), 0.65),
    (Tile(64, 32, 2, 8, 8, (8, 8), True), 0.5),
    (Tile(128, 16, 2, 4, 8, (8, 8), True), 0.4),
    (Tile(32, 32, 2, 4, 8, (8, 8), True), 0.35),
    (Tile(64, 64, 4, 4, 8), 0.2),
    (Tile(32, 32, 2, 4, 8), 0.12),
    (Tile(8, 64, 1, 4, 8), 0.3),
)
THIN = 0.08  # the same for a thread an output, without shared memory


def tile(spec: Dot, matrix: bool = True) -> Tile | None:
    """The tile whose waves of blocks end first; None where a thread for each output does better, and for types that have no tiles."""
    types = spec.arguments[spec.a.arg], spec.arguments[spec.b.arg]
    words = types[0] in ("int8", "uint8") and types[1] == "int8" and spec.dtype == "int32"
    if not words and not (types == ("float32", "float32") and spec.dtype == "float32"):
        return None
    rows, columns, batch = most(prod(spec.rows)), most(spec.columns), most(prod(spec.batch))
    heavy = sum(len(SEQUENCES[s.op].instructions) if s.op in SEQUENCES else 1 for s in spec.body) > HEAVY
    best = batch * rows * columns / THIN / PROCESSORS if batch * rows * columns > 256 * PROCESSORS else 256 / THIN
    found = None
    for shape, rate in WORD_TILES if words else TILES:
        if shape.warps and not matrix or heavy and shape.held_rows * shape.held_columns > 16:
            continue
        blocks = batch * -(-rows // shape.rows) * -(-columns // shape.columns)
        cost = -(-blocks // PROCESSORS) * shape.rows * shape.columns / rate
        if cost < best:
            best, found = cost, shape
    return found
