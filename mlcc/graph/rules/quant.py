"""Quantised operators, with the ONNX meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.core.narrow import FLOATS, INTEGERS, ONNX_NARROW, held
from mlcc.graph import integers
from mlcc.graph.builder import Value
from mlcc.graph.integers import Quantised
from mlcc.graph.narrow import decoded, encoded
from mlcc.graph.rules.conv import window
from mlcc.graph.rules.elementwise import ONNX_DTYPES, clamp
from mlcc.graph.rules.matmul import vectors_too
from mlcc.graph.source import Source, normal_axis


def along(s: Source, v: Value, x: Value, axis: int) -> Value:
    """A per-axis (or per-block) parameter shaped to broadcast over x; the axis matters only where there is more than one value."""
    if v.rank == 0 or v.type.size == 1 and v.rank <= 1:
        return s.b.reshape(v, ())
    axis = normal_axis(axis, x.rank, s.where)
    if v.rank == 1:
        return s.b.reshape(v, [v.type.size if i == axis else 1 for i in range(x.rank)])
    block = int(s.attr("block_size", 0))
    if not block:
        return v
    spread = s.b.expand(
        s.b.reshape(v, (*v.shape[: axis + 1], 1, *v.shape[axis + 1 :])), (*v.shape[: axis + 1], block, *v.shape[axis + 1 :])
    )
    flat = s.b.reshape(spread, (*v.shape[:axis], v.shape[axis] * block, *v.shape[axis + 1 :]))
    return s.b.slice(flat, axis, 0, x.shape[axis])


def dequantize(s: Source, x: Value, scale: Value, zero: Value | None) -> Value:
    """(x − zero) · scale: the difference in int32, exact."""
    b = s.b
    i = b.cast(x, "int32")
    if zero is not None:
        i = b("Sub", i, b.cast(zero, "int32"))
    return b.cast(b("Mul", b.cast(i, "float32"), b.cast(scale, "float32")), scale.dtype)


def bounds(to: str) -> tuple[int, int] | None:
    """The least and the largest number of an integer type that values are quantised to."""
    if to not in ("int8", "uint8", "int16", "uint16", *INTEGERS):
        return None
    limits = np.iinfo(to) if to not in INTEGERS else ml_dtypes.iinfo(to)
    return int(limits.min), int(limits.max)


def quantize(s: Source, x: Value, scale: Value, zero: Value | None, to: str, limits: tuple[int, int] | None = None) -> Value:
    """saturate(round_half_even(x / scale) + zero), between `limits` (those of the type)."""
    b = s.b
    rounded = b("Round", b("Div", b.cast(x, "float32"), b.cast(scale, "float32")))
    if zero is not None:
        rounded = b("Add", rounded, b.cast(zero, "float32"))
    low, high = (b.constant(np.float32(v)) for v in limits or bounds(to) or ())
    return b.cast(clamp(s, clamp(s, rounded, low, False), high, True), to)


def plain(s: Source, v: Value | None) -> Value | None:
    """A narrow operand's numbers."""
    return decoded(s.b, v) if v is not None and v.element else v


def _may_shift(zero: np.ndarray | None) -> bool:
    """Whether a zero point is, or may be, another number than 0."""
    return zero is None or bool(zero.any())


def dequantize_floats(s: Source, x: Value, scale: Value, zero: Value | None, axis: int) -> Value:
    """(x − zero) · scale of float8 and its kin, in binary32."""
    b = s.b
    if zero is not None and _may_shift(b.array(zero)):
        x = b("Sub", x, along(s, zero, x, axis))
    return b.cast(b("Mul", x, b.cast(along(s, scale, x, axis), "float32")), scale.dtype)


