"""Data movement: changes of strides where they can say it, copies, gathers and scatters where not; and sequential scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mlcc.core.dim import whole
from mlcc.core.graph import DTYPES, Node
from mlcc.core.operators import family
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, Scan, Scatter, Step
from mlcc.program.lower.arguments import Arguments
from mlcc.program.lower.state import Gathered, Lowering
from mlcc.program.view import View, order_of


def _alias(change: Callable[[View, Node], View]) -> Callable[[Lowering, Node, str], None]:
    def run(s: Lowering, node: Node, origin: str) -> None:
        s.views[node.outputs[0]] = change(s.view(node.inputs[0]), node)

    return run


def _reshape(s: Lowering, node: Node, origin: str) -> None:
    view = s.view(node.inputs[0])
    new = view.reshape(node["shape"])
    if new is None:
        new = s.materialise(view, range(len(view.shape)), node.outputs[0], origin).reshape(node["shape"])
    assert new is not None
    s.views[node.outputs[0]] = new


def _concat(s: Lowering, node: Node, origin: str) -> None:
    value, axis = node.outputs[0], node["axis"]
    t = s.graph.types[value]
    if value in s.graph.outputs:
        s.views[value] = s.destination(value, range(len(t.shape)), origin)
    elif value not in s.views:
        parts = [s.views[v] for v in node.inputs if v in s.views]
        s.views[value] = s.whole(value, order_of(parts[0]) if parts else tuple(range(len(t.shape))), origin)
    at, ones = 0, (1,) * len(t.shape)
    for v in node.inputs:
        part = s.graph.types[v].shape
        if s.places.get(v) is None or s.places[v].owner != value:
            start = tuple(at if i == axis else 0 for i in range(len(part)))
            s.copy(s.view(v), s.views[value].slice(start, ones, part), value, origin)
        at += part[axis]


def _pad(s: Lowering, node: Node, origin: str) -> None:
    value, view = node.outputs[0], s.view(node.inputs[0])
    out = s.destination(value, order_of(view), origin)
    s.views[value] = out
    number = node["value"]
    if out.dtype in ("float16", "bfloat16"):
        number = int(np.array(number).astype(DTYPES[out.dtype]).view(np.uint16))
    else:
        number = np.array(number).astype(DTYPES[out.dtype]).item()
    s.fill(out, number, value, origin)
    s.copy(view, out.slice(node["before"], (1,) * len(view.shape), view.shape), value, origin)


def _gather_map(
    s: Lowering,
    node: Node,
    origin: str,
    data: View,
    strides: tuple[int, ...],
    indices: Sequence[tuple[View, int, int]],
    order: Sequence[int],
) -> None:
    """out = data at (strides over out's dims) + Σ index·stride; each index a view expanded to out's dims."""
    value = node.outputs[0]
    out = s.destination(value, order, origin)
    s.views[value] = out

    def body(a: Arguments) -> list[tuple[Step, tuple[int, ...] | None]]:
        steps = s.gather_steps(Gathered(data, strides, tuple(indices), tuple(order), ()), a, 0)
        half = [(Step("Half", "bfloat16", (len(steps) - 1,)), None)] if out.dtype == "bfloat16" and data.dtype == "float32" else []
        return [*steps, *half]

    s.map(out, body, value, origin)


def _gather(s: Lowering, node: Node, origin: str) -> None:
    """Left to its reader where that is one elementwise kernel, or a Gather along another axis; else a copy."""
    axis, index, value = node["axis"], s.view(node.inputs[1]), node.outputs[0]
    shape, rank = s.graph.types[value].shape, len(index.shape)
    before = s.gathered.get(node.inputs[0])
    if before is not None:
        data, base, order, indices, holds = before.data, before.strides, before.order, before.indices, before.holds
    else:
        data = s.view(node.inputs[0])
        base, order, indices, holds = data.strides, order_of(data), (), (node.inputs[0],)
    tail = len(base) - axis - 1
    strides = (*base[:axis], *(0,) * rank, *base[axis + 1 :])
    spread = index.laid(shape, (*(0,) * axis, *index.strides, *(0,) * tail))
    where = order.index(axis)
    order = tuple(p if p < axis else p + rank - 1 for p in order if p != axis)
    order = (*order[:where], *range(axis, axis + rank), *order[where:])
    extent = s.graph.types[node.inputs[0]].shape[axis]
    found = Gathered(data, strides, (*indices, (spread, base[axis], extent)), order, holds)
    reader = s.reader(value)
    if node.inputs[1] not in s.graph.constants:
        found = replace(found, holds=(*holds, node.inputs[1]))
    deferrable = strides[order[-1]] != 0 and 0 not in shape
    if reader is not None and deferrable and _takes(s, reader, value, found):
        s.gathered[value] = found
        for v in found.holds:
            s.uses[v] += 1
        return
    _gather_map(s, node, origin, data, strides, found.indices, order)


def _takes(s: Lowering, reader: Group, value: str, found: Gathered) -> bool:
    """Whether a group can do the Gather that makes `value` itself, its vectors along the same dimension; another Gather, where it is along
    an axis that no index runs over yet: an index of an index is no sum of terms."""
    sink, shape, innermost = reader.sink, s.graph.types[value].shape, found.order[-1]
    if reader.anchor is None and family(sink.op) == "elementwise":
        others = [s.views[v] for v in reader.reads if v in s.views and s.graph.types[v].shape == shape and v not in s.graph.constants]
        return s.graph.types[sink.outputs[0]].shape == shape and all(order_of(v)[-1] == innermost for v in others)
    known = set(found.holds) <= {found.holds[0]}  # of computed indices the proof takes one at a time
    one_more = known and sink.op == "Gather" and sink.inputs[0] == value and all(v.strides[sink["axis"]] == 0 for v, _, _ in found.indices)
    return one_more and len(shape) == len(s.graph.types[sink.outputs[0]].shape)


def _gather_elements(s: Lowering, node: Node, origin: str) -> None:
    axis, data, index = node["axis"], s.view(node.inputs[0]), s.view(node.inputs[1])
    strides = tuple(0 if i == axis else st for i, st in enumerate(data.strides))
    _gather_map(s, node, origin, data, strides, [(index, data.strides[axis], data.shape[axis])], order_of(index))


def _gather_nd(s: Lowering, node: Node, origin: str) -> None:
    b, data, index = node["batch_dims"], s.view(node.inputs[0]), s.view(node.inputs[1])
    shape, depth = s.graph.types[node.outputs[0]].shape, index.shape[-1]
    lead, tail = len(index.shape) - 1, len(data.shape) - b - depth
    strides = (*data.strides[:b], *(0,) * (lead - b), *data.strides[b + depth :])
    parts = []
    for j in range(depth):
        spread = index.laid(shape, (*index.strides[:-1], *(0,) * tail), index.offset + j * index.strides[-1])
        parts.append((spread, data.strides[b + j], data.shape[b + j]))
    _gather_map(s, node, origin, data, strides, parts, range(len(shape)))


def _scatter_call(
    s: Lowering,
    node: Node,
    origin: str,
    dims: tuple[int, ...],
    out_strides: tuple[int, ...],
    indices: Sequence[tuple[View, tuple[int, ...]]],
    terms: Sequence[tuple[int, int]],
    update_strides: tuple[int, ...],
) -> None:
    value, data = node.outputs[0], s.view(node.inputs[0])
    out = s.views[value]
    s.copy(data, out, value, origin)
    if prod(dims) == 0:
        return
    a, updates = Arguments(), s.view(node.inputs[2])
    accesses = tuple(Access(a.view(v), st) for v, st in indices)
    update = Access(a.view(updates), update_strides)
    target = a.view(out)
    dtype = s.graph.types[node.inputs[1]].dtype
    s.call(
        Scatter(tuple(a.types), out.dtype, node["reduction"], dims, accesses, dtype, tuple(terms), update, Access(target, out_strides)),
        a,
        value,
        origin,
        [target],
    )


def _scatter_elements(s: Lowering, node: Node, origin: str) -> None:
    axis, value, index, updates = node["axis"], node.outputs[0], s.view(node.inputs[1]), s.view(node.inputs[2])
    out = s.destination(value, range(len(index.shape)), origin)
    s.views[value] = out
    strides = tuple(0 if i == axis else st for i, st in enumerate(out.strides))
    _scatter_call(s, node, origin, index.shape, strides, [(index, index.strides)], [(out.strides[axis], out.shape[axis])], updates.strides)


def _scatter_nd(s: Lowering, node: Node, origin: str) -> None:
    value, index, updates = node.outputs[0], s.view(node.inputs[1]), s.view(node.inputs[2])
    out = s.destination(value, range(len(s.graph.types[value].shape)), origin)
    s.views[value] = out
    depth, lead = index.shape[-1], len(index.shape) - 1
    tail = out.shape[depth:]
    dims = (*index.shape[:-1], *tail)
    parts = [(replace(index, offset=index.offset + j * index.strides[-1]), (*index.strides[:-1], *(0,) * len(tail))) for j in range(depth)]
    _scatter_call(
        s,
        node,
        origin,
        dims,
        (*(0,) * lead, *out.strides[depth:]),
        parts,
        [(out.strides[j], out.shape[j]) for j in range(depth)],
        updates.strides,
    )


TABLE: dict[str, Callable[[Lowering, Node, str], None]] = {
    "Reshape": _reshape,
    "Concat": _concat,
    "Pad": _pad,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Transpose": _alias(lambda v, n: v.transpose(n["perm"])),
    "Expand": _alias(lambda v, n: v.expand(n["shape"])),
    "Slice": _alias(lambda v, n: v.slice(n["starts"], n["steps"], n["shape"])),
}


def scan(s: Lowering, node: Node, origin: str) -> None:
    """ArgMax, ArgMin, CumSum, CumProd, TopK."""
    axis, data = node["axis"], s.view(node.inputs[0])
    rest = [i for i in range(len(data.shape)) if i != axis]
    outs = []
    for v in node.outputs:
        t = s.graph.types[v]
        s.views[v] = s.destination(v, range(len(t.shape)), origin)
        outs.append(s.views[v])
    if outs[0].size == 0:
        return
    a = Arguments()

    def access(v: View) -> Access:
        return Access(a.view(v), (*(v.strides[i] for i in rest), v.strides[axis]))

    options = tuple((k, whole(v)) for k, v in node.attributes if k != "axis")
    source = access(data)
    targets = [access(v) for v in outs]
    dims = tuple(data.shape[i] for i in rest) or (1,)
    if not rest:
        source, targets = replace(source, strides=(0, *source.strides)), [replace(t, strides=(0, *t.strides)) for t in targets]
    kernel = Scan(
        tuple(a.types), node.op, data.dtype, dims, data.shape[axis], source, targets[0], targets[1] if len(targets) > 1 else None, options
    )
    s.call(kernel, a, node.outputs[0], origin, [t.arg for t in targets])
