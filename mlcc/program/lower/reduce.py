"""Reductions and pools → Reduce kernels; a pool is a reduction over a view whose windows overlap."""

from __future__ import annotations

from itertools import product
from math import prod

from mlcc.core.dim import Dim
from mlcc.core.operators import family
from mlcc.program.fusion import Group
from mlcc.program.iteration import iterate
from mlcc.program.kernel import Access, Reduce
from mlcc.program.lower.arguments import Arguments, finish_body
from mlcc.program.lower.reuse import in_place
from mlcc.program.lower.state import Lowering
from mlcc.program.view import View, channels_last, order_of

MAX_PARTS = 9  # calls that a pool may become to avoid a padded copy of its input


def reduce(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    if family(node.op) == "pool":
        _pool(s, group, origin)
        return
    view = s.view(node.inputs[0])
    axes = node["axes"]
    kept = view.laid(shape, [0 if i in axes else st for i, st in enumerate(view.strides)])
    out = in_place(s, group, value) or s.destination(value, order_of(view), origin)
    s.views[value] = out
    _call(s, group, origin, node.op, out, kept, [(view.shape[i], view.strides[i]) for i in axes])


def _call(s: Lowering, group: Group, origin: str, kind: str, out: View, kept: View, window: list[tuple[int, int]]) -> None:
    """One Reduce call over windows whose first elements `kept` gives."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    if out.size == 0:
        return
    a = Arguments()
    steps = s.body(group, a, node.outputs[0])
    source_arg, target = a.view(kept), a.view(out)
    loads = [st for _, st in steps if st is not None]
    it = iterate(out.shape, [kept.strides, out.strides, *loads], order_of(out))
    inner = [st for _, st in window]
    taps = iterate([n for n, _ in window], [inner])
    spec = Reduce(
        tuple(a.types),
        kind,
        node.get("to") or s.graph.types[node.inputs[0]].dtype,
        it.dims,
        taps.dims,
        Access(source_arg, (*it.over(kept.strides), *taps.over(inner))),
        finish_body(steps, it.over),
        Access(target, it.over(out.strides)),
    )
    s.call(spec, a, value, origin, [target])


def _pool(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    rank = len(shape) - 2
    kind = {"PoolMax": "ReduceMax", "PoolSum": "ReduceSum"}[node.op]
    out = in_place(s, group, value) or s.destination(value, channels_last(len(shape)), origin)
    s.views[value] = out
    x_shape = s.graph.types[node.inputs[0]].shape
    axes = [
        _segments(shape[2 + i], x_shape[2 + i], node["kernel"][i], node["strides"][i], node["dilations"][i], node["before"][i])
        for i in range(rank)
    ]
    alone = len(group.nodes) == 1
    if node.op == "PoolMax" and any((*node["before"], *node["after"])) and alone and prod(len(a) for a in axes) <= MAX_PARTS:
        x = s.view(node.inputs[0])
        for parts in product(*axes):
            starts, counts = [p[0] for p in parts], [p[1] for p in parts]
            piece = out.slice((0, 0, *starts), (1,) * len(shape), (*shape[:2], *counts))
            offset = x.offset + sum(p[2] * st for p, st in zip(parts, x.strides[2:]))
            strides = (*x.strides[:2], *(st * step for st, step in zip(x.strides[2:], node["strides"])))
            window = [(p[3], st * d) for p, st, d in zip(parts, x.strides[2:], node["dilations"])]
            _call(s, group, origin, kind, piece, x.laid(piece.shape, strides, offset), window)
        return
    number = _lowest(s.graph.types[node.inputs[0]].dtype) if node.op == "PoolMax" else 0
    padded = s.padded_view(node.inputs[0], node["before"], node["after"], number, origin)
    strides = (*padded.strides[:2], *(st * step for st, step in zip(padded.strides[2:], node["strides"])))
    window = [(k, st * d) for k, st, d in zip(node["kernel"], padded.strides[2:], node["dilations"])]
    _call(s, group, origin, kind, out, padded.laid(shape, strides), window)


def _segments(outputs: int, inputs: int, kernel: int, stride: int, dilation: int, before: int) -> list[tuple[int, int, int, int]]:
    """(first output, outputs, first input of the first window, taps): neighbours whose windows have the same taps inside the input."""
    found: list[tuple[int, int, int, int]] = []
    taps_of_last: tuple[int, int] | None = None
    if isinstance(outputs, Dim):
        return [(0, 0, 0, 0)] * (MAX_PARTS + 1)
    for o in range(outputs):
        at = o * stride - before
        inside = [k for k in range(kernel) if 0 <= at + k * dilation < inputs]
        if not inside:  # no element at all: only padding can say what it gives
            return [(0, 0, 0, 0)] * (MAX_PARTS + 1)
        taps = (inside[0], len(inside))
        if taps == taps_of_last:
            first, count, start, n = found[-1]
            found[-1] = (first, count + 1, start, n)
        else:
            found.append((o, 1, at + inside[0] * dilation, len(inside)))
        taps_of_last = taps
    return found


def _lowest(dtype: str) -> float | int:
    if dtype.startswith("float"):
        return float("-inf")
    return 0 if dtype.startswith("u") else -(1 << (int(dtype[3:]) - 1))
