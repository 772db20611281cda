"""Attention without materialised scores: product, softmax and product become one kernel that works on a few rows at a time.

Exact, since nothing of one row depends on another: each kernel of the run keeps its order, and only what lies between them moves from
the arena to memory of the kernel's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from mlcc.core.dim import Dim
from mlcc.core.terms import most
from mlcc.program.kernel import Access, Body, Dot, Kernel, Map, Nest, Reduce
from mlcc.program.packing import PANEL
from mlcc.program.program import Argument, Buffer, KernelCall, Loop

ROWS = (24, 20, 16, 12, 10, 8, 6, 4)  # that a kernel takes at a time, best first
CACHED = 32 << 10  # bytes of a kernel's own memory that suit a first-level cache
SPARE, FEW = 16, 4  # rows of the pieces, and of the smaller ones at the end, that a count known only at run time is cut into
LARGEST = 60 << 10  # what a small thread's stack, and a GPU's block, have


@dataclass(frozen=True)
class _Run:
    """Calls from a product to the product that reads its softmax, in order, and those in between that have nothing to do with them."""

    inside: tuple[int, ...]
    outside: tuple[int, ...]
    private: frozenset[str]


def nested(calls: Sequence[KernelCall], kernels: dict[str, Kernel], buffers: Mapping[str, Buffer]) -> list[KernelCall]:
    """The calls with each attention as one; its kernels are added to `kernels`."""
    found: list[KernelCall] = []
    last = {a.buffer: i for i, c in enumerate(calls) for a in c.arguments}
    begun: set[str] = set()  # buffers that hold something already
    at = 0
    while at < len(calls):
        run = _run(calls, kernels, buffers, last, at)
        own = _owned([calls[i] for i in run.inside], kernels, run.private, buffers, begun) if run else None
        fused = _fuse(*own) if own else None
        if run and fused:
            found += [calls[i] for i in run.outside]
            begun |= {a.buffer for i in (*run.inside, *run.outside) for a in calls[i].arguments}
            for spec, call in fused:
                name = f"nest_{hashlib.sha256(repr(spec).encode()).hexdigest()[:16]}"
                kernels[name] = spec
                found.append(replace(call, kernel=name))
            at = max(run.inside) + 1
        else:
            found.append(calls[at])
            begun |= {a.buffer for a in calls[at].arguments}
            at += 1
    return found


def nested_around(
    calls: Sequence[KernelCall], loops: Sequence[Loop], kernels: dict[str, Kernel], buffers: Mapping[str, Buffer]
) -> tuple[list[KernelCall], list[Loop]]:
    """The same between loops, whose own calls stay as they are."""
    found: list[KernelCall] = []
    moved: list[Loop] = []
    at = 0
    for loop in loops:
        found += nested(calls[at : loop.first], kernels, buffers)
        moved.append(Loop(len(found), len(found) + loop.last - loop.first, loop.count, loop.going))
        found += calls[loop.first : loop.last]
        at = loop.last
    return [*found, *nested(calls[at:], kernels, buffers)], moved


Specs = list[tuple[KernelCall, Kernel]]


def _owned(
    run: Sequence[KernelCall],
    kernels: Mapping[str, Kernel],
    private: frozenset[str],
    buffers: Mapping[str, Buffer],
    begun: set[str],
) -> tuple[Specs, frozenset[str], Mapping[str, Buffer]] | None:
    """The run with its private buffers apart from what lay in their memory before: a result may be written over an operand (a residual that
    ends there), which the run still reads. Such a buffer is another one from its first write on. None where a run must not be one
    kernel."""
    known = dict(buffers)
    renamed: dict[str, str] = {}
    own: set[str] = set()  # buffers that the run has written
    found: Specs = []
    for call in run:
        spec = kernels[call.kernel]
        written, read = _written(call), {call.arguments[i].buffer for i in _reads(spec)}
        arguments = tuple(replace(a, buffer=renamed.get(a.buffer, a.buffer)) for a in call.arguments)
        for b in written & private:
            if b in own or b not in begun and b not in read:
                continue
            if not isinstance(spec, Map | Reduce | Dot) or prod(_points(spec)) != buffers[b].elements:
                return None  # part of what it held before would have to stay
            name = f"{b} anew"
            known[name], renamed[b] = replace(buffers[b], name=name), name
            at = spec.output.arg
            spec = replace(spec, arguments=(*spec.arguments, spec.arguments[at]), output=replace(spec.output, arg=len(spec.arguments)))
            arguments = (*arguments, replace(call.arguments[at], buffer=name))
            call = replace(call, writes=(len(arguments) - 1,))
        own |= written
        found.append((replace(call, arguments=arguments), spec))
    end, last = found[-1]
    target = {end.arguments[i].buffer for i in end.writes}
    if any(call.arguments[i].buffer in target for call, spec in found[:-1] for i in _reads(spec)):
        return None  # a later row's operand may have been overwritten by an earlier row's result
    assert isinstance(last, Dot)
    if any(a.arg == last.output.arg and a != last.output for a in _loads(last)):
        return None
    return found, frozenset(renamed.get(b, b) for b in private), known


def _loads(spec: Kernel) -> list[Access]:
    """What a kernel reads, but a Dot's packed operand and scales."""
    assert isinstance(spec, Map | Reduce | Dot)
    own = [spec.source] if isinstance(spec, Reduce) else [spec.a, *([spec.init] if spec.init else [])] if isinstance(spec, Dot) else []
    return [*own, *(s.access for s in spec.body if s.access is not None)]


