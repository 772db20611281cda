"""StableHLO's products, convolutions and windows in ONNX's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlcc.error import Error
from mlcc.importers.stablehlo.movement import lists, padded, turned
from mlcc.importers.stablehlo.read import Op, Value, constant
from mlcc.importers.stablehlo.write import Writer


def dot(w: Writer, op: Op, a: str, b: str) -> str:
    """Batch axes first, then the free ones and those that are summed as one each: MatMul."""
    left, right = op.operands
    if "dot_dimension_numbers" in op.attributes:
        d = lists(op, "dot_dimension_numbers")
        batch = (d.get("lhs_batching_dimensions", []), d.get("rhs_batching_dimensions", []))
        summed = (d.get("lhs_contracting_dimensions", []), d.get("rhs_contracting_dimensions", []))
    else:  # the older `dot`, of vectors and matrices
        batch, summed = ([], []), ([len(left.shape) - 1], [0])
    free = [[i for i in range(len(v.shape)) if i not in (*s, *g)] for v, s, g in zip((left, right), summed, batch)]
    sizes = [w.sizes(left), w.sizes(right)]
    laid = [
        w.transpose(a, [*batch[0], *free[0], *summed[0]]),
        w.transpose(b, [*batch[1], *summed[1], *free[1]]),
    ]
    groups = [sizes[0][i] for i in batch[0]]
    rows, columns = [sizes[0][i] for i in free[0]], [sizes[1][i] for i in free[1]]
    plain = len(summed[0]) == 1 and len(columns) == 1 and (len(rows) == 1 or not groups and len(rows) > 1)
    if not plain:
        depth = w.product([sizes[0][i] for i in summed[0]])
        laid = [w.reshape(laid[0], [*groups, w.product(rows), depth]), w.reshape(laid[1], [*groups, depth, w.product(columns)])]
    found = multiplied(w, op, *laid)
    return found if plain else w.reshape(found, [*groups, *rows, *columns])


def multiplied(w: Writer, op: Op, a: str, b: str) -> str:
    """In the type of the result, which may be wider: bytes with sums of four, else converted before (exact)."""
    kinds, out = [v.dtype for v in op.operands], op.results[0].dtype
    if all(k.kind in "iu" and k.itemsize == 1 for k in kinds) and out == np.int32:
        return w.op("MatMulInteger", a, b)
    if out == np.bool_:
        raise Error("unsupported", "a product of booleans")
    return w.op("MatMul", *(x if k == out else w.cast(x, out) for x, k in zip((a, b), kinds)))


def convolution(w: Writer, op: Op, x: str, kernel: str) -> str:
    """Channels first, and back. An image with zeros between its pixels is ConvTranspose, where that says all of it."""
    if op.integer("batch_group_count", 1) != 1:
        raise Error("unsupported", "a convolution with groups in its batch")
    image, taps = op.operands
    if image.dtype.kind != "f" and str(image.dtype) != "bfloat16":
        raise Error("unsupported", f"a convolution of {image.dtype}")
    laid_x, laid_k, laid_y = _layouts(str(op.attributes["dimension_numbers"]))
    n = len(image.shape) - 2
    ones = [1] * n
    step, apart, wide = (op.integers(k, ones) for k in ("window_strides", "lhs_dilation", "rhs_dilation"))
    ends = op.integers("padding", [0] * (2 * n))
    low, high = ends[::2], ends[1::2]
    groups, out = op.integer("feature_group_count", 1), op.results[0].dtype
    x, kernel = (v if t.dtype == out else w.cast(v, out) for v, t in ((x, image), (kernel, taps)))
    x, kernel = w.transpose(x, laid_x), w.transpose(kernel, laid_k)
    flipped = [bool(i) for i in op.integers("window_reversal", [0] * n)]
    kernel = turned(w, kernel, [i + 2 for i, f in enumerate(flipped) if f])
    reach = [(taps.sizes[laid_k[i + 2]] - 1) * wide[i] for i in range(n)]
    border = [[r - p for r, p in zip(reach, side)] for side in (low, high)]
    if any(a != 1 for a in apart) and step == ones and groups == 1 and min(*border[0], *border[1]) >= 0:
        across = turned(w, w.transpose(kernel, [1, 0, *range(2, n + 2)]), range(2, n + 2))
        found = w.op("ConvTranspose", x, across, strides=apart, dilations=wide, pads=[*border[0], *border[1]])
    else:
        sizes = [w.sizes(image)[i] for i in laid_x]
        zero = w.constant(np.zeros(()), out)
        if any(a != 1 for a in apart):
            x = padded(w, x, sizes, zero, [0] * (n + 2), [0] * (n + 2), [0, 0, *(a - 1 for a in apart)])
        if min(ends, default=0) < 0:
            x, low, high = padded(w, x, sizes, zero, [0, 0, *low], [0, 0, *high]), [0] * n, [0] * n
        found = w.op("Conv", x, kernel, strides=step, dilations=wide, pads=[*low, *high], group=groups)
    return w.transpose(found, [laid_y.index(i) for i in range(n + 2)])


def _layouts(text: str) -> tuple[list[int], list[int], list[int]]:
    """From `[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]`: which axes are batch, channels, space, in this order; of kernels out, in, space."""

    def order(part: str, first: str, second: str) -> list[int]:
        axes = [a.strip() for a in part.split(",")]
        return [axes.index(first), axes.index(second), *(axes.index(str(i)) for i in range(len(axes) - 2))]

    image, kernel, result = re.findall(r"\[([^\]]*)\]", text)
    return order(image, "b", "f"), order(kernel, "o", "i"), order(result, "b", "f")


# ---- windows and reductions ----

REDUCES = {
    "add": "ReduceSum",
    "multiply": "ReduceProd",
    "maximum": "ReduceMax",
    "minimum": "ReduceMin",
    "and": "ReduceMin",
    "or": "ReduceMax",
}
JOINS = {"add": "Add", "multiply": "Mul", "maximum": "Max", "minimum": "Min", "and": "And", "or": "Or"}


def joins(op: Op, k: int) -> str:
    """What joins two elements of the k-th operand: one operation of its own two arguments."""
    (block,) = op.blocks
    maker, pair = block.returned[k].maker, {block.arguments[k], block.arguments[k + len(block.returned)]}
    if maker is None or maker.name not in JOINS or set(maker.operands) != pair:
        raise Error("unsupported", f"{op.name} by more than a sum, a product, a maximum or a minimum")
    name = maker.name
    if block.returned[k].dtype == np.bool_:
        return {"add": "or", "maximum": "or", "multiply": "and", "minimum": "and"}.get(name, name)
    if name in ("and", "or"):
        raise Error("unsupported", f"{op.name} by {name} of integers")
    return name


def begins(value: Value, how: str) -> bool:
    """Whether a value changes nothing where it is joined."""
    found = constant(value)
    if found is None:
        return False
    start = found.reshape(-1)[0]
    if how in ("maximum", "minimum"):
        ends = (-np.inf, np.inf) if value.dtype.kind not in "iub" else (np.iinfo(value.dtype).min, np.iinfo(value.dtype).max)
        return bool(start == ends[how == "minimum"])
    return bool(start == {"add": 0, "multiply": 1, "and": True, "or": False}[how])


def reduced(w: Writer, how: str, x: str, axes: Sequence[int], dtype: Any) -> str:
    logical = how in ("and", "or")
    found = w.op(REDUCES[how], w.cast(x, np.uint8) if logical else x, w.integers(*axes), keepdims=0, noop_with_empty_axes=1)
    return w.cast(found, dtype) if logical else found


def window(w: Writer, op: Op, x: str, start: str, *more: str) -> str:
    """A window's elements joined, axis after axis; sums of all that came before are CumSum, largest of images MaxPool."""
    if more:
        raise Error("unsupported", "reduce_window of several operands")
    how, value = joins(op, 0), op.operands[0]
    n = len(value.shape)
    size, ends = op.integers("window_dimensions"), op.integers("padding", [0] * (2 * n))
    step, apart, wide = (op.integers(k, [1] * n) for k in ("window_strides", "base_dilations", "window_dilations"))
    low, high = ends[::2], ends[1::2]
    if any(a != 1 for a in apart):
        raise Error("unsupported", "reduce_window with elements apart")
    active = [i for i in range(n) if (size[i], step[i], low[i], high[i]) != (1, 1, 0, 0)]
    neutral = begins(op.operands[1], how)
    if how == "add" and neutral and len(active) == 1:
        (axis,) = active
        whole = value.shape[axis]
        if (size[axis], step[axis], wide[axis]) == (whole, 1, 1) and {low[axis], high[axis]} == {0, size[axis] - 1}:
            return w.op("CumSum", x, w.constant(axis, np.int64), reverse=int(high[axis] > 0))
    if how == "maximum" and neutral and value.dtype.kind == "f" and 0 < len(active) <= n - 2 and min(ends) >= 0:
        return pooled(w, op, x, active)
    if None in value.shape:
        raise Error("unsupported", "reduce_window over a size that a run decides")
    x = padded(w, x, value.sizes, start, low, high)
    for i in active:
        reach = value.sizes[i] + low[i] + high[i] - (size[i] - 1) * wide[i]
        parts = [w.slice(x, i, k * wide[i], k * wide[i] + reach, step[i]) for k in range(size[i])]
        x = parts[0]
        for part in parts[1:]:
            x = w.op(JOINS[how], x, part)
    return x if neutral else w.op(JOINS[how], x, start)


