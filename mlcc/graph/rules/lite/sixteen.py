"""int16 activations, and how LiteRT scales their sums: in 64 bits beside a bias of 64, else in 32. Zero points are 0.

Products of 16 and 8 bits are summed in binary64: every such sum is a whole number below 2^53, so nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.lite.grid import Grid, away, multiplier, needed, placed, product_scale, rescaled
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source


def scaled(s: Source, acc: Value, real: np.ndarray | float, axis: int) -> Value:
    """int64 times real numbers in fixed point of 15 bits, rounded half up; one, or one for each index of an axis.
    MultiplyByQuantizedMultiplier(int64_t, …) in kernels/internal/common.cc."""
    b = s.b
    m, shift = (np.atleast_1d(v).astype(np.int64) for v in multiplier(real))
    m = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    place = [-1 if i == axis % acc.rank else 1 for i in range(acc.rank)] if m.size > 1 else []
    m, down = m.reshape(place), (15 - shift).reshape(place)
    rounded = b("Add", b("Mul", acc, b.constant(m)), b.constant(np.left_shift(np.int64(1), down - 1)))
    return b.cast(run(s, "BitShift", rounded, b.constant(down), direction="RIGHT"), "int32")


INT32 = 2  # as the schema numbers types
Grids = tuple[Grid, Grid, Grid]  # of the image or the rows, of the weights, of the result


def _sums(s: Source, acc: Value, bias: Value | None, grids: Grids, axis: int) -> tuple[Value, np.ndarray]:
    """(exact sums in binary64 as integers of the bias' width, what a step of theirs is in steps of the result)."""
    b, (given, kernel, out) = s.b, grids
    if given.zero or out.zero:
        raise s.unsupported("int16 with a zero point", "quantise activations symmetrically")
    said = int(s.attr("quantized_bias_type", 0))
    wide = said != INT32 if bias is None else bias.dtype == "int64"  # https://github.com/google-ai-edge/LiteRT/issues/129
    if bias is not None and not wide and said != INT32:  # LiteRT's reference kernels then read it as one of 64 bits
        raise s.unsupported("a bias of 32 bits that the options do not speak of, beside int16 activations", "convert the model again")
    acc = b.cast(b.cast(acc, "int64"), "int64" if wide else "int32")
    if bias is not None:
        acc = b("Add", acc, b.reshape(bias, [bias.shape[0] if i == axis % acc.rank else 1 for i in range(acc.rank)]))
    return acc, product_scale(given, kernel, out)


def convolved(s: Source, x: Value, w: Value, bias: Value | None, grids: Grids, activation: int, how: dict[str, Any]) -> Value:
    """Of images with channels first. reference/integer_ops/conv.h"""
    b = s.b
    if bias is None:
        raise s.unsupported("no bias beside int16 activations", "LiteRT refuses it: convert the model with one")
    acc, real = _sums(s, run(s, "Conv", b.cast(x, "float64"), b.cast(w, "float64"), None, **how), bias, grids, 1)
    return placed(s, scaled(s, acc, real, 1) if acc.dtype == "int64" else rescaled(b, acc, real, 1), grids[2], activation)


def multiplied(s: Source, x: Value, w: Value, bias: Value | None, grids: Grids, activation: int) -> Value:
    """x · w, rows of features by [features, results]; scaled in binary64, as fully_connected.cc does."""
    b = s.b
    acc, real = _sums(s, run(s, "MatMul", b.cast(x, "float64"), b.cast(w, "float64")), bias, grids, -1)
    y = away(b, b("Mul", b.cast(acc, "float64"), b.constant(real if real.size > 1 else real.reshape(()))))
    limit = b.like(2.0**24, y)  # beyond the type
    return placed(s, b.cast(b("Max", b("Min", y, limit), b("Neg", limit)), "int32"), grids[2], activation)


def powers_of_two(*grids: Grid) -> bool:
    """Whether all scales are such: older files then mean another way to add."""
    return all(np.frexp(float(g.scale))[0] == 0.5 for g in grids)


# What LiteRT looks logistic and tanh up in: 65536 · sigmoid(i / 24), rounded, but for these, which are one more (sigmoid_table_uint16 in
# kernels/internal/common.cc, as its kernels were seen to use it).
MORE = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39,
    40, 41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)  # fmt: skip


