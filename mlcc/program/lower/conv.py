"""Conv → Dot kernels with affine row addresses, without im2col; depthwise ones → Chains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mlcc.core.graph import Node
from mlcc.core.terms import most
from mlcc.program.fusion import Group
from mlcc.program.iteration import as_given, iterate
from mlcc.program.kernel import Access, Bound, Chain, Plane
from mlcc.program.lower.arguments import finish_body
from mlcc.program.lower.dot import Product, accumulator, block_dot, dot, start_of_bytes
from mlcc.program.lower.reuse import in_place, over_input
from mlcc.program.lower.state import Lowering
from mlcc.program.lower.weights import FEW, known, pack_dynamic, packed_constant, packed_pairs
from mlcc.program.view import View, channels_last, row_major


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
    out = over or in_place(s, group, value) or s.destination(value, channels_last(len(shape)), origin)
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
        channels = _Channels(out, x, spatial, tuple(taps), bias, per_out, bounds, shift)
        (_depthwise_in_place if over is not None else _depthwise)(s, group, origin, channels)
        return
    order, pixels = (0, *range(2, 2 + rank), 1), (0, *range(2, 2 + rank))
    k = (*taps, (per_in, x.strides[1]))
    for g in range(groups):
        part = out.slice((0, g * per_out, *(0,) * rank), (1,) * len(shape), (shape[0], per_out, *shape[2:]))
        operand = x.laid(part.shape, (x.strides[0], 0, *spatial), x.offset + g * per_in * x.strides[1])
        if node.get("bf16"):
            weights = s.graph.constants[node.inputs[1]][g * per_out : (g + 1) * per_out]
            pairs = packed_pairs(s, ("conv", node.inputs[1], g), np.transpose(weights, (*order[1:-1], 1, 0)).reshape(-1, per_out))
            block_dot(s, group, origin, Product(part, pixels, 1, operand, k, pairs))
            continue
        packed = _packed_kernel(s, node, g, per_out, s.narrow and most(prod((shape[0], *shape[2:]))) <= FEW, order, origin)
        start = (
            bias.laid(part.shape, (0, bias.strides[0], *(0,) * rank), bias.offset + g * per_out * bias.strides[0])
            if bias is not None
            else None
        )
        p = Product(part, pixels, 1, operand, k, packed, init=start, bounds=bounds, shift=shift, gathered=over is not None)
        dot(s, group, origin, p)


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
    return over_input(s, group, node.inputs[0], value)


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


@dataclass(frozen=True)
class _Channels:
    """A depthwise convolution, one input channel a group: `spatial` and `taps` are x's strides over output pixels and kernel positions."""

    out: View
    x: View
    spatial: tuple[int, ...]
    taps: tuple[tuple[int, int], ...]
    bias: View | None
    per_out: int
    bounds: tuple[Bound, ...]
    shift: int

    @property
    def dims(self) -> tuple[int, ...]:
        """(n, spatial…, group, output within the group)."""
        return (self.out.shape[0], *self.out.shape[2:], self.out.shape[1] // self.per_out, self.per_out)

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(n for n, _ in self.taps)

    def over(self, strides: tuple[int, ...]) -> tuple[int, ...]:
        """Strides of the output's shape, over `dims`."""
        return (strides[0], *strides[2:], strides[1] * self.per_out, strides[1])

    def of_channel(self, step: int) -> tuple[int, ...]:
        """Strides of what has an element for each output channel."""
        return (*(0,) * (len(self.out.shape) - 1), step * self.per_out, step)


def _depthwise_weights(s: Lowering, group: Group, origin: str, channels: int) -> View:
    """[kernel…, channel], flat in the kernel."""
    node = group.anchor
    assert node is not None
    weights, rank = known(s, node.inputs[1]), len(s.graph.types[node.inputs[1]].shape) - 2
    if weights is not None:
        laid = np.transpose(weights, (*range(2, 2 + rank), 1, 0)).reshape(-1, channels)
        dtype = s.graph.types[node.inputs[1]].dtype
        return View(s.constant(laid, dtype), dtype, (laid.shape[0], channels), (channels, 1))
    source = s.view(node.inputs[1]).transpose((*range(2, 2 + rank), 1, 0))
    copy = s.materialise(source, range(len(source.shape)), f"{group.sink.outputs[0]}.weights", origin)
    return copy.laid((prod(copy.shape[:-1]), channels), (channels, 1))


def _depthwise(s: Lowering, group: Group, origin: str, c: _Channels) -> None:
    """A Chain over the channels' pixels."""
    node = group.anchor
    assert node is not None
    w = _depthwise_weights(s, group, origin, c.out.shape[1])
    o = s.operands(group, c.x, w, c.bias, c.out)
    x_at, out_at = (c.x.strides[0], *c.spatial, c.x.strides[1], 0), c.over(c.out.strides)
    w_at, bias_at = c.of_channel(1), c.of_channel(c.bias.strides[0] if c.bias is not None else 0)
    x_taps, w_taps = [st for _, st in c.taps], [w.shape[1] * st for st in row_major(c.counts)]
    loads = [c.over(st) for st in o.loads]
    it = as_given(c.dims) if c.bounds else iterate(c.dims, [x_at, w_at, out_at, *([bias_at] if c.bias is not None else []), *loads])
    taps = as_given(c.counts) if c.bounds else iterate(c.counts, [x_taps, w_taps])
    spec = Chain(
        tuple(o.arguments.types),
        accumulator(node, c.x.dtype),
        it.dims,
        taps.dims,
        Access(o.a, (*it.over(x_at), *taps.over(x_taps)), c.shift),
        Access(o.b, (*it.over(w_at), *taps.over(w_taps))),
        Access(o.init, it.over(bias_at)) if c.bias is not None else None,
        finish_body(o.steps, lambda st: it.over(c.over(st))),
        Access(o.out, it.over(out_at)),
        c.bounds,
        node.get("zero", 0),
    )
    s.call(spec, o.arguments, group.sink.outputs[0], origin, [o.out])


def _depthwise_in_place(s: Lowering, group: Group, origin: str, c: _Channels) -> None:
    """Results over their input: four channels at a time, their plane copied before it is overwritten."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    w = _depthwise_weights(s, group, origin, c.out.shape[1])
    o = s.operands(group, c.x, w, c.bias, c.out)
    pixels = c.x.shape[2:]
    pitch = tuple(4 * st for st in row_major(pixels))
    own = o.arguments.add(s.buffer(f"{value}.plane", c.x.dtype, 4 * prod(pixels)), 0, c.x.dtype)

    def fours(strides: tuple[int, ...]) -> tuple[int, ...]:
        """Over (four channels, n, spatial…, channel)."""
        return (4 * strides[-2], *strides[:-2], strides[-2])

    x_at = (0, 0, *(p * step for p, step in zip(pitch, node["strides"])), 1)
    x_taps = (p * d for p, d in zip(pitch, node["dilations"]))
    spec = Chain(
        tuple(o.arguments.types),
        accumulator(node, c.x.dtype),
        (c.out.shape[1] // 4, *c.dims[:-2], 4),
        c.counts,
        Access(own, (*x_at, *x_taps), -sum(b * p for b, p in zip(node["before"], pitch))),
        Access(o.b, (*fours(c.of_channel(1)), *(w.shape[1] * st for st in row_major(c.counts)))),
        Access(o.init, fours(c.of_channel(c.bias.strides[0]))) if c.bias is not None else None,
        finish_body(o.steps, lambda st: fours(c.over(st))),
        Access(o.out, fours(c.over(c.out.strides))),
        tuple(replace(b, dim=b.dim + 1) for b in c.bounds),
        node.get("zero", 0),
        Plane(Access(o.a, (4, *c.x.strides[2:], 1)), (*pixels, 4), own),
    )
    s.call(spec, o.arguments, value, origin, [o.out, own])
