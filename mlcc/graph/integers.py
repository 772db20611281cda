"""Quantised arithmetic in integers: what QuantizeLinear(f(DequantizeLinear(q)…)) computes, with no float in between.

The ONNX meaning of a quantised operator is the rule: products summed in int32, the scales combined in binary32 at build time, one
rounding half to even, saturated (Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", 2018, eq. 1 to 4). Against the same graph in float32 that changes roundings, so it is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlcc.core.graph import DTYPES, Node

if TYPE_CHECKING:
    from mlcc.graph.builder import Builder, Value

RULE = "integer-requantisation"
WHOLE = "integer-products"
SAME_SCALE = 2.0**-18  # relative difference up to which a bias counts as quantised with the product of its operands' scales


@dataclass(frozen=True)
class Quantised:
    """What a float value stands for: (q − zero) · scale; scale and zero as the model gives them, along `axis` where they are lists.
    `whole`: the model means products of such values as products of integers (QONNX), whatever comes after them; reach: the largest |q −
    zero|."""

    q: Value
    scale: Value
    zero: Value | None
    axis: int
    whole: bool = False
    reach: int = 0

    def zero_array(self, b: Builder) -> np.ndarray | None:
        return np.zeros((), np.int64) if self.zero is None else _integers(b.array(self.zero))

    def per_tensor(self, b: Builder) -> tuple[float, int] | None:
        """(scale, zero) where both are known numbers."""
        scale, zero = b.array(self.scale), self.zero_array(b)
        if scale is None or zero is None or scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
            return None
        return float(scale.reshape(())), int(zero.reshape(()))


@dataclass(frozen=True)
class Rounding:
    """How a result is quantised: its scale, zero point, type, and the bounds that the type and clippings leave."""

    scale: float
    zero: int
    dtype: str
    low: int
    high: int


def _integers(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.astype(np.int64)


def rounding(b: Builder, scale: Value, zero: Value | None, dtype: str) -> Rounding | None:
    """A QuantizeLinear's parameters where they are single known numbers of ordinary size."""
    found = Quantised(scale, scale, zero, 0).per_tensor(b)
    if found is None or not np.isfinite(found[0]) or found[0] <= 0:
        return None
    limits = np.iinfo(DTYPES[dtype])
    return Rounding(found[0], found[1], dtype, int(limits.min), int(limits.max))


def moved(b: Builder, node: Node, source: Quantised) -> Quantised | None:
    """What a moved quantised value stands for."""
    single = source.scale.type.size == 1 and (source.zero is None or source.zero.type.size == 1)
    match node.op:
        case "Transpose":
            return replace(source, q=b("Transpose", source.q, perm=node["perm"]), axis=node["perm"].index(source.axis) if not single else 0)
        case "Reshape" | "Expand" | "Slice" if single:
            return replace(source, q=b(node.op, source.q, **dict(node.attributes)))
        case "Pad" if single and node["value"] == 0:
            zero = source.zero_array(b)
            if zero is not None:
                return replace(source, q=b("Pad", source.q, **{**dict(node.attributes), "value": int(zero.reshape(()))}))
        case "PoolMax" if single and not any((*node["before"], *node["after"])) and _increases(b, source):
            return replace(source, q=b("PoolMax", source.q, **dict(node.attributes)))
    return None


def _increases(b: Builder, source: Quantised) -> bool:
    """Whether larger integers stand for larger numbers."""
    place = source.per_tensor(b)
    return place is not None and place[0] > 0


def quantised(b: Builder, value: Value, to: Rounding) -> Value | None:
    """`value` rounded as `to` says, computed in integers; None where it must be computed in float."""
    known = b.quantised.get(value.name)
    if known is not None and known.q.dtype == to.dtype and known.per_tensor(b) == (to.scale, to.zero):
        return _clipped(b, known.q, to)
    node = b.producer(value)
    if node is None:
        return None
    x = b.value(node.inputs[0])
    match node.op:
        case "Relu":
            return quantised(b, x, replace(to, low=max(to.low, to.zero)))
        case "Max" | "Min":
            return _bounded(b, x, b.value(node.inputs[1]), node.op == "Max", to)
        case "Where":  # Clip: x below (above) a bound becomes the bound
            test, bound, source = b.producer(x), b.value(node.inputs[1]), b.value(node.inputs[2])
            if test is None or test.op != "Less" or {*test.inputs} != {bound.name, source.name}:
                return None
            return _bounded(b, source, bound, test.inputs[0] == source.name, to)
        case "Transpose" | "Reshape":
            inner = quantised(b, x, to)
            return None if inner is None else b(node.op, inner, **dict(node.attributes))
        case "Conv" | "MatMul":
            return _product(b, node, to)
        case "Add":
            return _with_bias(b, node, to)
        case "Div":
            return _mean(b, node, to)
    return None


