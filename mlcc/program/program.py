"""The loop program and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mlcc.core.describe import Description
from mlcc.core.dim import symbols
from mlcc.core.graph import DTYPES, TensorType
from mlcc.core.ranges import bind
from mlcc.core.terms import Symbol, least, most
from mlcc.error import Error
from mlcc.program.kernel import Dot, Kernel, Nest
from mlcc.program.packing import PANELS

ALIGNMENT = 64  # bytes, of every buffer


@dataclass(frozen=True)
class Buffer:
    """A stretch of memory. place: `input`, `output` (caller's), `constant` (read-only), `arena` (at `offset` bytes)."""

    name: str
    dtype: str
    elements: int
    place: str
    offset: int = 0
    nbytes: int = 0


@dataclass(frozen=True)
class Argument:
    """A pointer to element `offset` of a buffer, in a loop's next turn `advance` elements further."""

    buffer: str
    offset: int = 0
    advance: int = 0


@dataclass(frozen=True)
class KernelCall:
    """One launch. `writes` are argument indices; `value` is the core value that it completes (for messages and traces)."""

    kernel: str
    arguments: tuple[Argument, ...]
    writes: tuple[int, ...]
    value: str
    origin: str


@dataclass(frozen=True)
class Loop:
    """Calls `first` to `last` − 1, in turn, `count` times; less often where further turns would change nothing: once the byte at
    `going` is 0."""

    first: int
    last: int
    count: int
    going: Argument | None = None


@dataclass(frozen=True)
class Layout:
    """Where a value lies in its buffer (elements), so that a trace can read it back."""

    buffer: str
    type: TensorType
    strides: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Program:
    """What backends consume: calls, one after the other, some of them repeated. `constants` are packed arrays by buffer name; `layouts`
    locate the values that calls complete."""

    name: str
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    buffers: Mapping[str, Buffer]
    constants: Mapping[str, np.ndarray]
    kernels: Mapping[str, Kernel]
    calls: tuple[KernelCall, ...]
    arena_bytes: int
    arena_lower_bound: int
    layouts: Mapping[str, Layout]
    described: Mapping[str, Description] = field(default_factory=dict)
    loops: tuple[Loop, ...] = ()  # in order; none lies in another

    @property
    def sizes(self) -> tuple[Symbol, ...]:
        """The sizes that a run decides, in the order of their names."""
        return tuple(sorted(symbols([t.shape for _, t in self.inputs])))

    @property
    def largest(self) -> Program:
        """The program at its largest sizes."""
        largest: Program = bind(self, {s.name: s.high for s in self.sizes}) if self.sizes else self
        return largest


def turns(program: Program) -> list[int]:
    """How often each call is made, at most."""
    found = [1] * len(program.calls)
    for loop in program.loops:
        found[loop.first : loop.last] = [most(loop.count)] * (loop.last - loop.first)
    return found


def written_out(program: Program) -> Program:
    """The program with each turn of its loops as calls of its own."""
    if not program.loops:
        return program
    calls: list[KernelCall] = []
    at = 0
    for loop in program.loops:
        calls += program.calls[at : loop.first]
        for turn in range(loop.count):
            for call in program.calls[loop.first : loop.last]:
                moved = tuple(Argument(a.buffer, a.offset + turn * a.advance) for a in call.arguments)
                calls.append(replace(call, arguments=moved))
        at = loop.last
    return replace(program, calls=(*calls, *program.calls[at:]), loops=())


def lifetimes(calls: tuple[KernelCall, ...], loops: tuple[Loop, ...] = ()) -> dict[str, tuple[int, int]]:
    """Buffer → (first, last) call that touches it; what is touched within a loop and outside lasts through all of its turns."""
    found: dict[str, tuple[int, int]] = {}
    for i, call in enumerate(calls):
        for a in call.arguments:
            first, _ = found.get(a.buffer, (i, i))
            found[a.buffer] = (first, i)
    for loop in loops:
        for b, (first, last) in found.items():
            crosses = first < loop.first <= last or first < loop.last <= last
            if crosses:
                found[b] = min(first, loop.first), max(last, loop.last - 1)
    return found


def validate(program: Program) -> None:
    """Raise where the program breaks its rules: known kernels and buffers, arena bounds, no overlap of live buffers, nothing read before it
    is written."""

    def broken(what: str) -> Error:
        return Error("model", f"invalid program: {what}", program.name)

    written = {b.name for b in program.buffers.values() if b.place in ("input", "constant")}
    for call in program.calls:
        spec = program.kernels.get(call.kernel)
        if spec is None:
            raise broken(f"no kernel {call.kernel}")
        if len(call.arguments) != len(spec.arguments):
            raise broken(f"{call.kernel} takes {len(spec.arguments)} arguments, {call.origin} gives {len(call.arguments)}")
        for i, a in enumerate(call.arguments):
            buffer = program.buffers.get(a.buffer)
            if buffer is None:
                raise broken(f"no buffer {a.buffer}")
            room = max(most(buffer.elements), buffer.nbytes // DTYPES[buffer.dtype].itemsize)  # empty ones keep theirs
            if least(a.offset) < 0 or most(a.offset) > room:
                raise broken(f"{call.origin} points outside {a.buffer}")
            if i in call.writes:
                if buffer.place in ("input", "constant"):
                    raise broken(f"{call.origin} writes to {buffer.place} {a.buffer}")
                written.add(a.buffer)
            elif a.buffer not in written and buffer.elements != 0:
                raise broken(f"{call.origin} reads {a.buffer} before anything wrote it")
    alive = lifetimes(program.calls, program.loops)
    arena = sorted((b for b in program.buffers.values() if b.place == "arena" and b.name in alive and b.nbytes), key=lambda b: b.offset)
    for i, x in enumerate(arena):
        if x.offset % ALIGNMENT or x.offset + x.nbytes > program.arena_bytes:
            raise broken(f"{x.name} lies outside the arena")
        for y in arena[i + 1 :]:
            if y.offset >= x.offset + x.nbytes:
                break
            (first, last), (start, end) = alive[x.name], alive[y.name]
            if first <= end and start <= last:
                raise broken(f"{x.name} and {y.name} overlap while both live")


def narrow(program: Program) -> bool:
    """Whether panels of weights lie as float16, or as bytes times a scale, that stand for binary32."""

    def one(k: Kernel) -> bool:
        if isinstance(k, Nest):
            return any(one(stage) for stage, _ in k.stages)
        return isinstance(k, Dot) and k.packing == PANELS and (k.scale is not None or k.arguments[k.b.arg] == "uint16")

    return any(one(k) for k in program.kernels.values())
