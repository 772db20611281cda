"""Reductions and pools → Reduce kernels; a pool is a reduction over a view whose windows overlap."""

from __future__ import annotations

from mlcc.graph.operators import family
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, Reduce
from mlcc.program.lower import Arguments, Lowering, finish_body
from mlcc.program.view import View, channels_last, collapse, order_of


def reduce(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    if family(node.op) == "pool":
        kind = {"PoolMax": "ReduceMax", "PoolSum": "ReduceSum"}[node.op]
        source, window = _windows(s, group, origin)
        out_order = channels_last(len(shape))
        kept = source
    else:
        kind = node.op
        view = s.view(node.inputs[0])
        axes = node["axes"]
        kept = View(view.buffer, view.dtype, shape, tuple(0 if i in axes else st for i, st in enumerate(view.strides)), view.offset)
        window = [(view.shape[i], view.strides[i]) for i in axes]
        out_order = order_of(view)
    out = s.in_place(group, value) or s.destination(value, out_order, origin)
    s.views[value] = out
    if out.size == 0:
        return
    a = Arguments()
    steps = s.body(group, a, node.outputs[0])
    steps = steps or []
    source_arg, target = a.view(kept), a.view(out)
    order = order_of(out)
    tables = [
        tuple(kept.strides[i] for i in order),
        tuple(out.strides[i] for i in order),
        *(tuple(st[i] for i in order) for _, st in steps if st is not None),
    ]
    dims, merged = collapse([out.shape[i] for i in order], tables)
    if not dims:
        dims, merged = (1,), [(0,) for _ in tables]
    reduced, (inner,) = collapse([n for n, _ in window], [[st for _, st in window]])
    if not reduced:
        reduced, inner = (1,), (0,)
    rest = iter(merged[2:])
    body = finish_body(steps, lambda _: next(rest))
    spec = Reduce(
        tuple(a.types),
        kind,
        s.graph.types[node.inputs[0]].dtype,
        dims,
        reduced,
        Access(source_arg, (*merged[0], *inner)),
        body,
        Access(target, merged[1]),
    )
    s.call(spec, a, value, origin, [target])


def _windows(s: Lowering, group: Group, origin: str) -> tuple[View, list[tuple[int, int]]]:
    """(view of each window's first element over the output's dims, window extents and strides)."""
    node = group.anchor
    assert node is not None
    dtype = s.graph.types[node.inputs[0]].dtype
    number = _lowest(dtype) if node.op == "PoolMax" else 0
    padded = s.padded_view(node.inputs[0], node["before"], node["after"], number, origin)
    shape = s.graph.types[node.outputs[0]].shape
    strides = (*padded.strides[:2], *(st * step for st, step in zip(padded.strides[2:], node["strides"])))
    window = [(k, st * d) for k, st, d in zip(node["kernel"], padded.strides[2:], node["dilations"])]
    return View(padded.buffer, padded.dtype, shape, strides, padded.offset), window


def _lowest(dtype: str) -> float | int:
    if dtype.startswith("float"):
        return float("-inf")
    return 0 if dtype.startswith("u") else -(1 << (int(dtype[3:]) - 1))
