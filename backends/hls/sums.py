"""Sums of products with known weights, and pools, of small integers: their windows, how large they can be, and what follows them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES, Node
from mlcc_backends.hls import rounding as rounds
from mlcc_backends.hls.network import Rounding, Window
from mlcc_backends.hls.regions import Model, Region

MOST_LEVELS = 1 << 10
MOST_SUMS = 1 << 24  # values of a function that are all looked at where its operators do not say that it is monotone
SUM_LIMIT = 2**31


@dataclass(frozen=True)
class Sum:
    """What a stage adds up, or takes the largest of. order: in which it wants its source; low, high: what each channel's sum can be,
    without its bias; fill: what borders read."""

    kind: str  # product, depthwise, sum, max
    window: Window
    order: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bias: np.ndarray
    fill: int
    weights: np.ndarray | None = None
    groups: int = 1

    @property
    def channels(self) -> int:
        return self.low.size

    @property
    def total(self) -> tuple[int, int]:
        return int(self.low.min()), int(self.high.max())

    def plain(self) -> Rounding | None:
        """The sum itself, with its bias."""
        if self.kind == "max":
            return None
        low, high = int((self.low + self.bias).min()), int((self.high + self.bias).max())
        return Rounding(low, high, np.ones(self.channels, object), np.array([int(b) for b in self.bias], object), 0)

    def turned(self, channels: np.ndarray) -> Sum:
        """With some channels' weights, and so their sums, negated."""
        if self.weights is None or not channels.any():
            return self
        signs = np.where(channels.reshape(-1, *[1] * (self.weights.ndim - 1)), -1, 1)
        low, high = np.where(channels, -self.high, self.low), np.where(channels, -self.low, self.high)
        return replace(self, weights=signs * self.weights, low=low, high=high)


def sum_of(m: Model, node: Node, order: np.ndarray, low: int, high: int) -> Sum:
    """A node that `is_sum`. order, low, high: of its source as it comes."""
    shape = m.graph.types[operand(m, node)].shape
    if node.op == "MatMul":
        return _matmul(m, node, shape, order, low, high)
    if len(shape) not in (3, 4) or shape[0] != 1:
        raise m.refuse(f"{node.op} of the shape {list(shape)}", node.outputs[0], "one image of one or two dimensions")
    window = _window(m, node)
    return _conv(m, node, shape, window, low, high) if node.op == "Conv" else _pool(node, shape, window, low, high)


def image_order(shape: tuple[int, ...]) -> np.ndarray:
    """Channels last for [1, C, …], row-major for all else."""
    index = np.arange(prod(shape))
    return np.moveaxis(index.reshape(shape), 1, -1).reshape(-1) if len(shape) in (3, 4) and shape[0] == 1 else index


def _matmul(m: Model, node: Node, shape: tuple[int, ...], order: np.ndarray, low: int, high: int) -> Sum:
    if len(m.graph.types[node.inputs[1]].shape) != 2:
        raise m.refuse("a MatMul with a stack of weights", node.outputs[0])
    wanted, positions = np.arange(prod(shape)), prod(shape[:-1])
    weights = m.graph.constants[node.inputs[1]].astype(np.int64).T[:, None, None, :]
    if positions == 1 and not np.array_equal(order, wanted):  # a flattened image: its weights are turned instead
        weights, wanted = weights[..., order], order
    return _product(m, node, weights, Window(1, positions, shape[-1], (1, positions)), wanted, low, high)


def _conv(m: Model, node: Node, shape: tuple[int, ...], window: Window, low: int, high: int) -> Sum:
    weights = m.graph.constants[node.inputs[1]].astype(np.int64)
    weights = np.moveaxis(weights.reshape(*weights.shape[:2], *((1,) * (4 - weights.ndim)), *weights.shape[2:]), 1, -1)
    zero = int(node.get("zero", 0) or 0)
    if _padded(window):
        low, high = min(low, zero), max(high, zero)
    return _product(m, node, weights, window, image_order(shape), low, high)


def _product(m: Model, node: Node, weights: np.ndarray, window: Window, order: np.ndarray, low: int, high: int) -> Sum:
    channels, zero, groups = weights.shape[0], int(node.get("zero", 0) or 0), int(node.get("group", 1) or 1)
    bias = np.zeros(channels, np.int64)
    if len(node.inputs) > 2:
        bias = np.broadcast_to(m.graph.constants[node.inputs[2]].astype(np.int64).reshape(-1), (channels,)).copy()
    bias -= zero * weights.reshape(channels, -1).sum(1)
    kind = "product"
    if groups > 1 and groups == window.channels == channels:
        kind, weights = "depthwise", weights[..., 0]
    flat = weights.reshape(channels, -1)
    least, most = np.minimum(flat * low, flat * high).sum(1), np.maximum(flat * low, flat * high).sum(1)
    if max(np.abs(least + bias).max(), np.abs(most + bias).max()) >= SUM_LIMIT:
        raise m.refuse("sums that leave 32 bits", node.outputs[0])
    return Sum(kind, window, order, least, most, bias, zero, weights, groups)


def _pool(node: Node, shape: tuple[int, ...], window: Window, low: int, high: int) -> Sum:
    adds = node.op in ("PoolSum", "ReduceSum")
    fill, taps, channels = 0 if adds else low, prod(window.kernel) if adds else 1, window.channels
    if _padded(window):
        low, high = min(low, fill), max(high, fill)
    nothing = np.zeros(channels, np.int64)
    least, most = np.full(channels, taps * low), np.full(channels, taps * high)
    return Sum("sum" if adds else "max", window, image_order(shape), least, most, nothing, fill)


