"""Convolutions and matrix products. Of bytes: exact sums in int32, scaled as LiteRT's reference kernels do.

Convolutions scale in fixed point (reference/integer_ops/conv.h); fully connected layers in binary64, half away from zero
(reference/integer_ops/fully_connected.h).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules.lite import sixteen
from mlcc.graph.rules.lite.grid import PADDINGS, Grid, away, dequantised, grid, is_quantised, needed, placed, product_scale, rescaled
from mlcc.graph.rules.lite.layout import first, last
from mlcc.graph.rules.lite.pointwise import activated, fused, refuse_grids
from mlcc.graph.rules.quant import product
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

HYBRID = "lite-hybrid-weights"  # LiteRT rounds the activations to bytes for such a product; here the weights become floats


def weights(s: Source, index: int) -> Value:
    """A layer's weights as numbers: those of a layer of floats may be kept as bytes."""
    w, of = s[index], grid(s, index)
    if w.dtype in ("int8", "uint8") and of is not None and not is_quantised(s, 0):
        s.b.record(HYBRID)
        return dequantised(s, w, of)
    return s.b.cast(w, "float32") if w.dtype == "float16" else w


def geometry(s: Source, dims: str) -> dict[str, Any]:
    """Padding, dilations and strides of a convolution over depth, height and width, or some of them."""
    return {
        "auto_pad": PADDINGS[int(s.attr("padding", 0))],
        "dilations": [int(s.attr(f"dilation_{d}_factor", 1)) for d in dims],
        "strides": [int(s.attr(f"stride_{d}", 1)) for d in dims],
    }


def convolved(s: Source, turned: tuple[int, ...], group: int) -> Value:
    """turned: the axes of the weights as [results, features, height, width]."""
    b, activation = s.b, fused(s)
    x, w, bias = first(b, s[0]), b.transpose(weights(s, 1), turned), s.optional(2)
    how = {**geometry(s, "hw"), "group": group}
    if not is_quantised(s):
        return last(b, activated(s, run(s, "Conv", x, w, bias, **how), activation))
    given, kernel, out = needed(s, 0), grid(s, 1), needed(s, 0, "out")
    if kernel is None:
        raise s.bad("weights without a scale")
    if x.dtype == "int16":
        return last(b, sixteen.convolved(s, x, w, bias, (given, kernel, out), activation, how))
    acc = run(s, "ConvInteger", x, w, *_zeros(s, x, w, given, kernel), **how)
    if bias is not None:
        acc = b("Add", acc, b.reshape(bias, (bias.shape[0], 1, 1)))
    real = product_scale(given, kernel, out)
    return last(b, placed(s, rescaled(b, acc, real, 1), out, activation))


def _zeros(s: Source, x: Value, w: Value, given: Grid, kernel: Grid) -> tuple[Value | None, Value | None]:
    """Zero points as operands."""
    b = s.b
    if any(z != kernel.zero for z in kernel.zeros):
        raise s.unsupported("weights with several zero points", "quantise them symmetrically")
    return tuple(b.constant(np.array(of.zero), v.dtype) if of.zero else None for v, of in ((x, given), (w, kernel)))  # type: ignore[return-value]