def _reads(spec: Kernel) -> set[int]:
    """The arguments that a kernel reads."""
    packed = {spec.b.arg, *([spec.scale.arg] if spec.scale else [])} if isinstance(spec, Dot) else set()
    return {a.arg for a in _loads(spec)} | packed


def _points(spec: Map | Reduce | Dot) -> tuple[int, ...]:
    return (*spec.batch, *spec.rows, spec.columns) if isinstance(spec, Dot) else spec.dims


def _run(
    calls: Sequence[KernelCall], kernels: Mapping[str, Kernel], buffers: Mapping[str, Buffer], last: Mapping[str, int], first: int
) -> _Run | None:
    """The run that starts with call `first`, if it ends in a product and nothing else ever reads what lies between."""
    if not isinstance(kernels[calls[first].kernel], Dot):
        return None
    inside, outside = [first], []
    own, read = _written(calls[first]), {a.buffer for a in calls[first].arguments}
    for i in range(first + 1, len(calls)):
        call, touched = calls[i], {a.buffer for a in calls[i].arguments}
        if not touched & own:
            if _written(call) & read:
                return None
            outside.append(i)
            continue
        spec = kernels[call.kernel]
        inside.append(i)
        if isinstance(spec, Dot):
            private = own - _written(call)
            stays = all(buffers[b].place == "arena" and last[b] <= i for b in private)
            reduces = any(isinstance(kernels[calls[j].kernel], Reduce) for j in inside)
            return _Run(tuple(inside), tuple(outside), frozenset(private)) if stays and reduces and not _written(call) & own else None
        if not isinstance(spec, Map | Reduce):
            return None
        own, read = own | _written(call), read | touched
    return None


def _written(call: KernelCall) -> set[str]:
    return {call.arguments[i].buffer for i in call.writes}


