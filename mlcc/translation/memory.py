"""A program's memory in terms: one an element, as the plan lays it out; and whether a kernel's points are independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.program.kernel import Access
from mlcc.program.program import Buffer, Program
from mlcc.translation import terms
from mlcc.translation.terms import NOTHING, Terms, Unwritten, folded


@dataclass(frozen=True)
class Place:
    """An argument as a kernel sees it: a buffer (or a nest's own memory), its first element, and, in a nest's own memory, how far its
    points are apart."""

    memory: str
    offset: int
    apart: int = 0


@dataclass(frozen=True)
class Touch:
    """Elements that a call reads or writes: of which point (over the first `points` of `dims`), or of none that may be written at all."""

    place: str
    offset: int
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    points: int | None


class Wrong(Exception):
    """The program does not do what it should."""


class Memory:
    """What each buffer holds, and what the call at hand has read and written so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.memory: dict[str, Terms] = {}
        self.sharers = _sharers(program)
        self.reads: list[Touch] = []
        self.writes: list[Touch] = []

    def of(self, name: str) -> Terms:
        """A buffer's terms."""
        if name not in self.memory:
            b = self.program.buffers[name]
            if b.place == "constant":
                array = self.program.constants[name]
                if array.size != b.elements:
                    raise Wrong(f"has {array.size} numbers for the {b.elements} of {name}")
                self.memory[name] = terms.constants(array).reshape(-1)
            else:
                self.memory[name] = np.full(b.elements, NOTHING)
        return self.memory[name]

    def address(self, places: Sequence[Place], access: Access, dims: Sequence[int], outer: int) -> tuple[str, int, tuple[int, ...]]:
        """(memory, offset, strides) of an access; in a nest's own memory each point of the first `outer` dims has a place of its own."""
        place = places[access.arg]
        strides = access.strides
        if len(strides) != len(dims):
            raise Wrong(f"has {len(strides)} strides for {len(dims)} dimensions")
        if place.apart:
            terms.check_inside(place.apart, place.offset + access.offset, dims, strides)
            own = tuple(place.apart * prod(dims[i + 1 : outer]) for i in range(outer))
            strides = tuple(s + (own[i] if i < outer else 0) for i, s in enumerate(strides))
        return place.memory, place.offset + access.offset, strides

    def load(self, places: Sequence[Place], access: Access, dims: tuple[int, ...], outer: tuple[int, ...], points: int | None) -> Terms:
        name, offset, strides = self.address(places, access, dims, len(outer))
        found = terms.view(self.of(name), offset, dims, strides)
        shown = found[tuple(slice(1) if s == 0 else slice(None) for s in strides)]
        if (shown == NOTHING).any():
            raise Unwritten
        self.reads.append(Touch(name, offset, dims, strides, points))
        return found

    def fold(
        self,
        places: Sequence[Place],
        access: Access,
        dims: tuple[int, ...],
        k: tuple[int, ...],
        outer: tuple[int, ...],
        points: int | None,
        **options: object,
    ) -> Terms:
        """Over the last dimensions of an access that covers dims and k."""
        name, offset, strides = self.address(places, access, (*dims, *k), len(outer))
        n = len(dims)
        found = folded(self.of(name), offset, dims, strides[:n], k, strides[n:], **options)  # type: ignore[arg-type]
        self.reads.append(Touch(name, offset, (*dims, *k), strides, points))
        return found

    def store(self, places: Sequence[Place], access: Access, dims: tuple[int, ...], value: Terms, outer: tuple[int, ...]) -> None:
        name, offset, strides = self.address(places, access, dims, len(outer))
        memory = self.of(name)
        target = terms.view(memory, offset, dims, strides)
        if not _apart(dims, strides):
            raise Wrong("writes an element twice")
        self.may_write(name)
        self.take(name, offset, dims, strides)
        target[...] = value
        self.writes.append(Touch(name, offset, dims, strides, len(dims)))

    def scratch(self, place: Place, elements: int) -> None:
        """Memory that a kernel uses as it likes: its own, whatever was in it is lost."""
        size = self.of(place.memory).size
        terms.check_inside(size, place.offset, (elements,), (1,))
        if self.program.buffers[place.memory].place != "arena":
            raise Wrong(f"uses {place.memory} as scratch")
        self.take(place.memory, 0, (size,), (1,))
        self.of(place.memory)[:] = NOTHING
        self.writes.append(Touch(place.memory, 0, (size,), (1,), None))

    def may_write(self, name: str) -> None:
        buffer = self.program.buffers.get(name)
        if buffer is not None and buffer.place in ("input", "constant"):
            raise Wrong(f"writes to {name}")

    def take(self, name: str, offset: int, dims: tuple[int, ...], strides: tuple[int, ...]) -> None:
        """What shares these bytes of the arena is lost."""
        if prod(dims) == 0 or not self.sharers.get(name):
            return
        buffers = self.program.buffers
        b = buffers[name]
        size = DTYPES[b.dtype].itemsize
        low = b.offset + size * (offset + sum(min(0, (n - 1) * s) for n, s in zip(dims, strides)))
        high = b.offset + size * (offset + 1 + sum(max(0, (n - 1) * s) for n, s in zip(dims, strides)))
        for other in self.sharers[name]:
            if other in self.memory:
                o = buffers[other]
                width = DTYPES[o.dtype].itemsize
                self.memory[other][max(0, (low - o.offset) // width) : max(0, -(-(high - o.offset) // width))] = NOTHING

    def check_races(self) -> None:
        """No point reads or writes what another point writes."""
        written = {w.place for w in self.writes}
        touched = {t.place for t in (*self.reads, *self.writes)}
        for name in written:
            if shared := touched & self.sharers.get(name, frozenset()):
                raise Wrong(f"has {name} and {shared.pop()} in the same bytes")
            writes = [w for w in self.writes if w.place == name]
            reads = [r for r in self.reads if r.place == name and not (len(writes) == 1 and _alike(r, writes[0]))]
            if any(w.points is None for w in writes) and len(writes) + len(reads) > 1:
                raise Wrong(f"uses {name} as scratch and otherwise")
            if not reads and len(writes) == 1:
                continue
            owner = np.full(self.of(name).size, -1, np.int64)
            for i, t in enumerate((*writes, *reads)):
                where, who = addresses(t)
                before = owner[where]
                if ((before >= 0) & (before != who)).any():
                    raise Wrong(f"has points that depend on each other in {name}")
                if i < len(writes):
                    owner[where] = np.broadcast_to(who, where.shape)


def _sharers(program: Program) -> dict[str, frozenset[str]]:
    """Arena buffer → the others that have bytes of the arena in common with it."""
    arena = sorted((b for b in program.buffers.values() if b.place == "arena" and b.nbytes), key=lambda b: b.offset)
    found: dict[str, set[str]] = {b.name: set() for b in arena}
    open_: list[Buffer] = []
    for b in arena:
        open_ = [o for o in open_ if o.offset + o.nbytes > b.offset]
        for o in open_:
            found[b.name].add(o.name)
            found[o.name].add(b.name)
        open_.append(b)
    return {n: frozenset(s) for n, s in found.items()}


def _apart(dims: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether no two points have the same address."""
    if prod(dims) <= 1:
        return True
    reach = 0
    for s, n in sorted((abs(s), n) for n, s in zip(dims, strides) if n > 1):
        if s <= reach:
            break
        reach += s * (n - 1)
    else:
        return True
    where, _ = addresses(Touch("", 0, tuple(dims), tuple(strides), 0))
    return len(np.unique(where)) == where.size


def _alike(read: Touch, write: Touch) -> bool:
    """Whether each point reads at most the element that it writes."""
    same = (read.offset, read.dims, read.strides) == (write.offset, write.dims, write.strides)
    return same and read.points is not None and read.points == write.points


def spread(base: np.ndarray, dims: Sequence[int], strides: Sequence[int], first: int = 0) -> np.ndarray:
    """Addresses with Σ index·stride added, the dims from axis `first` on."""
    for i, (n, s) in enumerate(zip(dims, strides)):
        base = base + (np.arange(n) * s).reshape([-1 if j == first + i else 1 for j in range(first + len(dims))])
    return base


def addresses(t: Touch) -> tuple[np.ndarray, np.ndarray]:
    """Each element's address and the point that it belongs to (−2: none)."""
    where = spread(np.full((1,) * len(t.dims), t.offset, np.int64), t.dims, t.strides)
    if t.points is None:
        return where, np.array(-2)
    who = np.arange(prod(t.dims[: t.points])).reshape(*t.dims[: t.points], *(1,) * (len(t.dims) - t.points))
    return where, np.broadcast_to(who, where.shape)