def conv_2d(s: Source) -> Value:
    channels, features = s[0].shape[3], s[1].shape[3]
    if features == 0 or channels % features:
        raise s.bad(f"{features} features a filter of {channels} channels")
    return convolved(s, (0, 3, 1, 2), channels // features)


def depthwise_conv_2d(s: Source) -> Value:
    s.attr("depth_multiplier")  # said by the shapes too
    return convolved(s, (3, 0, 1, 2), s[0].shape[3])


def conv_3d(s: Source) -> Value:
    """Images [batch, depth, height, width, channels], weights [depth, height, width, channels, results]."""
    refuse_grids(s)
    b, activation = s.b, fused(s)
    w = b.transpose(s[1], (4, 3, 0, 1, 2))
    group = s[0].shape[-1] // w.shape[1]
    y = run(s, "Conv", b.transpose(s[0], (0, 4, 1, 2, 3)), w, s.optional(2), group=group, **geometry(s, "dhw"))
    return activated(s, b.transpose(y, (0, 2, 3, 4, 1)), activation)


def fully_connected(s: Source) -> Value:
    b, activation, bias = s.b, fused(s), s.optional(2)
    if s.attr("weights_format", 0):
        raise s.unsupported("shuffled weights", "convert the model without them")
    s.attr("asymmetric_quantize_inputs")  # how ranges of a run are found; the weights' bytes are taken as the numbers that they stand for
    w = weights(s, 1)
    x = b.reshape(s[0], (s[0].type.size // w.shape[1], w.shape[1]))
    shape = (*s[0].shape[:-1], w.shape[0]) if s.attr("keep_num_dims", 0) else (x.shape[0], w.shape[0])
    if not is_quantised(s):
        y = run(s, "Gemm", x, w, bias, transB=1)
        return b.reshape(activated(s, y, activation), shape)
    given, kernel, out = needed(s, 0), grid(s, 1), needed(s, 0, "out")
    if kernel is None:
        raise s.unsupported("weights without a scale", "quantise the model with the converter")
    turned = b.transpose(w, (1, 0))
    if x.dtype == "int16":
        return b.reshape(sixteen.multiplied(s, x, turned, bias, (given, kernel, out), activation), shape)
    x_zero, w_zero = _zeros(s, x, w, given, kernel)
    acc = product(s, "MatMul", x, x_zero, turned, w_zero, None)
    if bias is not None:
        acc = b("Add", acc, bias)
    real = product_scale(given, kernel, out)
    scaled = b("Mul", b.cast(acc, "float64"), b.constant(real if real.size > 1 else real.reshape(())))
    return b.reshape(placed(s, b.cast(away(b, scaled), "int32"), out, activation), shape)


def transpose_conv(s: Source) -> Value:
    """Inputs: the result's shape, weights [results, height, width, features], an image, a bias."""
    b, activation = s.b, fused(s)
    shape = [int(v) for v in b.known(s[0], "output_shape")]
    if is_quantised(s, 2):
        return _transposed_bytes(s, shape, activation)
    x, w, bias = first(b, s[2]), b.transpose(weights(s, 1), (3, 0, 1, 2)), s.optional(3)
    how = {"auto_pad": PADDINGS[int(s.attr("padding", 0))], "strides": [int(s.attr(f"stride_{d}", 1)) for d in "hw"]}
    y = run(s, "ConvTranspose", x, w, bias, output_shape=shape[1:3], **how)
    return last(b, activated(s, y, activation))


def _transposed_bytes(s: Source, shape: list[int], activation: int) -> Value:
    """A convolution of the image with its zero point between the pixels, by the weights turned round: sums of integers, in any order.
    reference/integer_ops/transpose_conv.h; padding as ComputePaddingHeightWidth has it."""
    b, x, bias = s.b, first(s.b, s[2]), s.optional(3)
    given, kernel, out = needed(s, 2), grid(s, 1), needed(s, 0, "out")
    if kernel is None or x.dtype == "int16":
        raise s.unsupported("int16" if x.dtype == "int16" else "weights without a scale", "quantise activations to int8")
    w = b.transpose(s[1], (0, 3, 1, 2))
    for axis in (2, 3):
        n = w.shape[axis]
        w = b("Gather", w, b.constant(np.arange(n)[::-1].astype(np.int64)), axis=axis)
    pads = []
    for i, d in enumerate("hw"):
        step, taps, result = int(s.attr(f"stride_{d}", 1)), w.shape[2 + i], shape[1 + i]
        x = _spread(b, x, 2 + i, step, given.zero)
        rows = -(-result // step) if PADDINGS[int(s.attr("padding", 0))] == "SAME_UPPER" else (result - taps) // step + 1
        low = taps - 1 - max((rows - 1) * step + taps - result, 0) // 2
        pads.append((low, result + taps - 1 - low - x.shape[2 + i]))
    for i, ends in enumerate(pads):  # what falls outside of the result is cut
        start, stop = max(0, -ends[0]), x.shape[2 + i] + min(0, ends[1])
        x = b.slice(x, 2 + i, start, stop) if (start, stop) != (0, x.shape[2 + i]) else x
    around = [max(0, p[side]) for side in (0, 1) for p in pads]
    acc = run(s, "ConvInteger", x, w, *_zeros(s, x, w, given, kernel), pads=around)
    if bias is not None:
        acc = b("Add", acc, b.reshape(bias, (bias.shape[0], 1, 1)))
    real = product_scale(given, kernel, out)
    return last(b, placed(s, rescaled(b, acc, real, 1), out, activation))


def _spread(b: Builder, x: Value, axis: int, step: int, fill: int) -> Value:
    """With step − 1 times a number between each two elements of an axis."""
    if step == 1:
        return x
    shape = x.shape
    apart = b.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    more = tuple(step - 1 if i == axis + 1 else 0 for i in range(x.rank + 1))
    wide = b("Pad", apart, before=(0,) * (x.rank + 1), after=more, value=fill)
    laid = b.reshape(wide, (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))
    return b.slice(laid, axis, 0, (shape[axis] - 1) * step + 1)


def batch_matmul(s: Source) -> Value:
    """Of bytes: reference/batch_matmul.h, its scale as GetQuantizedConvolutionMultipler has it (the product in binary32)."""
    b = s.b
    s.attr("asymmetric_quantize_inputs")

    def turned(x: Value, on: bool) -> Value:
        return b.transpose(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2)) if on else x

    x, y = turned(s[0], bool(s.attr("adj_x", 0))), turned(weights(s, 1), bool(s.attr("adj_y", 0)))
    if not is_quantised(s):
        return run(s, "MatMul", x, y)
    p, q, out = needed(s, 0), needed(s, 1), needed(s, 0, "out")
    if x.dtype == "int16":
        raise s.unsupported("int16 activations", "quantise activations to int8")
    zeros = (b.constant(np.array(g.zero), v.dtype) if g.zero else None for g, v in ((p, x), (q, y)))
    acc = product(s, "MatMul", x, next(zeros), y, next(zeros), None)
    return placed(s, rescaled(b, acc, float(np.float32(p.scale * q.scale)) / float(out.scale)), out)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "BATCH_MATMUL": batch_matmul,
    "CONV_2D": conv_2d,
    "CONV_3D": conv_3d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
}