def pooled(w: Writer, op: Op, x: str, active: Sequence[int]) -> str:
    """MaxPool over some axes, the last of the others as its channels."""
    value, n = op.operands[0], len(op.operands[0].shape)
    size, ends = op.integers("window_dimensions"), op.integers("padding", [0] * (2 * n))
    step, wide = (op.integers(k, [1] * n) for k in ("window_strides", "window_dilations"))
    order = [*(i for i in range(n) if i not in active), *active]
    kept, sizes = n - len(active), w.sizes(value)
    laid = w.transpose(x, order)
    laid = w.reshape(laid, [w.product([sizes[i] for i in order[: kept - 1]]), *(sizes[i] for i in order[kept - 1 :])])
    options = {"kernel_shape": size, "strides": step, "dilations": wide}
    pads = [*(ends[2 * i] for i in active), *(ends[2 * i + 1] for i in active)]
    chosen: dict[str, Any] = {k: [v[i] for i in active] for k, v in options.items()}
    found = w.op("MaxPool", laid, pads=pads, **chosen)
    after = [op.results[0].shape[i] for i in order[kept:]]
    back = w.reshape(found, [*(sizes[i] for i in order[:kept]), *(-1 if m is None else m for m in after)])
    return w.transpose(back, [order.index(i) for i in range(n)])


RULES: Mapping[str, Any] = {"dot_general": dot, "dot": dot, "convolution": convolution, "reduce_window": window}