def dequantize_linear(s: Source) -> Value:
    x, scale, zero = plain(s, s[0]), plain(s, s[1]), plain(s, s.optional(2))
    assert x is not None and scale is not None
    axis = int(s.attr("axis", 1))
    if s[0].element in FLOATS:
        y = dequantize_floats(s, x, scale, zero, axis)
        return s.b.cast(y, ONNX_DTYPES[int(s.attr("output_dtype"))]) if s.attr("output_dtype", 0) else y
    y = dequantize(s, x, along(s, scale, x, axis), along(s, zero, x, axis) if zero is not None else None)
    if y.dtype == "float32" and not s.attr("block_size", 0):
        s.b.quantised[y.name] = Quantised(x, scale, zero, normal_axis(axis, x.rank, s.where) if scale.type.size > 1 else 0)
    return s.b.cast(y, ONNX_DTYPES[int(s.attr("output_dtype"))]) if s.attr("output_dtype", 0) else y


def quantize_linear(s: Source) -> Value:
    x, scale, zero = s[0], plain(s, s[1]), plain(s, s.optional(2))
    assert scale is not None
    axis, given = int(s.attr("axis", 1)), int(s.attr("output_dtype", 0)) or 2
    to = ((z := s[2]).element or z.dtype) if zero is not None else {**ONNX_DTYPES, **ONNX_NARROW}.get(given, "")
    if to in FLOATS:
        ratio = s.b("Div", s.b.cast(x, "float32"), s.b.cast(along(s, scale, x, axis), "float32"))
        if zero is not None and _may_shift(s.b.array(zero)):
            ratio = s.b("Add", ratio, along(s, zero, x, axis))
        return encoded(s.b, ratio, to, bool(s.attr("saturate", 1)))
    limits = bounds(to)
    if limits is None:
        raise s.unsupported(f"quantisation to {to or given}", "use int8, uint8, int16, uint16, int4, uint4, int2, uint2 or a float8")
    kept = held(to) if to in INTEGERS else to
    element = to if to in INTEGERS else ""
    if (rounding := integers.rounding(s.b, scale, zero, kept)) is not None:
        rounding = replace(rounding, low=limits[0], high=limits[1])
        if (found := integers.quantised(s.b, x, rounding)) is not None:
            return replace(found, element=element)
    y = quantize(s, x, along(s, scale, x, axis), along(s, zero, x, axis) if zero is not None else None, kept, limits)
    return replace(y, element=element)


def dynamic_quantize_linear(s: Source) -> tuple[Value, ...]:
    b, x = s.b, s[0]
    axes = tuple(range(x.rank))
    zero = b.like(0, x)
    high = b.reshape(b("ReduceMax", x, axes=axes), ()) if axes else x
    low = b.reshape(b("ReduceMin", x, axes=axes), ()) if axes else x
    high, low = b("Max", high, zero), b("Min", low, zero)
    scale = b("Div", b("Sub", high, low), b.like(255, x))
    point = b("Round", b("Div", b("Sub", zero, low), scale))
    point = b.cast(clamp(s, clamp(s, point, b.like(0, x), False), b.like(255, x), True), "uint8")
    return quantize(s, x, scale, point, "uint8"), scale, point


def shifted(s: Source, x: Value, zero: Value | None, axis: int) -> Value:
    b = s.b
    i = b.cast(x, "int32")
    return i if zero is None else b("Sub", i, along(s, b.cast(zero, "int32"), x, axis))


def product(
    s: Source, op: str, x: Value, x_zero: Value | None, w: Value, w_zero: Value | None, bias: Value | None, **attributes: object
) -> Value:
    """Σ (x − x_zero) · (w − w_zero) in int32: of bytes as they lie where the weights and zero points are known, else of int32 copies."""
    b, axis = s.b, 0 if op == "Conv" else w.rank - 1
    one = b.constant(np.float32(1))
    weights = integers.centred(b, Quantised(w, one, w_zero, axis)) if w.rank >= 2 else None
    place = Quantised(x, one, x_zero, 0).per_tensor(b)
    extra = [bias] if bias is not None else []
    if weights is not None and x.dtype in ("int8", "uint8"):
        if place is not None:
            return b.many(op, [x, b.constant(weights), *extra], **attributes, zero=place[1])[0]
        if op == "MatMul" and w.rank == 2 and x_zero is not None and x_zero.type.size == 1:  # Σ x·w − x_zero · Σ w
            sums = b.constant(weights.astype(np.int32).sum(0, dtype=np.int32))
            acc = b.many(op, [x, b.constant(weights), *extra], **attributes, zero=0)[0]
            return b("Sub", acc, b("Mul", b.reshape(b.cast(x_zero, "int32"), ()), sums))
    operands = [shifted(s, x, x_zero, 1 if op == "Conv" else x.rank - 2), shifted(s, w, w_zero, axis)]
    return b.many(op, [*operands, *extra], **attributes)[0]