def _bounded(b: Builder, x: Value, bound: Value, below: bool, to: Rounding) -> Value | None:
    """x with a lower (or upper) bound that is one known number, rounded."""
    array = b.array(bound)
    if array is None or array.size != 1 or not np.isfinite(array).all():
        return None
    limit = int(np.clip(np.rint(np.float32(array.reshape(())) / np.float32(to.scale)) + to.zero, to.low, to.high))
    return quantised(b, x, replace(to, low=limit) if below else replace(to, high=limit))


def _clipped(b: Builder, q: Value, to: Rounding) -> Value:
    """Integers within the bounds, which are the type's own unless something clips."""
    limits = np.iinfo(DTYPES[to.dtype])
    if to.low > limits.min:
        q = b("Max", q, b.like(to.low, q))
    if to.high < limits.max:
        q = b("Min", q, b.like(to.high, q))
    return q


def _with_bias(b: Builder, node: Node, to: Rounding) -> Value | None:
    """A product and then a known addend along the last axis: MatMul's bias."""
    for first, second in (node.inputs, node.inputs[::-1]):
        inner = b.producer(b.value(first))
        if inner is not None and inner.op == "MatMul" and len(inner.inputs) == 2 and b.array(b.value(second)) is not None:
            return _product(b, replace(inner, inputs=(*inner.inputs, second)), to)
    return None


def _product(b: Builder, node: Node, to: Rounding) -> Value | None:
    """Conv or MatMul of a quantised value and known quantised weights, and a bias."""
    x, w = (b.quantised.get(v) for v in node.inputs[:2])
    if x is None or w is None or x.q.dtype not in ("int8", "uint8"):
        return None
    place, weights = x.per_tensor(b), centred(b, w)
    axis = 0 if node.op == "Conv" else w.q.rank - 1
    scales = b.array(w.scale)
    if place is None or weights is None or scales is None or scales.dtype != np.float32 or scales.size > 1 and w.axis % w.q.rank != axis:
        return None
    if node.op == "MatMul" and w.q.rank != 2:
        return None
    channels = w.q.shape[axis]
    combined = np.float32(place[0]) * scales.reshape(-1)
    bias = _bias(b, b.value(node.inputs[2]), combined, channels) if len(node.inputs) > 2 else None
    if len(node.inputs) > 2 and bias is None or scales.size not in (1, channels):
        return None
    ratio = combined / np.float32(to.scale)
    if not np.isfinite(ratio).all():
        return None
    operands = [x.q, b.constant(weights), *([b.constant(bias)] if bias is not None else [])]
    acc = b.many(node.op, operands, **dict(node.attributes), zero=place[1])[0]
    b.record(RULE)
    return requantised(b, acc, ratio, 1 if node.op == "Conv" else acc.rank - 1, to)


def whole_product(b: Builder, op: str, x: Value, w: Value, **attributes: object) -> Value | None:
    """Conv or MatMul of two values that stand for integers: their sum in int32, then both scales at once. None where that is not what is
    meant."""
    first, second = (b.quantised.get(v.name) for v in (x, w))
    if first is None or second is None or not (first.whole and second.whole):
        return None
    place, weights, scales = first.per_tensor(b), _centred(b, second), b.array(second.scale)
    if place is None or weights is None or scales is None or (op == "MatMul" and w.rank != 2):
        return None
    axis = 0 if op == "Conv" else w.rank - 1
    if scales.size > 1 and (scales.size != w.shape[axis] or second.axis % w.rank != axis):
        return None
    if first.q.dtype in ("int8", "uint8") and _bytes(weights):
        acc = b.many(op, [first.q, b.constant(weights.astype(np.int8))], **attributes, zero=place[1])[0]
    elif place[1] == 0 and first.reach * _most(weights, axis) < 2**31:
        acc = b.many(op, [b.cast(first.q, "int32"), b.constant(weights.astype(np.int32))], **attributes)[0]
    else:
        return None
    combined = (np.float32(place[0]) * scales.astype(np.float32)).reshape(-1)
    b.record(WHOLE)
    return b("Mul", b.cast(acc, "float32"), _along(b, combined, acc, 1 if op == "Conv" else acc.rank - 1))


