"""Elementary functions of fixed-point numbers as gemmlowp computes them, which LiteRT's reference kernels for bytes are made of.

https://github.com/google/gemmlowp/blob/master/fixedpoint/fixedpoint.h. Numbers are int32 with k bits before the point, held in int64 here.
What depends on bytes alone is tabulated when the model is read; a softmax's reciprocal is computed by the program.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules.lite.grid import Grid, high_product, multiplier
from mlcc.reference.elementwise import rescale

Array = np.ndarray
TOP, BOTTOM = (1 << 31) - 1, -(1 << 31)
ONE_EIGHTH_LESS, ONE_THIRD = 1895147668, 715827883  # exp(−1/8), 1/3
POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}  # exp(−2^n)
NEWTON = 1515870810, -1010580540  # 48/17 and −32/17, two bits before the point: where division by Newton's iteration starts


def times(a: Any, b: Any) -> Any:
    """SaturatingRoundingDoublingHighMul."""
    return np.right_shift(np.asarray(a, np.int64) * b + (1 << 30), 31)


def halved(x: Any, bits: int) -> Any:
    """RoundingDivideByPOT: half away from zero."""
    return np.sign(x) * ((2 * abs(x) + (1 << bits)) >> (bits + 1))


def _doubled(x: Array, bits: int) -> Array:
    return np.clip(x << bits, BOTTOM, TOP)


def exponential(a: Array, whole_bits: int) -> Array:
    """exp of numbers that are not positive, with no bit before the point: exp_on_negative_values."""
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - whole_bits
    quarter = 1 << (fraction_bits - 2)
    rest = (a & (quarter - 1)) - quarter
    x = _doubled(rest, whole_bits) + (1 << 28)
    x2 = times(x, x)
    x3, x4 = times(x2, x), times(x2, x2)
    series = halved(times(halved(x4, 2) + x3, ONE_THIRD) + x2, 1)
    y = ONE_EIGHTH_LESS + times(ONE_EIGHTH_LESS, x + series)
    for power, factor in POWERS.items():
        if whole_bits > power:
            y = np.where((rest - a) & (1 << (fraction_bits + power)), times(y, factor), y)
    if whole_bits > 5:
        y = np.where(a < -(1 << (fraction_bits + 5)), 0, y)
    return np.where(a == 0, TOP, y)


def _half_denominator(a: Array) -> Array:
    return (a + TOP + 1) >> 1


def _reciprocal(half: Array) -> Array:
    """1 / half, two bits before the point."""
    x = NEWTON[0] + times(half, NEWTON[1])
    for _ in range(3):
        x = x + _doubled(times(x, (1 << 29) - times(half, x)), 2)
    return x


def logistic(a: Array, whole_bits: int) -> Array:
    above = _doubled(_reciprocal(_half_denominator(exponential(-abs(a), whole_bits))), 1)
    return np.where(a == 0, 1 << 30, np.where(a > 0, above, TOP - above))


def hyperbolic_tangent(a: Array, whole_bits: int) -> Array:
    size = _doubled(_reciprocal(_half_denominator(exponential(-abs(a), whole_bits + 1))) - (1 << 29), 2)
    return np.where(a == 0, 0, np.where(a < 0, -size, size))


# tables of bytes


def _bytes(dtype: str) -> Array:
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1, dtype=np.int64)


def radius(whole_bits: int, left_shift: int) -> int:
    """Numbers beyond it saturate: CalculateInputRadius."""
    return int(np.floor(((1 << whole_bits) - 1) * 2.0 ** (31 - whole_bits) / 2.0**left_shift))


def _by_fixed_point(given: Grid, dtype: str, function: object, out_bits: int, zero: int) -> Array:
    m, shift = multiplier(float(given.scale) * 2.0**27)
    x = _bytes(dtype) - given.zero
    info, most = np.iinfo(dtype), radius(4, int(shift))
    scaled = rescale(x.astype(np.int32), m, shift).astype(np.int64)
    y = halved(function(scaled, 4), 31 - out_bits) + zero  # type: ignore[operator]
    return np.where(x <= -most, info.min, np.where(x >= most, info.max, np.clip(y, info.min, info.max)))


def logistic_table(given: Grid, out: Grid, dtype: str, to: str) -> Array:
    """reference/integer_ops/logistic.h: the result is in steps of 1/256."""
    return _by_fixed_point(given, dtype, logistic, 8, int(np.iinfo(dtype).min))


def tanh_table(given: Grid, out: Grid, dtype: str, to: str) -> Array:
    """reference/integer_ops/tanh.h: the result is in steps of 1/128."""
    return _by_fixed_point(given, dtype, hyperbolic_tangent, 7, 0 if dtype == "int8" else 128)


# softmax


def softmax(b: Builder, x: Value, scale: float, beta: float, to: str) -> Value:
    """Of bytes along the last axis, in steps of 1/256 (of int16: 1/65536). reference/softmax.h"""
    m, shift = multiplier(min(beta * scale * 2.0**26, float(TOP)))
    shift = np.maximum(shift, 0)
    differences = np.arange(-255, 1)
    scaled = rescale(differences.astype(np.int32), m, shift).astype(np.int64)
    powers = np.where(differences >= -radius(5, int(shift)), exponential(scaled, 5), 0)
    wide, axes = b.cast(x, "int32"), (x.rank - 1,)
    place = b("Add", b("Sub", wide, b("ReduceMax", wide, axes=axes)), _int(b, 255))
    each, parts = (b("Gather", b.constant(v.astype(np.int32)), place, axis=0) for v in (powers, halved(powers, 12)))
    factor, over = _one_over(b, b("ReduceSum", parts, axes=axes), 12)
    info, bits = np.iinfo(to), 16 if to == "int16" else 8
    y = b("Rescale", each, factor, b("Sub", _int(b, bits - 31), over))
    y = b("Add", y, _int(b, info.min))
    return b.cast(b("Min", b("Max", y, _int(b, info.min)), _int(b, info.max)), to)


def _int(b: Builder, number: int) -> Value:
    return b.constant(np.int32(number))


def _one_over(b: Builder, total: Value, whole_bits: int) -> tuple[Value, Value]:
    """(1 / total with no bit before the point, how many bits total is above one): GetReciprocal. total is one or more."""
    zeros = _int(b, 1)  # before the highest bit
    for bit in range(32 - whole_bits, 31):
        zeros = b("Add", zeros, b.cast(b("Less", total, _int(b, 1 << bit)), "int32"))
    powers = np.array([1 << k for k in range(31)] + [BOTTOM], np.int64).astype(np.int32)
    raised = b("Mul", total, b("Gather", b.constant(powers), zeros, axis=0))  # the highest bit at the sign's place
    half = b("Add", b("Div", b("Sub", raised, _int(b, BOTTOM)), _int(b, 2)), _int(b, 1 << 30))
    x = b("Add", _int(b, NEWTON[0]), high_product(b, half, _int(b, NEWTON[1])))
    for _ in range(3):
        rest = b("Sub", _int(b, 1 << 29), high_product(b, half, x))
        x = b("Add", x, b("Mul", high_product(b, x, rest), _int(b, 4)))
    above = b("LessOrEqual", _int(b, 1 << 30), x)
    return b("Where", above, _int(b, TOP), b("Mul", x, _int(b, 2))), b("Sub", _int(b, whole_bits), zeros)


def hard_swish_table(given: Grid, out: Grid, dtype: str, to: str) -> Array:
    """x · (clamped x + 3) / 6 with 15 bits behind the point. reference/hard_swish.h"""
    fine = np.float32(1 / 128) * given.scale
    info = np.iinfo(dtype)
    x = (np.arange(info.min, info.max + 1, dtype=np.int64) - given.zero) << 7

    def parts(real: np.float32) -> tuple[int, int]:
        m, shift = (int(v) for v in multiplier(float(real)))
        return (1 << 15) - 1 if m >= TOP - (1 << 15) else (m + (1 << 15)) >> 16, shift

    def high(a: Array, b: Any) -> Array:
        return np.minimum((a * b + (1 << 14)) >> 15, (1 << 15) - 1)

    (m, shift), (n, up) = parts(np.float32(fine / out.scale)), parts(np.float32(fine / np.float32(3 / 32768)))
    ends = -(1 << 15), (1 << 15) - 1
    gate = np.clip(x << (up - 1), *ends) if up > 0 else x
    gate = high(gate, n)
    gate = np.clip(gate << 1, *ends) if up > 0 else halved(gate, -up) if up < 0 else gate
    gate = (gate + (1 << 15)) >> 1
    product = gate * high(x, m)
    scaled = np.sign(product) * (abs(product) >> 15)
    y = (halved(scaled, -shift) if shift < 0 else scaled << shift) + out.zero
    ends = np.iinfo(to).min, np.iinfo(to).max
    return np.clip(y, *ends)
