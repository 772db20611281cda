"""int16 activations, and how LiteRT scales their sums: in 64 bits beside a bias of 64, else in 32. Zero points are 0.

Products of 16 and 8 bits are summed in binary64: every such sum is a whole number below 2^53, so nothing is rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.lite.grid import Grid, away, multiplier, placed, rescaled
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
    wide, said = bias is not None and bias.dtype == "int64", int(s.attr("quantized_bias_type", 0))
    if bias is not None and not wide and said != INT32:  # LiteRT's reference kernels then read it as one of 64 bits
        raise s.unsupported("a bias of 32 bits that the options do not speak of, beside int16 activations", "convert the model again")
    acc = b.cast(b.cast(acc, "int64"), "int64" if wide else "int32")
    if bias is not None:
        acc = b("Add", acc, b.reshape(bias, [bias.shape[0] if i == axis % acc.rank else 1 for i in range(acc.rank)]))
    return acc, np.float64(given.scale) * np.array(kernel.scales, np.float64) / np.float64(out.scale)


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