def matmul_integer(s: Source) -> Value:
    return vectors_too(s.b, s[0], s[1], lambda a, c: product(s, "MatMul", a, s.optional(2), c, s.optional(3), None))


def by_row(s: Source, v: Value, rank: int) -> Value:
    """A parameter of a product's left operand, one number or one a row, so that it broadcasts over the result."""
    return s.b.reshape(v, (*v.shape, 1)) if v.rank == 1 and v.type.size > 1 else v if v.rank > 1 else s.b.reshape(v, ())


def conv_integer(s: Source) -> Value:
    attributes = window(s, s[0].shape[2:], s[1].shape[2:])
    return product(s, "Conv", s[0], s.optional(2), s[1], s.optional(3), None, group=int(s.attr("group", 1)), **attributes)


def requantize(s: Source, acc: Value, a_scale: Value, w_scale: Value, y_scale: Value, y_zero: Value, axis: int) -> Value:
    """int32 → binary32, times the combined scale, rounded half to even, saturated."""
    b = s.b
    a_scale, w_scale, y_scale = (b.cast(v, "float32") for v in (a_scale, along(s, w_scale, acc, axis), y_scale))
    scale = b("Div", b("Mul", a_scale, w_scale), y_scale)
    scale = b.reshape(scale, ()) if scale.type.size == 1 else scale
    limits = np.iinfo(DTYPES[y_zero.dtype])
    known, zero = b.array(scale), b.array(y_zero)
    if known is not None and np.isfinite(known).all() and zero is not None and zero.size == 1:
        low, high = int(limits.min), int(limits.max)
        return b("Requantize", acc, scale, to=y_zero.dtype, zero=int(zero.reshape(())), low=low, high=high)
    value = b("Round", b("Mul", b.cast(acc, "float32"), scale))
    value = b("Add", value, b.cast(y_zero, "float32"))
    low_value, high_value = (b.constant(np.float32(v)) for v in (limits.min, limits.max))
    return b.cast(clamp(s, clamp(s, value, low_value, False), high_value, True), y_zero.dtype)


def qlinear_matmul(s: Source) -> Value:
    a, a_scale, a_zero, c, c_scale, c_zero, y_scale, y_zero = (s[i] for i in range(8))

    def rows(a: Value, c: Value) -> Value:
        acc = product(s, "MatMul", a, a_zero, c, c_zero, None)
        left, result, zero = (by_row(s, v, acc.rank) for v in (a_scale, y_scale, y_zero))
        return requantize(s, acc, left, c_scale, result, zero, acc.rank - 1)

    return vectors_too(s.b, a, c, rows)


def qlinear_conv(s: Source) -> Value:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (s[i] for i in range(8))
    attributes = window(s, x.shape[2:], w.shape[2:])
    acc = product(s, "Conv", x, x_zero, w, w_zero, s.optional(8), group=int(s.attr("group", 1)), **attributes)
    x_scale, y_scale, y_zero = (along(s, v, acc, 1) for v in (x_scale, y_scale, y_zero))
    return requantize(s, acc, x_scale, w_scale, y_scale, y_zero, 1)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "DequantizeLinear": dequantize_linear,
    "QuantizeLinear": quantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "QLinearConv": qlinear_conv,
}
