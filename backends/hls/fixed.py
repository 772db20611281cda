"""Floats in order, and what of them is fixed point: found from the places where the reference steps, so that it is so everywhere."""

from __future__ import annotations

import numpy as np

FLOAT_KEYS = (-0x7F800001, 0x7F800000)  # −∞ … +∞ in order; −0 is −1
MOST_EXPONENT = 100


def float_of(keys: np.ndarray) -> np.ndarray:
    """The floats at places in their order."""
    return np.where(keys < 0, (-(keys + 1)) | 0x80000000, keys).astype(np.uint32).view(np.float32)


def key_of(x: np.ndarray) -> np.ndarray:
    """The place of floats in their order, by their bits."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31, -(bits & 0x7FFFFFFF) - 1, bits)


def fixed_exponent(steps: np.ndarray, least: int) -> int | None:
    """k, where the numbers least, least + 1, … are reached as the nearest integers to x · 2^k are, halves to even."""
    values = least + 1 + np.arange(steps.size)
    if not steps.size or np.abs(values).max() > 1 << 16 or not values[-1] > 0:
        return None
    first = np.array([steps[-1]]).astype(np.uint32).view(np.float32).astype(np.float64)
    k = round(np.log2((values[-1] - 0.5) / float(first[0]))) if first[0] > 0 and np.isfinite(first[0]) else 200
    if abs(k) > MOST_EXPONENT:
        return None
    wanted = key_of((values - 0.5) * 2.0**-k) + values % 2  # a half goes up only to an even number
    return k if np.array_equal(wanted, steps) else None


def float_exponent(x: np.ndarray, y: np.ndarray) -> int | None:
    """k, where every y is x · 2^−k."""
    at = int(np.argmax(np.abs(x.astype(np.int64))))
    if not x[at] or not np.isfinite(y[at]) or not y[at]:
        return None
    k = round(np.log2(abs(float(x[at]) / float(y[at]))))
    same = (x.astype(np.float64) * 2.0**-k).astype(np.float32)
    return k if abs(k) < MOST_EXPONENT and np.array_equal(same.view(np.uint32), y.view(np.uint32)) else None