def _fuse(run: Specs, private: frozenset[str], buffers: Mapping[str, Buffer]) -> list[tuple[Nest, KernelCall]] | None:
    """One nest for the rows that divide evenly, one for the rest."""
    first = run[0][1]
    assert isinstance(first, Dot)
    if len(first.rows) != 1:
        return None
    count, batch = first.rows[0], first.batch
    per_row = sum(buffers[b].nbytes // most(prod(batch) * count) for b in private)
    fitting = [r for r in ROWS if r <= most(count)]
    sizes = [r for r in fitting if r * per_row <= CACHED] or [r for r in fitting if r * per_row <= LARGEST]
    if not sizes:
        return None
    rows = next(
        (r for r in sizes if count % r == 0),
        max((r for r in sizes if r <= SPARE), default=sizes[-1]) if isinstance(count, Dim) else sizes[0],
    )
    rest = count % rows
    pieces = [(count // rows, rows, 0)]
    if isinstance(rest, Dim):  # what is left, in ever smaller pieces
        for height in (FEW, 1):
            if height < rows:
                pieces.append((rest // height, height, count - rest))
                rest = rest % height
    elif rest:
        pieces.append((1, rest, count - rest))
    found = []
    for tiles, height, start in pieces:
        nest = _Nest(batch, count, tiles, height, start, private, buffers)
        if not all(nest.stage(call, spec) for call, spec in run):
            return None
        end = run[-1][0]
        writes = tuple(i for i, a in enumerate(nest.items) if a.buffer in _written(end))
        spec = Nest(tuple(nest.types), tuple(nest.locals.values()), (*batch, tiles), tuple(nest.stages))
        found.append((spec, KernelCall("", tuple(nest.items), writes, end.value, end.origin)))
    return found


class _Nest:
    """Collects the stages for `tiles` times `height` rows from row `start` on, of `count` in each of `batch`."""

    def __init__(
        self,
        batch: tuple[int, ...],
        count: int,
        tiles: int,
        height: int,
        start: int,
        private: frozenset[str],
        buffers: Mapping[str, Buffer],
    ) -> None:
        self.batch, self.count, self.tiles, self.height, self.start = batch, count, tiles, height, start
        self.private, self.buffers = private, buffers
        self.items: list[Argument] = []
        self.types: list[str] = []
        self.locals: dict[str, tuple[str, int]] = {}
        self.steps: dict[str, tuple[int, ...]] = {}  # a private buffer's strides over batch and rows
        self.stages: list[tuple[Kernel, tuple[int, ...]]] = []

    def stage(self, call: KernelCall, spec: Kernel) -> bool:
        """Add a call; False where its rows are not the run's."""
        sources: list[int] = []
        for a, dtype in zip(call.arguments, spec.arguments):
            if a.buffer in self.private:
                if a.offset:
                    return False
                size = _pitch(self.buffers[a.buffer].elements // (prod(self.batch) * self.count))
                self.locals.setdefault(a.buffer, (dtype, size * self.height))
                sources.append(-1 - list(self.locals).index(a.buffer))
            else:
                if a not in self.items:
                    self.items.append(a)
                    self.types.append(dtype)
                sources.append(self.items.index(a))
        try:
            cut = self._cut(call, spec)
        except _Unlike:
            return False
        self.stages.append((cut, tuple(sources)))
        return True

    def _cut(self, call: KernelCall, spec: Kernel) -> Kernel:
        """The kernel over (batch, tile, row of the tile, …)."""
        rows = (*self.batch, self.count)
        outer = (*self.batch, self.tiles, self.height)
        match spec:
            case Dot():
                if (*spec.batch, *spec.rows) != rows:
                    raise _Unlike
                b = replace(spec.b, strides=(*spec.b.strides, 0))
                a, init = self._access(call, spec.a, rows), self._access(call, spec.init, rows) if spec.init else None
                output, body = self._access(call, spec.output, rows), self._body(call, spec.body, rows)
                return replace(spec, batch=outer[:-1], rows=outer[-1:], a=a, b=b, init=init, output=output, body=body)
            case Reduce():
                own, inner = _spread(spec.dims, rows), spec.source.strides[len(spec.dims) :]
                source = replace(spec.source, strides=(*own(spec.source.strides[: len(spec.dims)]), *inner))
                output = replace(spec.output, strides=own(spec.output.strides))
                body = tuple(replace(s, access=replace(s.access, strides=own(s.access.strides))) if s.access else s for s in spec.body)
                return replace(
                    spec,
                    dims=outer,
                    source=self._access(call, source, rows),
                    output=self._access(call, output, rows),
                    body=self._body(call, body, rows),
                )
            case Map():
                width = prod(spec.dims) // prod(rows)
                if any(s.op == "gather" for s in spec.body) or width * prod(rows) != prod(spec.dims):
                    raise _Unlike
                own = _spread(spec.dims, (*rows, width))
                body = tuple(replace(s, access=replace(s.access, strides=own(s.access.strides))) if s.access else s for s in spec.body)
                output = replace(spec.output, strides=own(spec.output.strides))
                return replace(spec, dims=(*outer, width), body=self._body(call, body, rows), output=self._access(call, output, rows))
        raise _Unlike

    def _body(self, call: KernelCall, body: Body, rows: tuple[int, ...]) -> Body:
        return tuple(replace(s, access=self._access(call, s.access, rows)) if s.access else s for s in body)

    def _access(self, call: KernelCall, access: Access, rows: tuple[int, ...]) -> Access:
        """Rows cut into tiles; private memory begins anew with each tile."""
        head, rest = access.strides[: len(rows)], access.strides[len(rows) :]
        step = head[-1]
        buffer = call.arguments[access.arg].buffer
        if buffer in self.private:
            known = self.steps.setdefault(buffer, head)
            size = self.buffers[buffer].elements // prod(rows)
            whole = tuple(size * prod(rows[i + 1 :]) for i in range(len(rows)))
            if known != head or access.offset or any(n != 1 and s != w for n, s, w in zip(rows, head, whole)):
                raise _Unlike
            return replace(access, strides=(*(0 for _ in self.batch), 0, _pitch(size), *rest))
        return replace(access, strides=(*head[:-1], step * self.height, step, *rest), offset=access.offset + self.start * step)


def _pitch(row: int) -> int:
    """From one row of a nest's own memory to the next: a number also where a run says how long a row is, so that addresses are constant,
    and none that would have rows share a few lines of the cache."""
    return (most(row) + PANEL - 1) // PANEL * PANEL + PANEL if isinstance(row, Dim) else row


class _Unlike(Exception):
    """A kernel whose rows are not the run's."""


def _spread(dims: Sequence[int], wanted: Sequence[int]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """Strides over merged dims → strides over the dims that they were merged from."""
    groups: list[list[int]] = []
    rest = list(wanted)
    for n in dims:
        group: list[int] = []
        while rest and (prod(group) != n or rest[0] == 1):
            group.append(rest.pop(0))
        if prod(group) != n:
            raise _Unlike
        groups.append(group)
    if any(n != 1 for n in rest):
        raise _Unlike
    trailing = len(rest)

    def own(strides: Sequence[int]) -> tuple[int, ...]:
        return (*(s * prod(g[i + 1 :]) for g, s in zip(groups, strides) for i in range(len(g))), *(0,) * trailing)

    return own
