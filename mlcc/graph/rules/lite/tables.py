"""Functions of bytes that LiteRT tabulates, or computes from small integers: tables made when the model is read."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np

from mlcc.graph.rules.lite.fixed import TOP, halved, times
from mlcc.graph.rules.lite.grid import Grid, multiplier
from mlcc.reference.elementwise import rescale

Array = np.ndarray
Table = Callable[[Grid, Grid, str, str], Array]
HALF_SQRT_2 = 1518500250  # √2 / 2, with no bit before the point


def populated(function: Callable[[Array], Array]) -> Table:
    """By binary32: LUTPopulate in kernels/internal/common.h."""

    def table(given: Grid, out: Grid, dtype: str, to: str) -> Array:
        info, wide = np.iinfo(dtype), np.iinfo(to)
        x = given.scale * (np.arange(info.min, info.max + 1) - given.zero).astype(np.float32)
        with np.errstate(all="ignore"):
            y = function(x).astype(np.float32) * (np.float32(1) / out.scale)
        rounded = np.sign(y) * np.floor(np.abs(y) + np.float32(0.5))
        return np.clip(np.nan_to_num(rounded.astype(np.float64) + out.zero, posinf=wide.max, neginf=wide.min), wide.min, wide.max)

    return table


def gelu(approximate: bool) -> Table:
    """Its own arithmetic: reference/gelu.h"""

    def tanh_form(x: Array) -> Array:
        x3 = np.float32(0.044715) * np.power(x, np.float32(3))
        return np.float32(0.5) * x * (np.float32(1) + np.tanh(np.float32(np.sqrt(np.float32(2 / np.pi))) * (x + x3)))

    def error_form(x: Array) -> Array:
        phi = np.array([0.5 * (1 + erf(float(v) / np.sqrt(2))) for v in x])
        return (x.astype(np.float64) * phi).astype(np.float32)

    return populated(tanh_form if approximate else error_form)


def elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(x), x)


def _inverse_root(value: int) -> tuple[int, int]:
    """(m, shift): 1 / √value as m · 2^(shift − 31), of a whole number. GetInvSqrtQuantizedMultiplierExp in kernels/internal/common.cc."""
    if value <= 1:
        return TOP, 0
    shift = 11
    while value >= 1 << 29:
        value, shift = value // 4, shift + 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    value, shift = value << 2 * pairs, shift - pairs
    given = value >> 1  # three bits before the point, as all that follows
    half, x = int(halved(given, 1)), 1 << 28

    def three(raw: int, bits: int) -> int:
        return int(np.clip(raw << (bits - 3), -(1 << 31), TOP))

    for _ in range(5):
        cube = three(int(times(times(x, x), x)), 9)
        x = three(int(times((1 << 28) + (1 << 27), x)) - int(times(half, cube)), 6)
    m = int(times(x, HALF_SQRT_2))
    return (m << -shift, 0) if shift < 0 else (m, -shift)


def rsqrt(given: Grid, out: Grid, dtype: str, to: str) -> Array:
    """Steps from zero as whole numbers; what is not above zero gives the most. RsqrtEvalQuantized in kernels/elementwise.cc."""
    info, wide, bits = np.iinfo(dtype), np.iinfo(to), 20
    m, shift = multiplier(float(np.float32(1.0 / (np.sqrt(given.scale) * out.scale))))
    found = []
    for value in range(info.min - given.zero, info.max - given.zero + 1):
        if value <= 0:
            found.append(wide.max)
            continue
        root, up = _inverse_root(value)
        fine = rescale(np.array(1, np.int32), np.array(root, np.int32), np.array(up + bits, np.int32))
        y = int(rescale(np.array(fine, np.int32), np.array(m, np.int32), np.array(int(shift) - bits, np.int32))) + out.zero
        found.append(min(max(y, wide.min), wide.max))
    return np.array(found)
