"""The memory plan: offsets in one arena from lifetimes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlcc.program.program import ALIGNMENT

TRIES = 400
LINGER = 6  # calls
ENOUGH = 1.0  # of the lower bound: stop searching


@dataclass(frozen=True)
class Span:
    """A buffer to place: bytes, and the first and last call that need it."""

    name: str
    nbytes: int
    first: int
    last: int


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def lower_bound(spans: Sequence[Span]) -> int:
    """The largest set alive at once, in bytes."""
    events: dict[int, int] = {}
    for s in spans:
        events[s.first] = events.get(s.first, 0) + aligned(s.nbytes)
        events[s.last + 1] = events.get(s.last + 1, 0) - aligned(s.nbytes)
    best = total = 0
    for at in sorted(events):
        total += events[at]
        best = max(best, total)
    return best


def linger(spans: Sequence[Span], calls: int) -> list[Span]:
    """Small buffers (a softmax's maxima and sums) keep their memory for a few calls more, so that kernels can take turns row by row."""
    small = lower_bound(spans) // 64
    return [replace(s, last=min(s.last + LINGER, calls - 1)) if s.nbytes <= small else s for s in spans]


def _place(order: Sequence[Span]) -> tuple[int, dict[str, int]]:
    """First fit in the given order."""
    placed: list[tuple[int, int, Span]] = []  # offset, end, span; by offset
    offsets: dict[str, int] = {}
    top = 0
    for s in order:
        size, at = aligned(s.nbytes), 0
        for offset, end, other in placed:
            if other.last < s.first or s.last < other.first:
                continue
            if offset >= at + size:
                break
            at = max(at, end)
        offsets[s.name] = at
        placed.append((at, at + size, s))
        placed.sort(key=lambda p: p[0])
        top = max(top, at + size)
    return top, offsets


def plan(spans: Sequence[Span]) -> tuple[int, dict[str, int]]:
    """(arena bytes, offset by name): first fit in several orders, then a seeded search, stopping at the lower bound."""
    if not spans:
        return 0, {}
    bound = lower_bound(spans)
    orders = [
        sorted(spans, key=lambda s: (-s.nbytes, s.first)),
        sorted(spans, key=lambda s: (-(s.last - s.first), -s.nbytes, s.first)),
        sorted(spans, key=lambda s: (-s.nbytes * (s.last - s.first + 1), s.first)),
        sorted(spans, key=lambda s: (s.first, -s.nbytes)),
    ]
    best, best_order = min(((_place(o), o) for o in orders), key=lambda p: p[0][0])
    generator = random.Random(0)
    current = list(best_order)
    for _ in range(TRIES if len(spans) < 2000 else 0):
        if best[0] <= bound * ENOUGH:
            break
        trial = list(current)
        for _ in range(generator.randint(1, 3)):
            i, j = generator.randrange(len(trial)), generator.randrange(min(len(trial), 24))
            trial.insert(j, trial.pop(i))
        found = _place(trial)
        if found[0] <= best[0]:
            best, current = found, trial
    return best
