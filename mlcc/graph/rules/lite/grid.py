"""TensorFlow Lite's quantised tensors, numbers (q − zero) · scale, and the fixed-point arithmetic that its reference kernels scale with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Builder, Value
from mlcc.graph.source import Source

RELU, RELU_N1_TO_1, RELU6, TANH = 1, 2, 3, 4  # fused activations, as the schema numbers them
QUANTISED = ("int8", "uint8", "int16")
PADDINGS = ("SAME_UPPER", "VALID")  # as the schema numbers them


@dataclass(frozen=True)
class Grid:
    """Binary32 scales and zero points, one or one for each index of an axis."""

    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int

    @property
    def scale(self) -> np.float32:
        return np.float32(self.scales[0])

    @property
    def zero(self) -> int:
        return self.zeros[0]


def grid(s: Source, index: int, kind: str = "in") -> Grid | None:
    """How an input (or output) is quantised; None where it is not."""
    scales, zeros, axis = (s.attr(f"{kind}.{index}.{n}") for n in ("scale", "zero", "along"))
    return None if scales is None else Grid(tuple(scales), tuple(zeros), int(axis))


def needed(s: Source, index: int, kind: str = "in") -> Grid:
    """The same, of one scale, where an operator on integers must have it."""
    found = grid(s, index, kind)
    if found is None or len(found.scales) != 1:
        raise s.unsupported(f"{kind}put {index} without one scale", "quantise the model with the converter")
    return found


def kind(s: Source, index: int = 0) -> str:
    """An output's type."""
    return str(s.attr("types")[index])


def is_quantised(s: Source, index: int = 0) -> bool:
    value = s.optional(index)
    return value is not None and value.dtype in QUANTISED and grid(s, index) is not None


# fixed-point numbers


def multiplier(real: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(m, shift), int32: positive binary64 numbers as m · 2^(shift − 31), m of 31 bits. QuantizeMultiplier in quantization_util.cc."""
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    m = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    over = m == 1 << 31
    m, exponent = np.where(over, m // 2, m), exponent + over
    small = exponent < -31
    return np.where(small, 0, m).astype(np.int32), np.where(small, 0, exponent).astype(np.int32)


def rescaled(b: Builder, x: Value, real: np.ndarray | float, axis: int = -1) -> Value:
    """int32 times real numbers in fixed point: one, or one for each index of an axis."""
    m, shift = multiplier(real)
    if m.ndim and m.size > 1:
        place = [-1 if i == axis % x.rank else 1 for i in range(x.rank)]
        m, shift = m.reshape(place), shift.reshape(place)
    else:
        m, shift = m.reshape(()), shift.reshape(())
    return b("Rescale", x, b.constant(m), b.constant(shift))


def product_scale(given: Grid, weights: Grid, out: Grid) -> np.ndarray:
    """What a step of a product is in steps of the result, in binary64: one number, or one for each of the weights' scales."""
    return np.float64(given.scale) * np.array(weights.scales, np.float64) / np.float64(out.scale)


def high_product(b: Builder, x: Value, y: Value) -> Value:
    """The high half of the doubled product of two int32, rounded: gemmlowp's product of fixed-point numbers."""
    return b("Rescale", x, y, b.constant(np.int32(0)))


def bounds(out: Grid, dtype: str, activation: int) -> tuple[int, int]:
    """The least and the greatest number of a quantised result behind its fused activation. CalculateActivationRangeQuantized."""
    info = np.iinfo(DTYPES[dtype])

    def place(number: float) -> int:
        steps = np.float32(number) / out.scale
        return out.zero + int(np.sign(steps) * np.floor(abs(steps) + np.float32(0.5)))

    low, high = {
        RELU: (place(0.0), info.max),
        RELU6: (place(0.0), place(6.0)),
        RELU_N1_TO_1: (place(-1.0), place(1.0)),
    }.get(activation, (info.min, info.max))
    return max(int(info.min), low), min(int(info.max), high)


PAIRS = ("ADD", "BATCH_MATMUL", "MUL", "SQUARED_DIFFERENCE", "SUB")


def one_type(s: Source) -> None:
    """Activations and result are integers of one type: LiteRT's kernels read others as what they are not
    (https://github.com/tensorflow/tensorflow/issues/58987)."""
    given = {"TRANSPOSE_CONV": (2,)}.get(s.op, (0, 1) if s.op in PAIRS else (0,))
    found = {s[i].dtype for i in given} | {kind(s)}
    if len(found) > 1 and s.op != "QUANTIZE":
        raise s.unsupported(f"{' and '.join(sorted(found))} in one operator", "quantise its operands and its result to one type")


def placed(s: Source, x: Value, out: Grid, activation: int = 0) -> Value:
    """int32 steps from zero as the output's type, saturated."""
    one_type(s)
    b, dtype = s.b, kind(s)
    if activation not in (0, RELU, RELU6, RELU_N1_TO_1):
        raise s.unsupported(f"fused activation {activation} of integers", "convert the model without it")
    low, high = bounds(out, dtype, activation)
    y = b("Add", x, b.constant(np.int32(out.zero))) if out.zero else x
    y = b("Min", b("Max", y, b.constant(np.int32(low))), b.constant(np.int32(high)))
    return b.cast(y, dtype)


def centred(b: Builder, x: Value, of: Grid) -> Value:
    """Steps from zero, int32."""
    wide = b.cast(x, "int32")
    return b("Sub", wide, b.constant(np.int32(of.zero))) if of.zero else wide


def dequantised(s: Source, x: Value, of: Grid) -> Value:
    b = s.b
    place = [-1 if i == of.axis else 1 for i in range(x.rank)] if len(of.scales) > 1 else []
    steps = b.cast(x, "float32")
    if any(of.zeros):
        steps = b("Sub", steps, b.constant(np.array(of.zeros, np.float32).reshape(place)))
    return b("Mul", steps, b.constant(np.array(of.scales, np.float32).reshape(place)))


def away(b: Builder, x: Value) -> Value:
    """Rounded, half away from zero."""
    size = b("Abs", x)
    whole = b("Floor", size)
    up = b("LessOrEqual", b.like(0.5, x), b("Sub", size, whole))
    whole = b("Where", up, b("Add", whole, b.like(1, x)), whole)
    return b("Where", b("Less", x, b.like(0, x)), b("Neg", whole), whole)


def tabulated(s: Source, x: Value, numbers: Sequence[int] | np.ndarray) -> Value:
    """A function of bytes as a table of its 256 results, by the numbers of the type in order."""
    one_type(s)
    b = s.b
    index = b.cast(x, "int32")
    if x.dtype == "int8":
        index = b("Add", index, b.constant(np.int32(128)))
    return b("Gather", b.constant(np.asarray(numbers, DTYPES[kind(s)])), index, axis=0)
