"""Runs of calls that work row by row: a softmax's or a norm's kernels take turns on a few rows at a time, while these are in the cache.

Exact, since each kernel's rows are independent; one run is one piece of work for the threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcc.core.dim import symbols
from mlcc.core.graph import DTYPES
from mlcc.machine import Machine
from mlcc.program.kernel import Map, Reduce
from mlcc.program.program import KernelCall, Program
from mlcc.program.statistics import accesses
from mlcc.schedule.tasks import tasks

CACHED = 256 << 10  # bytes that the rows at hand may take: half of a small second-level cache


@dataclass(frozen=True)
class Sweep:
    """`calls` neighbours from `first` on, `rows` at a time."""

    first: int
    calls: int
    rows: int


@dataclass(frozen=True)
class _Touch:
    """A buffer as one call of a run sees it: elements [low, high] of row 0, `step` on to the next row (0: all rows the same)."""

    buffer: str
    step: int
    low: int
    high: int
    writes: bool


def sweeps(program: Program, machine: Machine) -> list[Sweep]:
    """All calls in order, in runs as long as they come; most runs are of one call."""
    found: list[Sweep] = []
    at = 0
    while at < len(program.calls):
        looped = any(loop.first <= at < loop.last for loop in program.loops)
        end, rows = at + 1, 0 if looped else _rows(program, program.calls[at], machine)
        if rows:
            touched = _touches(program, program.calls[at])
            while (
                end < len(program.calls)
                and all(end != loop.first for loop in program.loops)
                and _rows(program, program.calls[end], machine) == rows
            ):
                more = _touches(program, program.calls[end])
                if touched is None or more is None or not _independent(program, [*touched, *more]):
                    break
                touched, end = [*touched, *more], end + 1
        count = 1
        if end > at + 1 and touched:
            per_row = sum((x.high - x.low + 1) * DTYPES[program.buffers[x.buffer].dtype].itemsize for x in touched)
            count = max(1, min(rows, CACHED // max(1, per_row)))
        found.append(Sweep(at, end - at, count))
        at = end
    return found


def _rows(program: Program, call: KernelCall, machine: Machine) -> int:
    """The rows that a call's tasks are, or 0."""
    spec = program.kernels[call.kernel]
    if not isinstance(spec, Map | Reduce) or not spec.dims or symbols((spec, call.arguments)) or spec.dims[0] < 2:
        return 0
    return spec.dims[0] if tasks(spec, machine) == spec.dims[0] else 0


def _touches(program: Program, call: KernelCall) -> list[_Touch] | None:
    """What a call reads and writes, or None where loaded indices decide."""
    spec = program.kernels[call.kernel]
    if isinstance(spec, Map | Reduce) and any(step.op == "gather" for step in spec.body):
        return None
    found = []
    for access, dims in accesses(spec):
        argument = call.arguments[access.arg]
        low = high = argument.offset + access.offset
        for n, s in list(zip(dims, access.strides))[1:]:
            low, high = low + min(0, (n - 1) * s), high + max(0, (n - 1) * s)
        found.append(_Touch(argument.buffer, access.strides[0], low, high, access.arg in call.writes))
    return found


def _independent(program: Program, touched: list[_Touch]) -> bool:
    """Whether row t of each call needs nothing of other rows: what is written stays within one row's share of its buffer, and no two
    buffers of the run share memory."""
    written = {x.buffer for x in touched if x.writes}
    for name in written:
        own = [x for x in touched if x.buffer == name]
        step = own[0].step
        if step <= 0 or any(x.step != step or x.low // step != own[0].low // step or x.high // step != x.low // step for x in own):
            return False
    arena = sorted({x.buffer for x in touched if program.buffers[x.buffer].place == "arena"}, key=lambda n: program.buffers[n].offset)
    spans = [(program.buffers[n].offset, program.buffers[n].offset + program.buffers[n].nbytes) for n in arena]
    return all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))