def _sigmoids() -> np.ndarray:
    found = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24)) + 0.5).astype(np.int32)
    found[list(MORE)] += 1
    return found


def _places(s: Source, x: Value, scale: np.float32, shifts: tuple[int, ...]) -> Value:
    """int32: steps of 1 / (3 · 4096). SigmoidPrepare and TanhPrepare in activations.cc."""
    b, (fraction, exponent) = s.b, np.frexp(float(scale))
    up, down = int(exponent) - 1 + 12, 0
    if fraction == 0.5 and up in shifts:
        times = 3 << up
    else:
        real = float(scale) * 4096.0 * 3.0
        while real <= 32767.0 / 2.0 and down <= 30:
            real, down = real * 2.0, down + 1
        times = int(real)
    y = b("Mul", b.cast(x, "int32"), b.constant(np.int32(times)))
    if not down:
        return y
    return run(s, "BitShift", b("Add", y, b.constant(np.int32(1 << (down - 1)))), b.constant(np.int32(down)), direction="RIGHT")


def _between(s: Source, size: Value, bits: int, most: int) -> Value:
    """The table at size / 2^bits, in a straight line between entries; `most` behind its end. Times 2^bits."""
    b = s.b
    whole = run(s, "BitShift", size, b.constant(np.int32(bits)), direction="RIGHT")
    part = run(s, "BitwiseAnd", size, b.constant(np.int32((1 << bits) - 1)))
    at, table = b("Min", whole, b.constant(np.int32(254))), _sigmoids()
    low, step = (b("Gather", b.constant(t), at, axis=0) for t in (table[:-1], np.diff(table)))
    found = b("Add", b("Mul", low, b.constant(np.int32(1 << bits))), b("Mul", part, step))
    return b("Where", b("LessOrEqual", b.constant(np.int32(255)), whole), b.constant(np.int32(most << bits)), found)


def logistic(s: Source, x: Value, given: Grid) -> Value:
    """In steps of 2^-15. reference/integer_ops/logistic.h"""
    b, place = s.b, _places(s, x, given.scale, (0,))
    found = _between(s, b("Abs", place), 9, 0x7FFF << 1)
    below = b("Sub", b.constant(np.int32((1 << 25) + (1 << 9) - 1)), found)
    y = b("Where", b("Less", place, b.like(0, place)), below, b("Add", found, b.constant(np.int32(1 << 9))))
    return b.cast(run(s, "BitShift", y, b.constant(np.int32(10)), direction="RIGHT"), "int16")


def tanh(s: Source, x: Value, given: Grid) -> Value:
    """In steps of 2^-15: twice the logistic of twice the number, less one. reference/integer_ops/tanh.h"""
    b, place = s.b, _places(s, x, given.scale, (0, 1))
    found = _between(s, b("Abs", place), 8, 0xFFFF)
    half, one = np.int32(1 << 7), np.int32(1 << 23)
    below = b("Sub", b.constant(np.int32(one + half - 1)), found)
    y = b("Where", b("Less", place, b.like(0, place)), below, b("Sub", found, b.constant(np.int32(one - half))))
    return b.cast(run(s, "BitShift", y, b.constant(np.int32(8)), direction="RIGHT"), "int16")


FUNCTIONS: dict[str, Callable[[Source, Value, Grid], Value]] = {"Sigmoid": logistic, "Tanh": tanh}


def function(s: Source, op: str) -> Value | None:
    """A function of int16 activations; None where LiteRT has none."""
    given, out = needed(s, 0), needed(s, 0, "out")
    if op not in FUNCTIONS:
        return None
    if given.zero or out.zero or float(out.scale) != 2.0**-15:
        raise s.unsupported(f"{s.op} of int16 in steps of {out.scale}", "quantise its result in steps of 1/32768, without a zero point")
    return FUNCTIONS[op](s, s[0], given)
