"""What a loop program computes, in terms: each kernel from its specification's own docstring, over memory as the plan lays it out.

Memory is a term an element of each buffer. Writing to a buffer takes away what others hold in the same bytes, and memory that nothing has
written gives no term. A kernel's points may run in any order and at once, so nothing that one point writes may be read by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.error import Error
from mlcc.program.kernel import Access, BlockDot, Body, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter, Step, storage
from mlcc.program.program import KernelCall, Program
from mlcc.translation import terms
from mlcc.translation.graph import extreme, scattered_digest, within
from mlcc.translation.memory import Memory, Place, Touch, Wrong, spread
from mlcc.translation.packed import PANEL, PackedLayout, packed_layout
from mlcc.translation.terms import NOTHING, ZERO, Terms, Unwritten, chained, combined, folded


class ProgramTerms(Memory):
    """Runs a program in terms."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.packed: dict[tuple[object, ...], Terms] = {}
        self.last = {a.buffer: i for i, c in enumerate(program.calls) for a in c.arguments}

    def run(self) -> Iterator[int]:
        """One call after the other; yields each one's number when it is done. Raises Error(conformance) at the first that is wrong."""
        for i, (name, t) in enumerate(self.program.inputs):
            self.memory[f"in.{name}"] = terms.inputs(i, t.shape).reshape(-1).copy()
        for i, call in enumerate(self.program.calls):
            try:
                self.call(call)
            except (Wrong, Unwritten, IndexError) as e:
                what = {"Unwritten": "reads memory that holds nothing", "IndexError": f"leaves its buffer: {e}"}.get(
                    type(e).__name__, str(e)
                )
                raise Error(
                    "conformance", f"wrong translation: call {i} ({call.kernel.split('_')[0]} kernel) {what}", call.origin,
                    "this is a bug in mlcc; please report it with the model",
                ) from None  # fmt: skip
            yield i
            for b in {a.buffer for a in call.arguments}:
                if self.last[b] == i and self.program.buffers[b].place in ("arena", "constant"):
                    self.memory.pop(b, None)

    def output(self, name: str) -> Terms:
        found = self.memory.get(f"out.{name}")
        size = self.program.buffers[f"out.{name}"].elements
        return found if found is not None else np.full(size, NOTHING)

    def call(self, call: KernelCall) -> None:
        spec = self.program.kernels[call.kernel]
        places = []
        for a, dtype in zip(call.arguments, spec.arguments):
            buffer = self.program.buffers[a.buffer]
            if DTYPES[storage(buffer.dtype)].itemsize != DTYPES[dtype].itemsize:
                raise Wrong(f"takes {a.buffer} for {dtype}")
            places.append(Place(a.buffer, a.offset))
        self.reads, self.writes = [], []
        self.kernel(spec, places, ())
        self.check_races()

    # kernels

    def kernel(self, spec: Kernel, places: Sequence[Place], outer: tuple[int, ...]) -> None:
        match spec:
            case Map():
                value = self.body(spec.body, places, spec.dims, outer, None)
                self.store(places, spec.output, spec.dims, value, outer)
            case Reduce():
                self.reduce(spec, places, outer)
            case Chain():
                self.chain(spec, places, outer)
            case Dot():
                self.dot(spec, places, outer)
            case BlockDot():
                self.block_dot(spec, places, outer)
            case Scan():
                self.scan(spec, places)
            case Scatter():
                self.scatter(spec, places)
            case Nest():
                self.nest(spec, places)

    def body(self, body: Body, places: Sequence[Place], dims: tuple[int, ...], outer: tuple[int, ...], entry: Terms | None) -> Terms:
        """The last step's terms at each point."""
        found: list[Terms | np.uint64] = []
        for step in body:
            operands = [found[i] for i in step.operands]
            match step.op:
                case "load":
                    assert step.access is not None
                    found.append(self.load(places, step.access, dims, outer, len(dims)))
                case "gather":
                    found.append(self.gather(step, body, places, dims, outer, operands))
                case "const":
                    found.append(terms.number(step.value, step.dtype))
                case "input":
                    assert entry is not None
                    found.append(entry)
                case "Identity":
                    found.append(operands[0])
                case "Half":
                    found.append(terms.rounded(np.asarray(operands[0])))
                case _:
                    extra = tuple(step.value) if step.value is not None else ()
                    source = (body[step.operands[0]].dtype,) if step.op in ("Cast", "BitCast") else ()
                    found.append(combined((step.op, step.dtype, *extra, *source), *operands))
        result = np.asarray(found[-1]) if body else entry
        assert result is not None
        return np.broadcast_to(result, dims)

    def gather(
        self,
        step: Step,
        body: Body,
        places: Sequence[Place],
        dims: tuple[int, ...],
        outer: tuple[int, ...],
        operands: list[Terms | np.uint64],
    ) -> Terms:
        """Known indices say which element is read; of others, the element is a function of the index and of all that it may choose from."""
        assert step.access is not None
        place = places[step.access.arg]
        memory = self.of(place.memory)
        base = np.array(place.offset + step.access.offset, np.int64)
        unknown, extents = [], []
        for i, (stride, extent), term in zip(step.operands, step.terms, operands):
            known = self.known(body[i], places, dims)
            if known is None:
                unknown.append(term)
                extents.append((extent, stride))
            else:
                base = base + within(known, extent) * stride
        strides = step.access.strides
        k_dims, k_strides = [extent for extent, _ in extents], [stride for _, stride in extents]
        if base.ndim == 0:
            lines = folded(memory, int(base), dims, strides, k_dims, k_strides) if extents else terms.view(memory, int(base), dims, strides)
            self.reads.append(Touch(place.memory, int(base), (*dims, *k_dims), (*strides, *k_strides), len(dims)))
        else:
            where = spread(spread(base, dims, strides).reshape(*dims, *(1,) * len(k_dims)), k_dims, k_strides, len(dims))
            if where.size and (where.min() < 0 or where.max() >= memory.size):
                raise IndexError(f"elements {where.min()} to {where.max()} of {memory.size}")
            lines = found = np.ascontiguousarray(memory[where])
            if (found == NOTHING).any():
                raise Unwritten
            if extents:
                count = prod(k_dims)
                lines = folded(found.reshape(-1), 0, dims, [count * prod(dims[i + 1 :]) for i in range(len(dims))], (count,), (1,))
            self.reads.append(Touch(place.memory, 0, (memory.size,), (1,), None))
        if (np.asarray(lines) == NOTHING).any():
            raise Unwritten
        return combined(("gather",), *unknown, np.broadcast_to(lines, dims)) if unknown else np.broadcast_to(lines, dims)

    def known(self, step: Step, places: Sequence[Place], dims: tuple[int, ...]) -> np.ndarray | None:
        """The numbers that a load reads where they are constants."""
        if step.op == "const":
            return np.asarray(step.value)
        if step.op != "load" or step.access is None:
            return None
        place = places[step.access.arg]
        if place.apart or self.program.buffers[place.memory].place != "constant":
            return None
        array = self.program.constants[place.memory].reshape(-1)
        return terms.view(array, place.offset + step.access.offset, dims, step.access.strides)

    def reduce(self, spec: Reduce, places: Sequence[Place], outer: tuple[int, ...]) -> None:
        def fold(_: Terms, **options: object) -> Terms:
            return self.fold(places, source, spec.dims, spec.reduced, outer, len(spec.dims), **options)

        source = spec.source
        if spec.kind in ("ReduceMax", "ReduceMin"):
            name, offset, strides = self.address(places, source, (*spec.dims, *spec.reduced), len(outer))
            read = terms.view(self.of(name), offset, (*spec.dims, *spec.reduced), strides)
            whole = bool(read.size) and bool((read & terms.ROUNDED).all())

            def plain(v: Terms, **options: object) -> Terms:
                if not whole:
                    return fold(v, **options)
                kept = self.memory[name]
                self.memory[name] = np.where(kept == NOTHING, kept, kept & ~terms.ROUNDED)
                try:
                    return fold(v, **options)
                finally:
                    self.memory[name] = kept

            value = extreme(read, spec.dtype, plain, spec.kind)
        else:
            value = combined((spec.kind, spec.dtype), fold(np.empty(0, np.uint64)))
        self.store(places, spec.output, spec.dims, self.body(spec.body, places, spec.dims, outer, value.reshape(spec.dims)), outer)

    def start(self, init: Access | None, places: Sequence[Place], dims: tuple[int, ...], outer: tuple[int, ...]) -> Terms | np.uint64:
        return ZERO if init is None else self.load(places, init, dims, outer, len(dims))

    def chain(self, spec: Chain, places: Sequence[Place], outer: tuple[int, ...]) -> None:
        dims, k = spec.dims, spec.reduced
        options: dict[str, object] = {"left_out": ZERO, "bounds": _bounds(spec), "outside": self.outside(spec, spec.a)}
        if spec.plane is not None:
            a = self.planed(spec, places, options)
        else:
            a = self.fold(places, spec.a, dims, k, outer, len(dims), **options)
        b = self.fold(places, spec.b, dims, k, outer, len(dims), left_out=ZERO)
        value = chained(spec.dtype, a, b, self.start(spec.init, places, dims, outer))
        self.store(places, spec.output, dims, self.body(spec.body, places, dims, outer, value), outer)
        if spec.plane is not None:
            self.step_by(1)

    def step_by(self, points: int) -> None:
        """What the kernel touches belongs to the first dimensions alone: it has copied all that such a point reads before it writes."""
        self.reads = [replace(r, points=None if r.points is None else min(points, r.points)) for r in self.reads]
        self.writes = [replace(w, points=None if w.points is None else points) for w in self.writes]

    def outside(self, spec: Chain | Dot, a: Access) -> np.uint64:
        return terms.number(spec.outside, spec.arguments[a.arg]) if spec.outside else ZERO

    def planed(self, spec: Chain, places: Sequence[Place], options: dict[str, object]) -> Terms:
        """The chain's operand from a copy that each index of the first dimension makes before it writes."""
        plane = spec.plane
        assert plane is not None
        copied = self.load(places, plane.source, (spec.dims[0], *plane.extents), (), 1)
        size = self.of(places[plane.copy].memory).size
        own = np.full((spec.dims[0], size), NOTHING)
        flat = prod(plane.extents)
        terms.check_inside(size, places[plane.copy].offset, (flat,), (1,))
        own[:, places[plane.copy].offset : places[plane.copy].offset + flat] = copied.reshape(spec.dims[0], flat)
        n = len(spec.dims)
        strides = (spec.a.strides[0] + size, *spec.a.strides[1:n])
        offset = places[spec.a.arg].offset + spec.a.offset
        self.scratch(places[plane.copy], flat)
        return folded(own.reshape(-1), offset, spec.dims, strides, spec.reduced, spec.a.strides[n:], **options)  # type: ignore[arg-type]

    def dot(self, spec: Dot, places: Sequence[Place], outer: tuple[int, ...]) -> None:
        rows, lead = (*spec.batch, *spec.rows), len(spec.batch)
        dims = (*rows, spec.columns)
        gathered = spec.scratch is not None
        if spec.scratch is not None:
            taps = -(-prod(spec.k) // spec.packing.depth) * spec.packing.depth
            self.scratch(places[spec.scratch], taps * min(4 if spec.scale else 2, prod(spec.rows)))
        options: dict[str, object] = {"left_out": ZERO, "bounds": _bounds(spec, lead), "outside": self.outside(spec, spec.a)}
        a = self.fold(places, spec.a, rows, spec.k, outer, len(rows) if gathered else None, **options)
        b = self.columns(spec, places)
        wide = b.reshape(*spec.batch, *(1,) * len(spec.rows), spec.columns)
        value = chained(spec.dtype, np.expand_dims(a, -1), wide, self.start(spec.init, places, dims, outer))
        self.store(places, spec.output, dims, self.body(spec.body, places, dims, outer, value), outer)
        if gathered:
            self.step_by(len(rows))

    def columns(self, spec: Dot, places: Sequence[Place]) -> Terms:
        """The polynomial of each column of the packed operand: [batch…, columns]."""
        place, depth = places[spec.b.arg], prod(spec.k)
        layout = packed_layout(spec.packing, depth, spec.columns)
        size = layout.size
        batch_strides = tuple(s * size for s in spec.b.strides)
        buffer = self.program.buffers.get(place.memory)
        constant = buffer is not None and buffer.place == "constant"
        scales = None
        if spec.scale is not None:
            scales = places[spec.scale.arg].memory, places[spec.scale.arg].offset + spec.scale.offset, spec.scale.strides
        key = (place, spec.b, spec.packing, spec.k, spec.columns, spec.batch, scales)
        if constant and key in self.packed:
            return self.packed[key]
        memory, offset = self.of(place.memory), place.offset + spec.b.offset
        if place.apart:
            raise Wrong("packs its operand in memory of its own")
        if scales is not None or buffer is not None and buffer.dtype == "float16" and spec.dtype == "float32":
            memory, offset = self.widened(spec, place, offset, scales, layout), 0
        parts = []
        for (dims, strides), (k, k_strides), first in layout.pieces():
            found = folded(memory, offset + first, (*spec.batch, *dims), (*batch_strides, *strides), k, k_strides, left_out=ZERO)
            self.reads.append(Touch(place.memory, offset + first, (*spec.batch, *dims, *k), (*batch_strides, *strides, *k_strides), None))
            parts.append(found.reshape(*spec.batch, prod(dims)))
        every = np.concatenate(parts, axis=-1)[..., : spec.columns] if parts else np.zeros((*spec.batch, 0), np.uint64)
        if constant:
            self.packed[key] = every
        return every

    def widened(self, spec: Dot, place: Place, offset: int, scales: tuple[str, int, tuple[int, ...]] | None, layout: PackedLayout) -> Terms:
        """Packed float16, or bytes times their column's scale, as the binary32 numbers that they stand for, from `offset` on."""
        if place.memory not in self.program.constants or scales is not None and (scales[0] not in self.program.constants or spec.batch):
            raise Wrong("has weights or scales that are not known")
        stored = self.program.constants[place.memory].reshape(-1)
        terms.check_inside(stored.size, offset, (layout.size,), (1,))
        wide = stored[offset:].astype(np.float32)
        if scales is not None:
            name, at, strides = scales
            row = np.ones(-(-spec.columns // PANEL) * PANEL, np.float32)
            row[: spec.columns] = terms.view(self.program.constants[name].reshape(-1), at, (spec.columns,), strides)
            done = 0
            for (dims, steps), (k, k_steps), first in layout.pieces():
                block = terms.view(wide, first, (*dims, *k), (*steps, *k_steps))
                block *= row[done : done + prod(dims)].reshape(*dims, *(1,) * len(k))
                done += prod(dims)
        return terms.constants(wide)

    def block_dot(self, spec: BlockDot, places: Sequence[Place], outer: tuple[int, ...]) -> None:
        dims = (*spec.rows, spec.columns)
        name, offset, strides = self.address(places, spec.a, (*spec.rows, *spec.k), len(outer))
        kept = self.of(name)
        self.memory[name] = np.where(kept == NOTHING, kept, kept | terms.ROUNDED)
        try:
            a = self.fold(places, spec.a, spec.rows, spec.k, outer, None, left_out=ZERO)
        finally:
            self.memory[name] = kept
        place, depth = places[spec.b], prod(spec.k)
        key = (place, spec.k, spec.columns)
        if key not in self.packed:
            raw = self.program.constants[place.memory].reshape(-1)[place.offset :]
            blocks, panels = -(-depth // 32), -(-spec.columns // PANEL)
            terms.check_inside(raw.size, 0, (panels * blocks * 256,), (1,))
            pairs = raw[: panels * blocks * 256].reshape(panels, blocks, 16, PANEL)
            halves = np.stack([pairs & np.uint32(0xFFFF), pairs >> np.uint32(16)], axis=3).astype(
                np.uint16
            )  # [panel, block, pair, half, column]
            matrix = halves.transpose(1, 2, 3, 0, 4).reshape(blocks * 32, panels * PANEL)[:depth, : spec.columns]
            known = np.ascontiguousarray(terms.constants(matrix))
            self.packed[key] = folded(known.reshape(-1), 0, (spec.columns,), (1,), (depth,), (spec.columns,), left_out=ZERO)
        value = chained("bf16", np.expand_dims(a, -1), self.packed[key].reshape(*(1,) * len(spec.rows), -1), ZERO)
        self.store(places, spec.output, dims, self.body(spec.body, places, dims, outer, value), outer)

    def scan(self, spec: Scan, places: Sequence[Place]) -> None:
        digest = np.expand_dims(self.fold(places, spec.source, spec.dims, (spec.extent,), (), len(spec.dims)), -1)
        options = dict(spec.options)
        count = {"TopK": options.get("k", 0), "CumSum": spec.extent, "CumProd": spec.extent}.get(spec.kind, 1)
        place = terms.constants(np.arange(count))
        for which, access in enumerate((spec.output, *([spec.second] if spec.second else []))):
            found = combined((spec.kind, which, spec.dtype, tuple(sorted(spec.options))), digest, place)
            dims = (*spec.dims, count)
            self.store(places, access, dims, found, ())
            self.writes[-1] = replace(self.writes[-1], points=len(spec.dims))

    def scatter(self, spec: Scatter, places: Sequence[Place]) -> None:
        n = len(spec.dims)
        indices = [self.load(places, a, spec.dims, (), n) for a in spec.indices]
        updates = self.load(places, spec.updates, spec.dims, (), n)
        name, offset, strides = self.address(places, spec.output, spec.dims, 0)
        lines, own = tuple(e for _, e in spec.terms), tuple(s for s, _ in spec.terms)
        memory = self.of(name)
        line = folded(memory, offset, spec.dims, strides, lines, own)
        digest = scattered_digest([np.asarray(i) for i in indices], updates, line)
        kept = [(n, s) for n, s in zip(spec.dims, strides) if s]
        dims, steps = (*(n for n, _ in kept), *lines), (*(s for _, s in kept), *own)
        old = terms.view(memory, offset, dims, steps)
        self.may_write(name)
        self.take(name, offset, dims, steps)
        old[...] = combined(("scatter", spec.reduction), old.copy(), digest)
        self.writes.append(Touch(name, offset, dims, steps, None))

    def nest(self, spec: Nest, places: Sequence[Place]) -> None:
        """All points at once, each with memory of its own."""
        points, rank = prod(spec.outer), len(spec.outer)
        names = []
        for i, (_, size) in enumerate(spec.locals):
            names.append(f"local {i}")
            self.memory[names[-1]] = np.full(points * size, NOTHING)
        try:
            for stage, sources in spec.stages:
                if isinstance(stage, Nest | Scan | Scatter | BlockDot):
                    raise Wrong("nests what cannot be nested")
                dims = (*stage.batch, *stage.rows) if isinstance(stage, Dot) else stage.dims
                if dims[:rank] != spec.outer:
                    raise Wrong("has a stage with other points")
                seen = len(self.reads), len(self.writes)
                own = [places[s] if s >= 0 else Place(names[-1 - s], 0, spec.locals[-1 - s][1]) for s in sources]
                self.kernel(stage, own, spec.outer)
                # a point's stages follow one another: what matters between points are the nest's, not the stages'
                self.reads[seen[0] :] = [
                    replace(r, points=rank if r.points is not None or self._rows(stage, r) else None) for r in self.reads[seen[0] :]
                ]
                self.writes[seen[1] :] = [replace(w, points=rank) for w in self.writes[seen[1] :]]
            local = set(names)
            self.reads = [r for r in self.reads if r.place not in local]
            self.writes = [w for w in self.writes if w.place not in local]
        finally:
            for name in names:
                self.memory.pop(name, None)

    @staticmethod
    def _rows(stage: Kernel, touch: Touch) -> bool:
        """Whether a read that a dot makes for a whole row runs over the nest's points first."""
        return isinstance(stage, Dot) and len(touch.dims) == len(stage.batch) + len(stage.rows) + len(stage.k)


def _bounds(spec: Chain | Dot, lead: int = 0) -> list[tuple[int, int, int, int, int, int]]:
    return [(b.dim + lead, b.axis, b.step, b.dilation, b.before, b.extent) for b in spec.bounds]