def summed(b: Builder, op: str, x: Value, **attributes: object) -> Value:
    """PoolSum or ReduceSum; of a value that stands for bytes, where that is what is meant, their sum in int32 and then the scale."""
    known = b.quantised.get(x.name)
    place = known.per_tensor(b) if known is not None and known.whole and known.q.dtype in ("int8", "uint8") else None
    if known is None or place is None or place[1] != 0:
        return b(op, x, **attributes)
    b.record(WHOLE)
    return b("Mul", b.cast(b.many(op, [known.q], **attributes, to="int32")[0], "float32"), b.constant(np.float32(place[0])))


def _along(b: Builder, scale: np.ndarray, acc: Value, axis: int) -> Value:
    """A scale that broadcasts over a sum: one number, or one for each index of `axis`."""
    shape = [scale.size if i == axis else 1 for i in range(acc.rank)] if scale.size > 1 else []
    return b.constant(scale.astype(np.float32).reshape(shape))


def requantised(b: Builder, acc: Value, ratio: np.ndarray, axis: int, to: Rounding) -> Value:
    """Round a sum in int32; `ratio`: the combined scale, one number or one for each index of `axis`."""
    return b("Requantize", acc, _along(b, ratio, acc, axis), to=to.dtype, zero=to.zero, low=to.low, high=to.high)


def centred(b: Builder, w: Quantised) -> np.ndarray | None:
    """Known weights less their zero points, where that fits int8."""
    q = _centred(b, w)
    return q.astype(np.int8) if q is not None and _bytes(q) else None


def _bytes(q: np.ndarray) -> bool:
    return bool(q.size == 0 or (q.min() >= -128 and q.max() <= 127))


def _most(weights: np.ndarray, axis: int) -> int:
    """The largest sum of sizes of one output's weights."""
    return int(np.abs(weights).sum(tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)).max(initial=0))


def _centred(b: Builder, w: Quantised) -> np.ndarray | None:
    q, zero = _integers(b.array(w.q)), w.zero_array(b)
    if q is None or zero is None:
        return None
    if zero.size > 1:
        zero = zero.reshape([zero.size if i == w.axis % q.ndim else 1 for i in range(q.ndim)])
    return np.asarray(q - zero)


def _bias(b: Builder, value: Value, combined: np.ndarray, channels: int) -> np.ndarray | None:
    """The bias in units of the product's scale: as it was quantised, else rounded to the nearest integer."""
    array = b.array(value)
    if array is None or array.size not in (1, channels) or array.dtype != np.float32:
        return None
    known = b.quantised.get(value.name)
    if known is not None and known.q.dtype == "int32":
        q, zero, scale = b.array(known.q), known.zero_array(b), b.array(known.scale)
        if q is not None and zero is not None and scale is not None and not zero.any():
            close = np.abs(scale.reshape(-1).astype(np.float64) - combined) <= SAME_SCALE * np.abs(combined)
            if close.all():
                return np.broadcast_to(q.reshape(-1), (channels,)).copy()
    units = np.rint(np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float64) / combined.astype(np.float64))
    return units.astype(np.int32) if np.isfinite(units).all() and (np.abs(units) < 2.0**31).all() else None


def _mean(b: Builder, node: Node, to: Rounding) -> Value | None:
    """An average of quantised values: the integers' sum, and the count in the scale."""
    total, count = b.producer(b.value(node.inputs[0])), b.array(b.value(node.inputs[1]))
    if total is None or total.op not in ("ReduceSum", "PoolSum") or count is None or count.size != 1:
        return None
    if total.op == "PoolSum" and any((*total["before"], *total["after"])):
        return None
    x = b.quantised.get(total.inputs[0])
    place = x.per_tensor(b) if x is not None else None
    if x is None or place is None or x.q.dtype not in ("int8", "uint8"):
        return None
    ratio = np.float32(place[0]) / np.float32(count.reshape(())) / np.float32(to.scale)
    if not np.isfinite(ratio):
        return None
    summed = b.many(total.op, [x.q], **dict(total.attributes), to="int32")[0]
    elements = x.q.type.size // max(1, summed.type.size) if total.op == "ReduceSum" else int(np.prod(total["kernel"]))
    b.record(RULE)
    return requantised(b, b("Sub", summed, b.like(elements * place[1], summed)), np.asarray(ratio), 0, to)
