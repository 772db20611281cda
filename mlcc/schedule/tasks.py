"""Independent pieces of a kernel's work, how much it is, and what may be chosen of how it is done."""

from __future__ import annotations

from math import prod

from mlcc.core.terms import most
from mlcc.machine import Choice, Machine
from mlcc.program.kernel import BlockDot, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter
from mlcc.schedule import block, dot
from mlcc.schedule.reduce import reduce_across

MAP_CHUNK = 4096  # elements of a one-dimensional map that one task takes
MOST = {dot.FAMILY: dot.MOST}  # family → what its choices may say, from 1 on


def choices(spec: Kernel, machine: Machine) -> list[Choice]:
    """The schedules of a kernel that a cost model knows, the one that it takes for the best first; none where there is but one way."""
    return dot.choices(spec, machine) if isinstance(spec, Dot) else []


def outer_dims(dims: tuple[int, ...], keep: int) -> int:
    """How many leading dimensions make the task index, leaving the last `keep` inside."""
    count = 0
    while count < len(dims) - keep and most(prod(dims[:count])) < 32:
        count += 1
    return count


def tasks(spec: Kernel, machine: Machine) -> int:
    """Independent pieces of a kernel's work, the range of its (begin, end)."""
    match spec:
        case Map():
            if len(spec.dims) == 1:
                return (spec.dims[0] + MAP_CHUNK - 1) // MAP_CHUNK
            return prod(spec.dims[: outer_dims(spec.dims, 1)])
        case Reduce():
            return prod(spec.dims[: outer_dims(spec.dims, 1 if reduce_across(spec) else 0)])
        case Chain():
            return prod(spec.dims[: outer_dims(spec.dims, 2)])
        case Dot():
            return dot.tasks(spec, machine)
        case BlockDot():
            return block.tasks(spec, machine)
        case Scan():
            return prod(spec.dims)
        case Scatter():
            return 1
        case Nest():
            return prod(spec.outer)


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
