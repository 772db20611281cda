"""What one lowering knows: views by value, buffers, calls; and how values are placed, copied and delivered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.terms import most
from mlcc.program import memory
from mlcc.program.fusion import Group, fuse, is_lookup
from mlcc.program.halves import bfloat16_values
from mlcc.program.iteration import iterate
from mlcc.program.kernel import Access, Kernel, Map, Step
from mlcc.program.lower.arguments import Arguments, Operands, Steps, finish_body
from mlcc.program.lower.placement import placement
from mlcc.program.lower.ranges import Range, ranges
from mlcc.program.lower.reuse import in_place
from mlcc.program.nest import nested_around
from mlcc.program.program import Buffer, KernelCall, Layout, Loop, Program, lifetimes
from mlcc.program.view import View, channels_last, order_of, ordered, row_major


@dataclass(frozen=True)
class Gathered:
    """A Gather that its one elementwise reader does itself: data at `strides` over the result's dims + Σ index·stride (below an extent)."""

    data: View
    strides: tuple[int, ...]
    indices: tuple[tuple[View, int, int], ...]
    order: tuple[int, ...]
    holds: tuple[str, ...]  # values whose memory must last until then


class Lowering:
    """The state of one lowering: views by value, buffers, calls."""

    def __init__(
        self,
        graph: CoreGraph,
        compact: bool = False,
        vectors: bool = False,
        overwrite: bool = False,
        narrow: bool = False,
        inputs: Mapping[str, View] | None = None,
    ) -> None:
        """inputs: where a loop's body finds its own; a model's are the caller's."""
        self.graph, self.compact, self.vectors = graph, compact, vectors
        self.narrow = narrow
        self.overwrite = overwrite  # whether convolutions may put their results over their input
        self.groups = fuse(graph)
        self.ranges: dict[str, Range] | None = None
        self.views: dict[str, View] = dict(inputs or {})
        self.targets: dict[str, View] | None = (
            None if inputs is None else {}
        )  # where a body's results go, where they can be written at once
        self.loops: list[Loop] = []
        self.buffers: dict[str, Buffer] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.kernels: dict[str, Kernel] = {}
        self.calls: list[KernelCall] = []
        self.layouts: dict[str, Layout] = {}
        self.uses: dict[str, int] = {}
        self.gathered: dict[str, Gathered] = {}
        self.halves: frozenset[str] = frozenset()  # float32 values that lie as bfloat16, since all their readers round them
        planned = placement(graph, self.groups, compact)
        self.outlets, self.halos, self.borders, self.places = planned.outlets, planned.halos, planned.borders, planned.places
        self.padded: dict[tuple[str, tuple[int, ...], tuple[int, ...], float], View] = {}
        self._by_content: dict[tuple[str, bytes], str] = {}
        self._packed: dict[tuple[object, ...], str] = {}
        self.scales: dict[str, str] = {}  # packed bytes that stand for floats → their scales
        for group in self.groups:
            for v in group.reads:
                self.uses[v] = self.uses.get(v, 0) + 1
        for v in graph.outputs:
            self.uses[v] = self.uses.get(v, 0) + 1
        for v in graph.inputs if inputs is None else ():
            t = graph.types[v]
            name = self.buffer(f"in.{v}", t.dtype, t.size, "input")
            self.views[v] = View(name, t.dtype, t.shape, row_major(t.shape))
        self.halves = bfloat16_values(graph, self.groups, set(self.outlets))

    def within(self, body: CoreGraph, inputs: Mapping[str, View]) -> Lowering:
        """The lowering of a loop's body, whose calls and memory are this one's."""
        inner = Lowering(body, self.compact, self.vectors, self.overwrite, self.narrow, inputs)
        inner.buffers, inner.constants, inner.kernels, inner.calls = self.buffers, self.constants, self.kernels, self.calls
        inner._by_content, inner.scales = self._by_content, self.scales
        return inner

    # buffers and constants

    def buffer(self, name: str, dtype: str, elements: int, place: str = "arena") -> str:
        """A new buffer; names of the caller's tensors begin with in. and out., those of memory with mem., so that none is taken for
        another."""
        name = f"mem.{name}" if place == "arena" else name
        while name in self.buffers:
            name += "'"
        self.buffers[name] = Buffer(name, dtype, elements, place, 0, most(elements) * DTYPES[dtype].itemsize)
        return name

    def new_view(self, name: str, dtype: str, shape: Sequence[int], order: Sequence[int]) -> View:
        return View(self.buffer(name, dtype, prod(shape)), dtype, tuple(shape), ordered(shape, order))

    def constant(self, array: np.ndarray, dtype: str) -> str:
        """A constant buffer; equal contents are one."""
        a = np.ascontiguousarray(array)
        key = (dtype, hashlib.sha256(a.view(np.uint8).data if a.size else b"").digest())
        if key not in self._by_content:
            name = self.buffer(f"const.{len(self.constants)}", dtype, a.size, "constant")
            self.constants[name] = a.reshape(-1)
            self._by_content[key] = name
        return self._by_content[key]

    def view(self, value: str) -> View:
        """Where a value lies; constants get a buffer on first use."""
        if value not in self.views:
            array = self.graph.constants[value]
            t = self.graph.types[value]
            self.views[value] = View(self.constant(array, t.dtype), t.dtype, t.shape, row_major(t.shape))
        return self.views[value]

    # calls

    def call(self, kernel: Kernel, arguments: Arguments, value: str, origin: str, writes: Sequence[int]) -> None:
        key = f"{type(kernel).__name__.lower()}_{hashlib.sha256(repr(kernel).encode()).hexdigest()[:16]}"
        self.kernels[key] = kernel
        self.calls.append(KernelCall(key, tuple(arguments.items), tuple(writes), value, origin))

    def map(self, out: View, body: Callable[[Arguments], Steps], value: str, origin: str) -> None:
        """One Map over the logical dims of `out`; the body's accesses carry strides over the same dims."""
        if out.size == 0:
            return
        arguments = Arguments()
        steps = body(arguments)
        target = arguments.view(out)
        it = iterate(out.shape, [*(st for _, st in steps if st is not None), out.strides], order_of(out))
        spec = Map(tuple(arguments.types), it.dims, finish_body(steps, it.over), Access(target, it.over(out.strides)))
        self.call(spec, arguments, value, origin, [target])

    def copy(self, source: View, out: View, value: str, origin: str) -> None:
        self.map(out, lambda a: [(Step("load", out.dtype, access=Access(a.view(source), ())), source.strides)], value, origin)

    def fill(self, out: View, number: float | int | bool, value: str, origin: str) -> None:
        if out.dtype == "bfloat16" and isinstance(number, float):
            number = int(np.array(number, DTYPES["bfloat16"]).view(np.uint16))
        step = Step("const", out.dtype, value=number)
        self.map(out, lambda a: [(step, None)], value, origin)

    def materialise(self, view: View, order: Sequence[int], value: str, origin: str) -> View:
        """A contiguous copy of a view with its axes in the given order."""
        out = self.new_view(f"copy.{value}", view.dtype, view.shape, order)
        self.copy(view, out, value, origin)
        return out

    # where results go

    def destination(self, value: str, order: Sequence[int], origin: str) -> View:
        """A view to write a group's result to: a caller's output, a part of something larger, a haloed or a plain buffer."""
        t = self.graph.types[value]
        if value in self.graph.outputs or value in self.outlets:
            name = self.outlets.get(value, value)
            if self.targets is not None:
                laid = self.targets[name].reshape(t.shape) if name in self.targets else None
                return laid if laid is not None and laid.dtype == t.dtype else self.whole(value, order, origin)
            return View(self.buffer(f"out.{name}", t.dtype, t.size, "output"), t.dtype, t.shape, row_major(t.shape))
        if value in self.places:
            place = self.places[value]
            if place.owner not in self.views:
                self.views[place.owner] = self.whole(place.owner, order, origin)
            return self.views[place.owner].slice(place.start, (1,) * len(t.shape), t.shape)
        return self.whole(value, order, origin)

    def whole(self, value: str, order: Sequence[int], origin: str) -> View:
        """A buffer for a value alone, with its halo if it has one."""
        if value in self.halos:
            return self._haloed(value, origin)
        return self.new_view(value, self.dtype(value), self.graph.types[value].shape, order)

    def dtype(self, value: str) -> str:
        """How a value lies in memory."""
        return "bfloat16" if value in self.halves else self.graph.types[value].dtype

    def _haloed(self, value: str, origin: str) -> View:
        """A channels-last buffer with a zero border; the strips are filled before the value is written."""
        t, (low, high) = self.graph.types[value], self.halos[value]
        shape = (*t.shape[:2], *(n + a + b for n, a, b in zip(t.shape[2:], low, high)))
        whole = self.new_view(f"{value}.padded", self.dtype(value), shape, channels_last(len(shape)))
        self._border(whole, low, high, self.borders[value], f"{value}.border", origin)
        return whole.slice((0, 0, *low), (1,) * len(shape), t.shape)

    def _border(self, whole: View, low: Sequence[int], high: Sequence[int], number: float, value: str, origin: str) -> None:
        """Fill the border of a tensor: for each spatial axis the strips before and after, within what earlier axes left."""
        starts, shape, ones = [0] * len(whole.shape), list(whole.shape), (1,) * len(whole.shape)
        for axis, (a, b) in enumerate(zip(low, high), start=2):
            for start, count in ((0, a), (whole.shape[axis] - b, b)):
                if count:
                    strip = list(shape)
                    strip[axis] = count
                    at = list(starts)
                    at[axis] = start
                    self.fill(whole.slice(at, ones, strip), number, value, origin)
            starts[axis], shape[axis] = a, whole.shape[axis] - a - b

    def padded_view(self, value: str, low: tuple[int, ...], high: tuple[int, ...], number: float, origin: str) -> View:
        """The value with a border: its own halo where it has one, else a padded copy (shared by all who want the same)."""
        view = self.view(value)
        if not any((*low, *high)):
            return view
        own = self.halos.get(value)
        wide = own is not None and all(n <= m for n, m in zip((*low, *high), (*own[0], *own[1])))
        if wide and number == self.borders[value]:
            return view.slice(
                (0, 0, *(-p for p in low)),
                (1,) * len(view.shape),
                (*view.shape[:2], *(n + a + b for n, a, b in zip(view.shape[2:], low, high))),
            )
        key = (value, low, high, number)
        if key not in self.padded:
            shape = (*view.shape[:2], *(n + a + b for n, a, b in zip(view.shape[2:], low, high)))
            whole = self.new_view(f"{value}.padded", view.dtype, shape, channels_last(len(shape)))
            self._border(whole, low, high, number, value, origin)
            self.copy(view, whole.slice((0, 0, *low), (1,) * len(shape), view.shape), value, origin)
            self.padded[key] = whole
        return self.padded[key]

    # groups

    def done(self, group: Group, origin: str) -> None:
        """After a group is lowered: what it read is given back, what it made is delivered."""
        for v in group.reads:
            self.uses[v] -= 1
            if v in self.gathered and self.uses[v] == 0:
                for held in self.gathered.pop(v).holds:
                    self.uses[held] -= 1
        for v in group.sink.outputs:
            if v in self.views:
                view = self.views[v]
                if view.dtype == self.graph.types[v].dtype:
                    self.layouts[v] = Layout(view.buffer, self.graph.types[v], view.strides, view.offset)
                if self.targets is None and v in self.graph.outputs and (self.buffers[view.buffer].place != "output" or not view.row_major):
                    self._deliver(v, origin)

    def _deliver(self, value: str, origin: str) -> None:
        """Copy a value that lies elsewhere to the caller's output."""
        t = self.graph.types[value]
        out = View(self.buffer(f"out.{value}", t.dtype, t.size, "output"), t.dtype, t.shape, row_major(t.shape))
        self.copy(self.views[value], out, value, origin)

    def result_order(self, group: Group) -> tuple[int, ...]:
        """The layout of an elementwise result: that of its first operand of full size; of a walk, that of the graph, which has put
        together what lies together."""
        shape = self.graph.types[group.sink.outputs[0]].shape
        if any(is_lookup(n, self.graph) for n in group.nodes):
            return tuple(range(len(shape)))
        for v in group.reads:
            if v not in self.graph.constants and self.graph.types[v].shape == shape and v in self.views:
                return order_of(self.views[v])
        for v in group.reads:
            if v in self.gathered:
                return self.gathered[v].order
        return tuple(range(len(shape)))

    def elementwise(self, group: Group, origin: str) -> None:
        value = group.sink.outputs[0]
        out = in_place(self, group, value) or self.destination(value, self.result_order(group), origin)
        self.views[value] = out
        self.map(out, lambda a: self.body(group, a, None), value, origin)

    def body(self, group: Group, arguments: Arguments, entry: str | None) -> Steps:
        """The group's elementwise nodes as steps; loads carry their strides over the sink's logical dims."""
        shape = self.graph.types[group.sink.outputs[0]].shape
        steps: Steps = []
        where: dict[str, int] = {}

        def push(step: Step, strides: tuple[int, ...] | None = None) -> int:
            steps.append((step, strides))
            return len(steps) - 1

        def operand(v: str) -> int:
            if v in where:
                return where[v]
            dtype = self.graph.types[v].dtype
            if v == entry:
                where[v] = push(Step("input", dtype))
            elif v in self.graph.constants and self.graph.constants[v].size == 1:
                where[v] = push(Step("const", dtype, value=_scalar(self.graph.constants[v], dtype)))
            elif v in self.gathered:
                steps.extend(self.gather_steps(self.gathered[v], arguments, len(steps)))
                where[v] = len(steps) - 1
            else:
                view = self.view(v).expand(shape)
                where[v] = push(Step("load", dtype, access=Access(arguments.view(view), ())), view.strides)
            return where[v]

        for node in group.nodes:
            if node is group.anchor:
                continue
            if is_lookup(node, self.graph):
                data, index = self.view(node.inputs[0]), operand(node.inputs[1])
                low, high = self.range_of(node.inputs[1])
                inside = low >= 0 and isinstance(data.shape[0], int) and high < data.shape[0]
                terms = ((data.strides[0], data.shape[0]),)
                found = Step("gather", data.dtype, (index,), Access(arguments.view(data), ()), inside or None, terms)
                where[node.outputs[0]] = push(found, (0,) * len(shape) if node.op == "Gather" else (0, *data.strides[1:]))
                continue
            operands = tuple(operand(v) for v in node.inputs)
            where[node.outputs[0]] = push(Step(node.op, self.graph.types[node.outputs[0]].dtype, operands, value=_detail(node)))
        if group.sink.outputs[0] in self.halves:
            push(Step("Half", "bfloat16", (operand(group.sink.outputs[0]),)))
        return steps

    def range_of(self, index: str) -> Range:
        """The least and the largest that an index may be; (−1, 0) where that is not known."""
        if self.ranges is None:
            self.ranges = ranges(self.graph)
        return self.ranges.get(index, (-1, 0))

    def operands(self, group: Group, a: View, b: View, init: View | None, out: View) -> Operands:
        """The arguments of a product: its two sides, what its sums start from, what its body reads, where results go."""
        assert group.anchor is not None
        found = Arguments()
        a_arg, b_arg = found.view(a), found.view(b)
        init_arg = found.view(init) if init is not None else -1
        steps = self.body(group, found, group.anchor.outputs[0])
        return Operands(found, a_arg, b_arg, init_arg, steps, found.view(out))

    def gather_steps(self, g: Gathered, arguments: Arguments, at: int) -> Steps:
        """The loads of a gather's indices, then the gather, as steps from number `at` on, with their strides."""
        loads = [(Step("load", v.dtype, access=Access(arguments.view(v), ())), v.strides) for v, _, _ in g.indices]
        terms = tuple((stride, extent) for _, stride, extent in g.indices)
        indices = tuple(range(at, at + len(loads)))
        return [*loads, (Step("gather", g.data.dtype, indices, Access(arguments.view(g.data), ()), terms=terms), g.strides)]

    def reader(self, value: str) -> Group | None:
        """The one group that reads a value; None where there are several, or the value must lie somewhere for other reasons."""
        if value in self.graph.outputs or value in self.outlets or value in self.places or value in self.halos:
            return None
        found = [g for g in self.groups if value in g.reads]
        return found[0] if len(found) == 1 else None

    def finish(self) -> Program:
        for v in self.graph.outputs:
            if v not in self.views:  # a constant
                self.view(v)
            if not any(b == f"out.{v}" for b in self.buffers):
                self._deliver(v, v)
        if not self.compact:
            self.calls, self.loops = nested_around(self.calls, self.loops, self.kernels, self.buffers)
        alive = lifetimes(tuple(self.calls), tuple(self.loops))
        spans = [memory.Span(b.name, b.nbytes, *alive[b.name]) for b in self.buffers.values() if b.place == "arena" and b.name in alive]
        if not self.compact:
            spans = memory.linger(spans, len(self.calls))
        arena, offsets = memory.plan(spans)
        buffers = {n: replace(b, offset=offsets.get(n, 0)) for n, b in self.buffers.items() if n in alive or b.place in ("input", "output")}
        at = 0
        for n, b in buffers.items():
            if b.place == "constant":
                buffers[n] = replace(b, offset=at)
                at += memory.aligned(b.nbytes)
        types = self.graph.types
        return Program(
            self.graph.name,
            tuple((v, types[v]) for v in self.graph.inputs),
            tuple((v, types[v]) for v in self.graph.outputs),
            buffers,
            {n: a for n, a in self.constants.items() if n in buffers},
            {c.kernel: self.kernels[c.kernel] for c in self.calls},
            tuple(self.calls),
            arena,
            memory.lower_bound(spans),
            {v: l for v, l in self.layouts.items() if l.buffer in buffers},
            self.graph.described,
            tuple(self.loops),
        )


def _detail(node: Node) -> tuple[int, int, int] | None:
    """What a step must know besides its operands: a Requantize's (zero, low, high)."""
    return (node["zero"], node["low"], node["high"]) if node.op == "Requantize" else None


def _scalar(array: np.ndarray, dtype: str) -> float | int | bool:
    if dtype in ("float16", "bfloat16"):
        return int(array.reshape(()).view(np.uint16))
    item = array.reshape(()).item()
    return bool(item) if dtype == "bool" else item
