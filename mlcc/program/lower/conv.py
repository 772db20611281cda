"""Conv → Dot kernels with affine row addresses, without im2col; depthwise ones → Chains."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from mlcc.core.graph import Node
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, Bound, Chain, Plane
from mlcc.program.lower.dot import accumulator, block_dot, dot, start_of_bytes
from mlcc.program.lower.state import Arguments, Lowering, finish_body
from mlcc.program.lower.weights import FEW, known, pack_dynamic, packed_constant, packed_pairs, packing
from mlcc.program.view import View, channels_last, collapse, row_major


def padded_input(s: Lowering, node: Node, low: tuple[int, ...], high: tuple[int, ...], origin: str) -> View:
    """The convolution's input with its border, channels side by side unless there are few."""
    x = s.padded_view(node.inputs[0], low, high, node.get("zero", 0), origin)
    if x.shape[1] > 4 and x.strides[1] != 1:
        return s.materialise(x, channels_last(len(x.shape)), node.inputs[0], origin)
    return x


def conv(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    rank, groups = len(shape) - 2, node["group"]
    over = _overwritten(s, group)
    out = over or s.in_place(group, value) or s.destination(value, channels_last(len(shape)), origin)
    if out.size == 0:
        s.views[value] = out
        return
    bounds: tuple[Bound, ...] = ()
    shift = 0
    if s.compact and not node.get("bf16"):
        x = padded_input(s, node, (0,) * rank, (0,) * rank, origin)
        bounds = _bounds(node, x.shape)
        shift = -sum(b * st for b, st in zip(node["before"], x.strides[2:]))
    else:
        x = padded_input(s, node, node["before"], node["after"], origin)
    s.views[value] = out
    w_shape = s.graph.types[node.inputs[1]].shape
    spatial = tuple(st * step for st, step in zip(x.strides[2:], node["strides"]))
    taps = [(n, st * d) for n, st, d in zip(w_shape[2:], x.strides[2:], node["dilations"])]
    bias = s.view(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.get("zero") is not None:
        bias = start_of_bytes(s, node)
    per_in, per_out = w_shape[1], w_shape[0] // groups
    if groups > 1 and per_in == 1:
        _depthwise(s, group, origin, out, x, spatial, taps, bias, per_out, bounds, shift, over is not None)
        return
    order = (0, *range(2, 2 + rank), 1)
    for g in range(groups):
        part = out.slice((0, g * per_out, *(0,) * rank), (1,) * len(shape), (shape[0], per_out, *shape[2:]))
        operand = View(x.buffer, x.dtype, part.shape, (x.strides[0], 0, *spatial), x.offset + g * per_in * x.strides[1])
        if node.get("bf16"):
            weights = s.graph.constants[node.inputs[1]][g * per_out : (g + 1) * per_out]
            pairs = packed_pairs(s, ("conv", node.inputs[1], g), np.transpose(weights, (*order[1:-1], 1, 0)).reshape(-1, per_out))
            block_dot(s, group, origin, part, [0, *range(2, 2 + rank)], 1, [*taps, (per_in, x.strides[1])], operand, pairs)
            continue
        packed = _packed_kernel(s, node, g, per_out, s.narrow and prod((shape[0], *shape[2:])) <= FEW, order, origin)
        start = (
            View(bias.buffer, bias.dtype, part.shape, (0, bias.strides[0], *(0,) * rank), bias.offset + g * per_out * bias.strides[0])
            if bias is not None
            else None
        )
        layout = packing(s, "float32" if packed in s.scales else s.buffers[packed].dtype)
        k = [*taps, (per_in, x.strides[1])]
        dot(s, group, origin, part, [0, *range(2, 2 + rank)], [], 1, k, operand, packed, (), start, layout, bounds, shift, over is not None)


def _overwritten(s: Lowering, group: Group) -> View | None:
    """The input's place for the result of a pointwise convolution, or of a depthwise one that keeps the size."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    w = s.graph.types[node.inputs[1]].shape
    known_weights = known(s, node.inputs[1]) is not None and not node.get("bf16")
    pointwise = node["group"] == 1 and prod(w[2:]) == 1 and set(node["strides"]) == {1} and not any((*node["before"], *node["after"]))
    depthwise = node["group"] == w[0] and w[1] == 1 and w[0] % 4 == 0 and set(node["strides"]) == {1}
    if not known_weights or not (pointwise or depthwise) or pointwise and s.graph.types[value].dtype not in ("float32", "int8", "uint8"):
        return None
    return s.over_input(group, node.inputs[0], value)


def _bounds(node: Node, shape: tuple[int, ...]) -> tuple[Bound, ...]:
    """The taps of a padded convolution that lie inside, over rows (n, spatial…) and taps (spatial…, channel)."""
    return tuple(
        Bound(1 + i, i, node["strides"][i], node["dilations"][i], before, shape[2 + i])
        for i, (before, after) in enumerate(zip(node["before"], node["after"]))
        if before or after
    )


def _packed_kernel(s: Lowering, node: Node, g: int, per_out: int, few: bool, order: tuple[int, ...], origin: str) -> str:
    """Weights [kernel…, in, out] of one group as panels."""
    weights = known(s, node.inputs[1])
    dtype = s.graph.types[node.inputs[1]].dtype
    perm = (*order[1:-1], 1, 0)
    if weights is not None:
        key = ("conv", node.inputs[1], g, few)
        if key not in s._packed:
            matrix = np.transpose(weights[g * per_out : (g + 1) * per_out], perm).reshape(1, -1, per_out)
            s._packed[key] = packed_constant(s, matrix, dtype, few)
        return s._packed[key]
    w = s.view(node.inputs[1])
    part = w.slice((g * per_out, *(0,) * (len(w.shape) - 1)), (1,) * len(w.shape), (per_out, *w.shape[1:])).transpose(perm)
    flat = part.reshape((prod(part.shape[:-1]), per_out))
    if flat is None:
        flat = s.materialise(part, range(len(part.shape)), f"{node.outputs[0]}.weights", origin).reshape((prod(part.shape[:-1]), per_out))
    assert flat is not None
    return pack_dynamic(s, flat, f"{node.outputs[0]}.weights", origin)


def _depthwise(
    s: Lowering,
    group: Group,
    origin: str,
    out: View,
    x: View,
    spatial: tuple[int, ...],
    taps: list[tuple[int, int]],
    bias: View | None,
    per_out: int,
    bounds: tuple[Bound, ...],
    shift: int,
    in_place: bool,
) -> None:
    """One input channel a group: Chain over (n, spatial…, group, output within the group); weights as [kernel…, channel]."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    rank = len(out.shape) - 2
    weights = known(s, node.inputs[1])
    channels = out.shape[1]
    groups = channels // per_out
    if weights is not None:
        laid = np.transpose(weights, (*range(2, 2 + rank), 1, 0)).reshape(-1, channels)
        dtype = s.graph.types[node.inputs[1]].dtype
        w = View(s.constant(laid, dtype), dtype, (laid.shape[0], channels), (channels, 1))
    else:
        source = s.view(node.inputs[1]).transpose((*range(2, 2 + rank), 1, 0))
        copy = s.materialise(source, range(len(source.shape)), f"{value}.weights", origin)
        w = View(copy.buffer, copy.dtype, (prod(copy.shape[:-1]), channels), (channels, 1), copy.offset)
    a = Arguments()
    x_arg, w_arg = a.view(x), a.view(w)
    bias_arg = a.view(bias) if bias is not None else -1
    steps = s.body(group, a, node.outputs[0])
    target = a.view(out)
    dims = (out.shape[0], *out.shape[2:], groups, per_out)

    def over(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (strides[0], *strides[2:], strides[1] * per_out, strides[1])

    loads = [over(st) for _, st in steps if st is not None]
    tables = [
        (x.strides[0], *spatial, x.strides[1], 0),
        (0,) * (1 + rank) + (per_out, 1),
        over(out.strides),
        *([(0,) * (1 + rank) + (bias.strides[0] * per_out, bias.strides[0])] if bias is not None else []),
        *loads,
    ]
    counts = [n for n, _ in taps]
    w_steps = [channels * st for st in row_major(counts)]
    if in_place:  # four channels at a time, their plane copied before it is overwritten
        x_spatial = x.shape[2:]
        pitch = tuple(4 * st for st in row_major(x_spatial))
        own = a.add(s.buffer(f"{value}.plane", x.dtype, 4 * prod(x_spatial)), 0, x.dtype)
        plane = Plane(Access(x_arg, (4, *x.strides[2:], 1)), (*x_spatial, 4), own)

        def blocked(st: tuple[int, ...]) -> tuple[int, ...]:
            return (4 * st[-2], *st[:-2], st[-2])

        x_table = (0, 0, *(p * step for p, step in zip(pitch, node["strides"])), 1)
        blocks = [x_table, *(blocked(t) for t in tables[1:])]
        x_at = tuple(p * d for p, d in zip(pitch, node["dilations"]))
        back = -sum(b * p for b, p in zip(node["before"], pitch))
        rest = iter(blocks[3 + (bias is not None) :])
        spec = Chain(
            tuple(a.types),
            accumulator(node, x.dtype),
            (channels // 4, *dims[:-2], 4),
            tuple(counts),
            Access(own, (*x_table, *x_at), back),
            Access(w_arg, (*blocks[1], *w_steps)),
            Access(bias_arg, blocks[3]) if bias is not None else None,
            finish_body(steps, lambda _: next(rest)),
            Access(target, blocks[2]),
            tuple(replace(b, dim=b.dim + 1) for b in bounds),
            node.get("zero", 0),
            plane,
        )
        s.call(spec, a, value, origin, [target, own])
        return
    merged, strides = dims, tables
    reduced, (x_taps, w_taps) = tuple(counts), (tuple(st for _, st in taps), tuple(w_steps))
    if not bounds:
        merged, strides = collapse(dims, tables)
        reduced, (x_taps, w_taps) = collapse(counts, [x_taps, w_taps])
    rest = iter(strides[3 + (bias is not None) :])
    body = finish_body(steps, lambda _: next(rest))
    spec = Chain(
        tuple(a.types),
        accumulator(node, x.dtype),
        merged,
        reduced,
        Access(x_arg, (*strides[0], *x_taps), shift),
        Access(w_arg, (*strides[1], *w_taps)),
        Access(bias_arg, strides[3]) if bias is not None else None,
        body,
        Access(target, strides[2]),
        bounds,
        node.get("zero", 0),
    )
    s.call(spec, a, value, origin, [target])
