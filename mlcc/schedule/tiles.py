"""Register tiles of the packed dot kernel, by a deterministic cost model."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcc.machine import Machine
from mlcc.program.kernel import BlockDot, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter, panels

STREAMS = 4  # panels that the prefetchers follow at once where they come from beyond the first cache
MAP_CHUNK = 4096  # elements of a one-dimensional map that one task takes


@dataclass(frozen=True)
class Tile:
    """`rows` × `panels` of 16 columns held in registers, `rest` the rows of the last tile (0: none)."""

    rows: int
    panels: int
    row_tiles: int
    rest: int
    column_tiles: int


def dot_tile(spec: Dot, machine: Machine) -> Tile:
    """The tile of a product: what a lock file says, else the cheapest."""
    if machine.tile is not None:
        return _tile(*machine.tile, prod(spec.rows), len(panels(spec.columns)))
    return dot_tiles(spec, machine)[0]


def dot_tiles(spec: Dot, machine: Machine) -> list[Tile]:
    """Tiles that fit the registers, cheapest first: estimated cycles of fma and load ports over the whole matrix."""
    widths, m = panels(spec.columns), prod(spec.rows)
    vectors = max(1, 16 * 32 // machine.vector_bits)  # machine vectors a panel
    if machine.vector_bits <= 32:
        return [_tile(1, 1, m, len(widths))]
    found: list[tuple[float, int, int]] = []
    for p in range(1, min(6, len(widths)) + 1):
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
            if p > STREAMS and 64 * p * prod(spec.k) > machine.l1_kib << 10:
                cost *= 1.0 + 0.04 * (p - STREAMS)
            found.append((cost, r, p))
    return [_tile(r, p, m, len(widths)) for _, r, p in sorted(found, key=lambda f: f[0])]


def _step_cost(rows: int, cols: int, vectors: int) -> float:
    """Cycles of one k step: two fma ports with four cycles of latency, two load ports."""
    fmas = rows * cols * vectors
    loads = rows + cols * vectors
    return max(fmas / 2, loads / 2, 4.0) + 0.25 * loads


def _tile(rows: int, columns: int, m: int, panel_count: int) -> Tile:
    return Tile(rows, columns, -(-m // rows), m % rows, -(-panel_count // columns))


def outer_dims(dims: tuple[int, ...], keep: int) -> int:
    """How many leading dimensions make the task index, leaving the last `keep` inside."""
    count = 0
    while count < len(dims) - keep and prod(dims[:count]) < 32:
        count += 1
    return count


def tasks(spec: Kernel, machine: Machine) -> int:
    """Independent pieces of a kernel's work, the range of its (begin, end)."""
    match spec:
        case Map():
            if len(spec.dims) == 1:
                return -(-spec.dims[0] // MAP_CHUNK)
            return prod(spec.dims[: outer_dims(spec.dims, 1)])
        case Reduce():
            return prod(spec.dims[: outer_dims(spec.dims, 1 if reduce_across(spec) else 0)])
        case Chain():
            return prod(spec.dims[: outer_dims(spec.dims, 2)])
        case Dot():
            tile = dot_tile(spec, machine)
            return prod(spec.batch) * tile.row_tiles * tile.column_tiles
        case BlockDot():
            return -(-prod(spec.rows) // block_rows(machine)) * block_chunks(spec)
        case Scan():
            return prod(spec.dims)
        case Scatter():
            return 1
        case Nest():
            return prod(spec.outer)


CHUNK_PAIRS = 32  # pairs of panels that one task of a block dot takes
SWEEP_PAIRS = 8  # pairs whose sums wait for the body


def block_rows(machine: Machine) -> int:
    """Rows that a task of a block dot packs and multiplies."""
    return 32 if machine.amx else 8


def block_chunks(spec: BlockDot) -> int:
    """Column ranges that a block dot's tasks are made of."""
    pairs = -(-spec.columns // 32)
    return -(-pairs // CHUNK_PAIRS)


def reduce_across(spec: Reduce) -> bool:
    """Whether a reduction runs vectors across outputs (they lie side by side) rather than along the reduced axis."""
    if not spec.dims or spec.dims[-1] < 4:
        return False
    n = len(spec.dims)
    side_by_side = spec.source.strides[n - 1] == 1
    along = bool(spec.reduced) and spec.source.strides[-1] == 1 and spec.reduced[-1] >= 4
    return side_by_side or not along


def work(spec: Kernel) -> int:
    """A rough count of operations, to decide whether threads are worth waking."""
    match spec:
        case Map():
            return prod(spec.dims) * max(1, len(spec.body))
        case Reduce():
            return prod(spec.dims) * prod(spec.reduced)
        case Chain():
            return prod(spec.dims) * prod(spec.reduced)
        case Dot():
            return prod(spec.batch) * prod(spec.rows) * prod(spec.k) * spec.columns // 4
        case BlockDot():
            return prod(spec.rows) * prod(spec.k) * spec.columns // 16
        case Scan():
            return prod(spec.dims) * spec.extent * 4
        case Scatter():
            return prod(spec.dims)
        case Nest():
            return sum(work(stage) for stage, _ in spec.stages)
