"""Operators that read between the grid's points, or put values back onto one: their places are computed, and gathered or scattered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.rules.conv import window
from mlcc.graph.rules.elementwise import clipped
from mlcc.graph.source import Source, normal_axis

CUBIC = -0.75


def gathered(s: Source, planes: Value, at: Value) -> Value:
    """planes [n, c, points] at [n, places] → [n, c, places]."""
    b, (n, c, _) = s.b, planes.shape
    places = b.expand(b.reshape(at, (n, 1, at.shape[-1])), (n, c, at.shape[-1]))
    return b("GatherElements", planes, places, axis=2)


def flattened(s: Source, indices: Sequence[Value], spatial: Sequence[int]) -> Value:
    """One int32 index of a point from its index along each axis."""
    b, total = s.b, indices[0]
    for i, extent in zip(indices[1:], spatial[1:]):
        total = b("Add", b("Mul", total, b.like(extent, total)), i)
    return total


def weighted(s: Source, terms: Sequence[tuple[Value, Value]]) -> Value:
    """Σ value · weight [n, places], in order."""
    b, total = s.b, None
    for value, weight in terms:
        part = b("Mul", value, b.reshape(weight, (weight.shape[0], 1, weight.shape[-1])))
        total = part if total is None else b("Add", total, part)
    assert total is not None
    return total


def within(s: Source, i: Value, extent: int) -> tuple[Value, Value]:
    """(an index as int32, kept on the axis; whether it lay there), of an integral float."""
    b = s.b
    inside = b("And", b("LessOrEqual", b.like(0, i), i), b("LessOrEqual", i, b.like(extent - 1, i)))
    return b.cast(clipped(s, i, 0, extent - 1), "int32"), inside


# GridSample


def _reflected(s: Source, x: Value, low: float, high: float) -> Value:
    """x thrown back at both ends until it lies between them."""
    b, span = s.b, high - low
    if span <= 0:
        return b.expand(b.like(low, x), x.shape)
    way = b("Fmod", b("Abs", b("Sub", x, b.like(low, x))), b.like(2 * span, x))
    turned = b("Sub", b.like(2 * span, x), way)
    return b("Add", b("Where", b("Less", b.like(span, x), way), turned, way), b.like(low, x))


def _taps(s: Source, x: Value, extent: int, mode: str, padding: str, align: bool) -> list[tuple[Value, Value | None]]:
    """(int32 index, weight) of the points that a coordinate along one axis is made of; a weight of None is 1."""
    b = s.b
    low, high = (0.0, extent - 1.0) if align else (-0.5, extent - 0.5)
    if mode == "nearest":
        x = b("Round", x)
    if padding == "border":
        x = clipped(s, x, 0, extent - 1)
    elif padding == "reflection":
        x = _reflected(s, x, low, high)
    floor = x if mode == "nearest" else b("Floor", x)
    offsets = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[mode]
    weights = _weights(s, b("Sub", x, floor), mode)
    found: list[tuple[Value, Value | None]] = []
    for offset, weight in zip(offsets, weights):
        i = floor if offset == 0 else b("Add", floor, b.like(offset, floor))
        if padding == "reflection":
            i = b("Round", _reflected(s, i, low, high))
        index, inside = within(s, i, extent)
        if padding == "zeros":
            one = b.like(1, x) if weight is None else weight
            weight = b("Where", inside, one, b.like(0, x))
        found.append((index, weight))
    return found


def _weights(s: Source, t: Value, mode: str) -> list[Value | None]:
    b = s.b
    if mode == "nearest":
        return [None]
    rest = b("Sub", b.like(1, t), t)
    if mode == "linear":
        return [rest, t]

    def near(d: Value) -> Value:  # up to 1 away: (a + 2)d³ − (a + 3)d² + 1
        return b("Add", b("Mul", b("Mul", b("Sub", b("Mul", b.like(CUBIC + 2, d), d), b.like(CUBIC + 3, d)), d), d), b.like(1, d))

    def far(d: Value) -> Value:  # 1 to 2 away: a·d³ − 5a·d² + 8a·d − 4a
        inner = b("Add", b("Mul", b("Sub", d, b.like(5, d)), d), b.like(8, d))
        return b("Mul", b("Sub", b("Mul", inner, d), b.like(4, d)), b.like(CUBIC, d))

    return [far(b("Add", t, b.like(1, t))), near(t), near(rest), far(b("Add", rest, b.like(1, t)))]


def grid_sample(s: Source) -> Value:
    b, x, grid = s.b, s[0], s[1]
    align, padding = bool(s.attr("align_corners", 0)), s.attr("padding_mode", "zeros")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(s.attr("mode", "linear"), s.attr("mode", "linear"))
    rank, spatial, (n, c) = x.rank - 2, x.shape[2:], x.shape[:2]
    if mode not in ("nearest", "linear", "cubic") or padding not in ("zeros", "border", "reflection"):
        raise s.bad(f"mode {mode}, padding_mode {padding}")
    if mode == "cubic" and padding == "border":  # ONNX's reference and ONNX Runtime clamp different things
        raise s.unsupported("mode cubic with padding_mode border, on which runtimes differ", "use another padding_mode")
    if grid.rank != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != n or 0 in spatial:
        raise s.bad(f"a grid {list(grid.shape)} for {list(x.shape)}")
    places = prod(grid.shape[1:-1])
    axes = []
    for i, extent in enumerate(spatial):  # the grid's last coordinate is the first axis
        g = b.reshape(b.slice(b.reshape(grid, (n, places, rank)), 2, rank - 1 - i, 1), (n, places))
        up = b("Add", g, b.like(1, g))
        if align:
            at = b("Mul", up, b.like((extent - 1) / 2, g))
        else:
            at = b("Div", b("Sub", b("Mul", up, b.like(extent, g)), b.like(1, g)), b.like(2, g))
        axes.append(_taps(s, at, extent, mode, padding, align))
    floats = x.dtype in ("float32", "float64")
    if not floats and not (mode == "nearest" and padding != "zeros"):
        value = b.cast(x, "float32")
    else:
        value = x
    planes = b.reshape(value, (n, c, prod(spatial)))
    terms = []
    for corner in product(*axes):
        taken = gathered(s, planes, flattened(s, [i for i, _ in corner], spatial))
        weights = [w for _, w in corner if w is not None]
        if not weights:
            return b.reshape(taken, (n, c, *grid.shape[1:-1]))
        weight = weights[0]
        for w in weights[1:]:
            weight = b("Mul", weight, w)
        terms.append((_finite_where_used(s, taken, weight, padding), b.cast(weight, value.dtype)))
    return b.cast(b.reshape(weighted(s, terms), (n, c, *grid.shape[1:-1])), x.dtype)


def _finite_where_used(s: Source, taken: Value, weight: Value, padding: str) -> Value:
    """Points outside count as 0 whatever lies at the place that is read instead of them."""
    if padding != "zeros":
        return taken
    b = s.b
    used = b("Not", b("Equal", weight, b.like(0, weight)))
    return b("Where", b.reshape(used, (weight.shape[0], 1, weight.shape[-1])), taken, b.like(0, taken))


# regions of interest


def bilinear(s: Source, planes: Value, y: Value, x: Value, spatial: tuple[int, int]) -> list[tuple[Value, Value]]:
    """(value, weight) of the four points around (y, x) [n, places] of planes [n, c, h · w]; beyond the edge counts as the edge."""
    b, found = s.b, []
    sides = []
    for at, extent in ((y, spatial[0]), (x, spatial[1])):
        at = clipped(s, at, 0, extent - 1)
        low = b("Floor", at)
        part = b("Sub", at, low)
        high = clipped(s, b("Add", low, b.like(1, low)), 0, extent - 1)
        sides.append(((b.cast(low, "int32"), b("Sub", b.like(1, part), part)), (b.cast(high, "int32"), part)))
    for (i, wy), (j, wx) in product(*sides):
        found.append((gathered(s, planes, flattened(s, [i, j], spatial)), b("Mul", wy, wx)))
    return found


def roi_align(s: Source) -> Value:
    """Means (or maxima) of points between the grid's, `sampling_ratio` a side of each bin. He et al., "Mask R-CNN", 2017."""
    b, x, rois, batch = s.b, s[0], s[1], s[2]
    (_, c, h, w), count = x.shape, rois.shape[0]
    out_h, out_w, ratio = int(s.attr("output_height", 1)), int(s.attr("output_width", 1)), int(s.attr("sampling_ratio", 0))
    half = s.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel" and s.opset >= 16
    if ratio < 1:
        raise s.unsupported("sampling_ratio=0: how many points are read depends on the regions", "export with sampling_ratio=2")
    boxes = b("Sub", b("Mul", rois, b.like(s.attr("spatial_scale", 1.0), rois)), b.like(0.5 if half else 0.0, rois))
    b.room(count * c * out_h * out_w * ratio * ratio, 4, "the points read")

    def coordinate(first: int, bins: int) -> Value:
        """[regions, bins · ratio]"""
        start, end = (b.slice(boxes, 1, first + k, 1) for k in (0, 2))
        size = b("Sub", end, start)
        size = size if half else b("Max", size, b.like(1, size))
        size = b("Div", size, b.like(bins, size))
        bin_ = b.constant((np.arange(bins * ratio) // ratio).reshape(1, -1).astype(DTYPES[x.dtype]))
        inner = b.constant((np.arange(bins * ratio) % ratio + 0.5).reshape(1, -1).astype(DTYPES[x.dtype]))
        return b("Add", b("Add", start, b("Mul", bin_, size)), b("Div", b("Mul", inner, size), b.like(ratio, size)))

    ys, xs = coordinate(1, out_h), coordinate(0, out_w)
    grid = (count, out_h * ratio, out_w * ratio)
    y, x_ = b.expand(b.reshape(ys, (count, grid[1], 1)), grid), b.expand(b.reshape(xs, (count, 1, grid[2])), grid)

    def outside(at: Value, extent: int) -> Value:
        return b("Or", b("Less", at, b.like(-1, at)), b("Less", b.like(extent, at), at))

    away = b.reshape(b("Or", outside(y, h), outside(x_, w)), (count, 1, grid[1] * grid[2]))
    flat = [b.reshape(v, (count, grid[1] * grid[2])) for v in (y, x_)]
    planes = b.reshape(b("Gather", x, batch, axis=0), (count, c, h * w))
    corners = bilinear(s, planes, flat[0], flat[1], (h, w))
    if s.attr("mode", "avg") == "avg":
        total = weighted(s, corners)
        core = "ReduceSum"
    else:  # as ONNX and ONNX Runtime have it: the largest of the four weighted corners, not of their sum
        parts = [b("Mul", v, b.reshape(k, (count, 1, k.shape[-1]))) for v, k in corners]
        total, core = parts[0], "ReduceMax"
        for part in parts[1:]:
            total = b("Max", total, part)
    total = b("Where", away, b.like(0, total), total)
    bins = b.reshape(total, (count, c, out_h, ratio, out_w, ratio))
    y_ = b.reshape(
        b(core, b.reshape(b.transpose(bins, (0, 1, 2, 4, 3, 5)), (count, c, out_h, out_w, ratio * ratio)), axes=(4,)),
        (count, c, out_h, out_w),
    )
    return b("Div", y_, b.like(ratio * ratio, y_)) if core == "ReduceSum" else y_


def max_roi_pool(s: Source) -> Value:
    """The maximum of each bin of each region, 0 where it is empty. Girshick, "Fast R-CNN", 2015."""
    b, x, rois = s.b, s[0], s[1]
    (_, c, h, w), count = x.shape, rois.shape[0]
    pooled, scale = [int(v) for v in s.attr("pooled_shape")], float(s.attr("spatial_scale", 1.0))
    b.room(count * c * h * w * max(pooled), 4, "the regions' bins")
    batch = b.cast(b.reshape(b.slice(rois, 1, 0, 1), (count,)), "int64")

    def mask(first: int, bins: int, extent: int) -> Value:
        """[regions, bins, extent]: whether a row lies in a bin."""
        half = b.like(0.5, rois)
        ends = [b("Mul", b.slice(rois, 1, first + k, 1), b.like(scale, rois)) for k in (0, 2)]
        away = [b("Floor", b("Add", b("Abs", v), half)) for v in ends]  # halves away from zero
        start, end = (b("Where", b("Less", v, b.like(0, v)), b("Neg", n), n) for v, n in zip(ends, away))
        size = b("Max", b("Add", b("Sub", end, start), b.like(1, rois)), b.like(1, rois))
        size = b("Div", size, b.like(bins, size))
        number = np.arange(bins).reshape(1, bins).astype(DTYPES[rois.dtype])
        low = b("Add", b("Floor", b("Mul", b.constant(number), size)), start)
        high = b("Add", b("Ceil", b("Mul", b.constant(number + 1), size)), start)
        low, high = (b.reshape(clipped(s, v, 0, extent), (count, bins, 1)) for v in (low, high))
        at = b.constant(np.arange(extent).reshape(1, 1, extent).astype(DTYPES[rois.dtype]))
        return b("And", b("LessOrEqual", low, at), b("Less", at, high))

    planes = b("Gather", x, batch, axis=0)
    columns, rows = mask(1, pooled[1], w), mask(2, pooled[0], h)
    lowest = b.like(-np.inf, x)
    taken = b("Where", b.reshape(columns, (count, 1, 1, pooled[1], w)), b.reshape(planes, (count, c, h, 1, w)), lowest)
    taken = b("ReduceMax", taken, axes=(4,))  # [regions, c, h, bins, 1]
    taken = b.reshape(b.transpose(b.reshape(taken, (count, c, h, pooled[1])), (0, 1, 3, 2)), (count, c, 1, pooled[1], h))
    taken = b("ReduceMax", b("Where", b.reshape(rows, (count, 1, pooled[0], 1, h)), taken, lowest), axes=(4,))
    filled = [b.cast(b("ReduceMax", b.cast(m, "uint8"), axes=(2,)), "bool") for m in (rows, columns)]
    some = b("And", filled[0], b.reshape(filled[1], (count, 1, pooled[1])))
    return b("Where", b.reshape(some, (count, 1, *pooled)), b.reshape(taken, (count, c, *pooled)), b.like(0, x))


# convolutions over places that are computed


def deform_conv(s: Source) -> Value:
    """Dai et al., "Deformable Convolutional Networks", 2017; Zhu et al., 2019 (mask). Chains as a convolution's: taps, then channels."""
    b, x, w, offset, bias, mask = s.b, s[0], s[1], s[2], s.optional(3), s.optional(4)
    if x.rank != 4:
        raise s.unsupported(f"a deformable convolution of {x.rank - 2} dimensions", "2 are supported")
    n, c, h, width = x.shape
    out, per, kh, kw = w.shape
    groups, fields = int(s.attr("group", 1)), int(s.attr("offset_group", 1))
    win = window(s, (h, width), (kh, kw))
    oh, ow = offset.shape[2:]
    taps, places = kh * kw, kh * kw * oh * ow
    b.room(n * c * places, 8, "the points read")
    moved = b.reshape(offset, (n, fields, taps, 2, oh, ow))
    axes = []
    for axis, (count, extent) in enumerate(((oh, h), (ow, width))):
        start = np.arange(count) * win["strides"][axis] - win["before"][axis]
        tap = (np.arange(taps) // kw if axis == 0 else np.arange(taps) % kw) * win["dilations"][axis]
        base = tap[:, None, None] + (start[:, None] if axis == 0 else start[None, :])
        at = b(
            "Add",
            b.slice(moved, 3, axis, 1),
            b.constant(np.broadcast_to(base, (taps, oh, ow)).reshape(1, 1, taps, 1, oh, ow).astype(DTYPES[x.dtype])),
        )
        at = b.reshape(at, (n * fields, places))
        low = b("Floor", at)
        part = b("Sub", at, low)
        sides = []
        for i, weight in ((low, b("Sub", b.like(1, part), part)), (b("Add", low, b.like(1, low)), part)):
            index, inside = within(s, i, extent)
            sides.append((index, b("Where", inside, weight, b.like(0, weight))))
        axes.append(sides)
    planes = b.reshape(x, (n * fields, c // fields, h * width))
    terms = []
    for (i, wy), (j, wx) in product(*axes):
        weight = b("Mul", wy, wx)
        terms.append((_finite_where_used(s, gathered(s, planes, flattened(s, [i, j], (h, width))), weight, "zeros"), weight))
    read = weighted(s, terms)  # [n · fields, c / fields, taps · oh · ow]
    if mask is not None:
        read = b("Mul", read, b.reshape(mask, (n * fields, 1, places)))
    read = b.reshape(read, (n, groups, c // groups, taps, oh * ow))
    read = b.reshape(b.transpose(read, (0, 1, 3, 2, 4)), (n, groups, taps * (c // groups), oh * ow))
    weights = b.reshape(b.transpose(b.reshape(w, (groups, out // groups, per, taps)), (0, 1, 3, 2)), (1, groups, out // groups, taps * per))
    operands = [weights, read]
    if bias is not None:
        operands.append(b.reshape(bias, (1, groups, out // groups, 1)))
    return b.reshape(b.many("MatMul", operands)[0], (n, out, oh, ow))


def col2im(s: Source) -> Value:
    """Blocks added back into an image, in the order of the blocks' elements, then of the blocks."""
    b, x = s.b, s[0]
    image = [int(v) for v in b.known(s[1], "image_shape").reshape(-1)]
    block = [int(v) for v in b.known(s[2], "block_shape").reshape(-1)]
    rank = len(image)
    strides, dilations = (s.ints(k) or [1] * rank for k in ("strides", "dilations"))
    pads = s.ints("pads") or [0] * 2 * rank
    padded = [n + pads[i] + pads[rank + i] for i, n in enumerate(image)]
    counts = [(p - d * (k - 1) - 1) // st + 1 for p, d, k, st in zip(padded, dilations, block, strides)]
    channels = x.shape[1] // prod(block)
    if len(block) != rank or x.rank != 3 or x.shape[1] % prod(block) or x.shape[2] != prod(counts):
        raise s.bad(f"{list(x.shape)} is no image {image} in blocks {block}")
    b.room(prod(block) * prod(counts) * x.shape[0] * channels, 8, "the blocks")
    where = np.zeros((1, 1), np.int64)
    for i in range(rank):  # [element of the block, block]
        at = (np.arange(block[i]) * dilations[i])[:, None] + np.arange(counts[i]) * strides[i]
        where = (where[:, None, :, None] * padded[i] + at[None, :, None, :]).reshape(where.shape[0] * block[i], -1)
    planes = x.shape[0] * channels
    parts = b.reshape(x, (planes, where.size))
    index = b.expand(b.constant(where.reshape(1, -1)), (planes, where.size))
    empty = b.expand(b.like(0, x), (planes, prod(padded)))
    y = b.reshape(b("ScatterElements", empty, index, parts, axis=1, reduction="add"), (x.shape[0], channels, *padded))
    for i in range(rank):
        y = b.slice(y, 2 + i, pads[i], image[i])
    return y


def max_unpool(s: Source) -> Value:
    b, x, indices = s.b, s[0], s[1]
    rank = x.rank - 2
    kernel = [int(v) for v in s.attr("kernel_shape")]
    strides, pads = s.ints("strides") or [1] * rank, s.ints("pads") or [0] * 2 * rank
    shape = [*x.shape[:2], *((n - 1) * st + k - pads[i] - pads[rank + i] for i, (n, st, k) in enumerate(zip(x.shape[2:], strides, kernel)))]
    b.room(prod(shape), 8, "the image")
    empty = b.expand(b.like(0, x), (prod(shape),))
    y = b("ScatterElements", empty, b.reshape(indices, (x.type.size,)), b.reshape(x, (x.type.size,)), axis=0, reduction="none")
    y = b.reshape(y, shape)
    wanted = s.ints("output_shape", 2)
    if wanted is not None and wanted != shape:
        after = tuple(w - n for w, n in zip(wanted, shape))
        if len(after) != len(shape) or min(after) < 0:
            raise s.bad(f"output_shape {wanted} for an image {shape}")
        y = b("Pad", y, before=(0,) * len(shape), after=after, value=0)
    return y


def tensor_scatter(s: Source) -> Value:
    """A cache with new entries put in from each sequence's write index on."""
    b, cache, update, first = s.b, s[0], s[1], s.optional(2)
    axis = normal_axis(int(s.attr("axis", -2)), cache.rank, s.where)
    if update.shape[axis] > cache.shape[axis] or any(u != n for i, (u, n) in enumerate(zip(update.shape, cache.shape)) if i != axis):
        raise s.bad(f"an update {list(update.shape)} of {list(cache.shape)}")
    steps = b.constant(np.arange(update.shape[axis], dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(cache.rank)]))
    if first is not None:
        steps = b("Add", b.reshape(b.cast(first, "int64"), (cache.shape[0], *(1,) * (cache.rank - 1))), steps)
    if s.attr("mode", "linear") == "circular":
        steps = b("Mod", steps, b.like(cache.shape[axis], steps))
    return b("ScatterElements", cache, b.expand(steps, update.shape), update, axis=axis, reduction="none")


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "GridSample": grid_sample,
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
    "DeformConv": deform_conv,
    "Col2Im": col2im,
    "MaxUnpool": max_unpool,
    "TensorScatter": tensor_scatter,
}