def is_sum(m: Model, node: Node) -> bool:
    """Whether a node is a sum of products of integers with known weights, or a pool of integers."""
    g = m.graph
    if node.op in ("Conv", "MatMul"):
        known = node.inputs[1] in g.constants and all(v in g.constants for v in node.inputs[2:])
        return known and m.small(operand(m, node)) and g.types[node.inputs[1]].dtype in ("int8", "uint8", "int32")
    if node.op in ("PoolSum", "PoolMax"):
        return m.small(node.inputs[0])
    if node.op in ("ReduceSum", "ReduceMax"):
        return m.small(node.inputs[0]) and _reduce_window(m, node) is not None
    return False


def operand(m: Model, node: Node) -> str:
    """What a product multiplies: the small integers behind a cast to int32."""
    before = m.producers.get(node.inputs[0])
    wide = before is not None and before.op == "Cast" and m.graph.types[node.inputs[0]].dtype == "int32" and m.small(before.inputs[0])
    return before.inputs[0] if before is not None and wide else node.inputs[0]


def _reduce_window(m: Model, node: Node) -> Window | None:
    """A reduction over all positions of an image."""
    shape = m.graph.types[node.inputs[0]].shape
    if len(shape) not in (3, 4) or shape[0] != 1 or tuple(node["axes"]) != tuple(range(2, len(shape))):
        return None
    h, w = (1, *shape[2:])[-2:]
    return Window(h, w, shape[1], (1, 1), (h, w))


def _window(m: Model, node: Node) -> Window:
    g = m.graph
    shape, out = g.types[node.inputs[0]].shape, g.types[node.outputs[0]].shape
    if node.op.startswith("Reduce"):
        found = _reduce_window(m, node)
        assert found is not None
        return found

    def two(v: tuple[int, ...], first: int) -> tuple[int, int]:
        return (int(v[0]), int(v[1])) if len(v) == 2 else (first, int(v[0]))

    kernel = two(g.types[node.inputs[1]].shape[2:] if node.op == "Conv" else node["kernel"], 1)
    h, w = two(shape[2:], 1)
    return Window(
        h, w, shape[1], two(out[2:], 1), kernel, two(node["strides"], 1), two(node["before"], 0), two(node.get("dilations", (1,) * (len(shape) - 2)), 1)
    )  # fmt: skip


def _padded(w: Window) -> bool:
    ends = [
        (o - 1) * s + (k - 1) * d - b >= n
        for o, s, k, d, b, n in zip(w.out, w.strides, w.kernel, w.dilations, w.before, (w.height, w.width))
    ]
    return any(w.before) or any(ends)


def _look(m: Model, region: Region, acc: str, value: str, s: Sum, axis: int, rank: int) -> np.ndarray | None:
    """Directions found by looking at every sum that there can be."""
    span = int((s.high - s.low).max()) + 1
    if span * s.channels > MOST_SUMS:
        return None
    x = np.minimum(s.low + np.arange(span)[:, None], s.high) + s.bias
    steps = np.diff(_through(m, region, acc, value, x, axis, rank), axis=0)
    up, down = (steps >= 0).all(0), (steps <= 0).all(0)
    return np.where(up, 1, -1) if (up | down).all() else None


def _through(m: Model, region: Region, acc: str, value: str, x: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """[samples, channels] of sums through a region."""
    dtype = DTYPES[m.graph.types[acc].dtype]
    if axis == rank - 1:
        lifted = x.reshape((*[1] * (rank - 2), *x.shape)) if rank > 1 else x
        return m.compute(region, {acc: lifted.astype(dtype)}, value).reshape(x.shape).astype(np.int64)
    lifted = x.T.reshape(1, x.shape[1], x.shape[0], *[1] * (rank - 3))
    return m.compute(region, {acc: lifted.astype(dtype)}, value).reshape(x.shape[1], x.shape[0]).T.astype(np.int64)


def rounding(m: Model, region: Region, node: Node, value: str, s: Sum) -> tuple[Rounding, np.ndarray]:
    """What follows a node's sum, as a function of the sum without its bias; which channels have it turned round."""
    g, acc = m.graph, node.outputs[0]
    rank = len(g.types[acc].shape)
    axis = rank - 1 if node.op == "MatMul" else 1
    for n in region.nodes:
        for v in n.inputs:
            if v in g.constants and g.constants[v].size > 1:
                shape = (1,) * (rank - g.constants[v].ndim) + g.constants[v].shape
                if any(extent > 1 for i, extent in enumerate(shape) if i != axis):
                    raise m.refuse("a different rounding at each position", value)
    direction = m.monotone(region, acc, axis, rank)
    if direction is None:
        direction = _look(m, region, acc, value, s, axis, rank)
    if direction is None:
        raise m.refuse(f"what follows a sum and is not monotone ({', '.join(n.op for n in region.nodes)})", value)
    flipped = np.broadcast_to(direction, (s.channels,)) < 0
    if flipped.any() and s.weights is None:
        raise m.refuse("a pool whose rounding decreases", value)
    sign, turned = np.where(flipped, -1, 1), s.turned(flipped)

    def function(x: np.ndarray) -> np.ndarray:
        return _through(m, region, acc, value, x * sign + s.bias, axis, rank)

    found = rounds.solve(function, turned.low, turned.high)
    if found.levels is not None and found.levels.shape[1] > MOST_LEVELS:
        steps = f"{found.high - found.low + 1:,} levels that no formula steps at"
        raise m.refuse(steps, value, "quantise its bias with the product's scale")
    return found, flipped
