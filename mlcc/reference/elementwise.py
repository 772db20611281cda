"""Elementwise operators of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.core.graph import DTYPES
from mlcc.error import Error
from mlcc.reference import native

Array = np.ndarray


def storage(function: Callable[..., Array]) -> Callable[..., Array]:
    """float16 and bfloat16 are storage: compute in float32, round once."""

    def wrapped(*args: Array) -> Array:
        dtype = args[0].dtype
        if dtype.itemsize == 2 and dtype.kind not in "iu":
            return function(*(a.astype(np.float32) for a in args)).astype(dtype)
        return function(*args)

    return wrapped


def divide(a: Array, b: Array) -> Array:
    """IEEE for floats; integers truncate, x / 0 = 0 and overflow wraps, so that no input can trap."""
    if a.dtype.kind == "f":
        return a / b
    a, b = np.broadcast_arrays(a, b)
    if a.dtype.kind == "u":
        return np.where(b == 0, 0, a // np.where(b == 0, 1, b)).astype(a.dtype)
    minus = b == -1
    safe = np.where((b == 0) | minus, 1, b)
    quotient = np.floor_divide(a, safe)
    quotient = quotient + ((quotient * safe != a) & ((a < 0) != (safe < 0)))
    return np.where(b == 0, 0, np.where(minus, 0 - a, quotient)).astype(a.dtype)


def fmod(a: Array, b: Array) -> Array:
    """The remainder with the dividend's sign; integers: 0 for b = 0."""
    if a.dtype.kind == "f":
        return np.fmod(a, b)
    return (a - divide(a, b) * b) * (b != 0).astype(a.dtype)


def modulo(a: Array, b: Array) -> Array:
    """The remainder with the divisor's sign (Python's %)."""
    rest = fmod(a, b)
    return np.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest).astype(a.dtype)


def shift(a: Array, b: Array, left: bool) -> Array:
    """Logical shifts of unsigned integers; by the width or more gives 0."""
    bits = a.dtype.itemsize * 8
    small = np.minimum(b, bits - 1)
    return np.where(b >= bits, 0, a << small if left else a >> small).astype(a.dtype)


def cast(a: Array, to: str) -> Array:
    """Float to integer truncates and saturates, NaN becomes 0; integer to integer wraps; to bool: not equal to zero."""
    dtype = DTYPES[to]
    if dtype.kind == "b":
        return a != 0
    source_float = a.dtype.kind == "f" or a.dtype == DTYPES["bfloat16"]
    if dtype.kind in "iu" and source_float:
        wide = a.astype(np.float64)
        info = np.iinfo(dtype)
        top = np.float64(info.max) if dtype.itemsize < 8 else np.nextafter(np.float64(info.max), 0)
        inside = np.clip(np.where(np.isnan(wide), 0, np.trunc(wide)), float(info.min), top)
        return np.where(wide >= float(info.max), info.max, inside.astype(dtype)).astype(dtype)
    if dtype == DTYPES["bfloat16"] or (dtype == np.float16 and a.dtype != np.float64):
        return a.astype(np.float32).astype(dtype)
    return a.astype(dtype)


def bit_cast(a: Array, to: str) -> Array:
    """The bits in another type of the same width; every NaN as the quiet one."""
    if a.dtype.kind == "f" or a.dtype == DTYPES["bfloat16"]:
        a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a)
    return np.ascontiguousarray(a).view(DTYPES[to]).reshape(a.shape)


def requantize(x: Array, scale: Array, to: str, zero: int, low: int, high: int) -> Array:
    """round(binary32(x) · scale) + zero between the bounds; 0 · ∞ gives the lower one."""
    rounded = np.rint(x.astype(np.float32) * scale).astype(np.float64)
    return np.clip(np.where(np.isnan(rounded), -np.inf, rounded) + zero, low, high).astype(DTYPES[to])


def rescale(x: Array, multiplier: Array, shift: Array) -> Array:
    """x · multiplier · 2^(shift − 31), rounded twice, as gemmlowp does: first half up, then half away from zero."""
    x, multiplier, shift = np.broadcast_arrays(x, multiplier, shift)
    left, right = np.where(shift > 0, shift, 0) & 31, np.where(shift < 0, -shift, 0) & 31
    product = np.left_shift(x, left).astype(np.int64) * multiplier
    high = np.floor_divide(product + 2**30, 2**31).astype(np.int32).astype(np.int64)
    divisor = np.int64(1) << right.astype(np.int64)
    magnitude = (2 * abs(high) + divisor) // (2 * divisor)
    return (np.sign(high) * magnitude).astype(np.int32)


def elementary(name: str) -> Callable[..., Array]:
    def run(*args: Array) -> Array:
        if args[0].dtype not in (np.float32, np.float64):
            raise Error("unsupported", f"{name} of {args[0].dtype}", hint="cast to float32")
        return native.elementary(name, *args)

    return run


def where(c: Array, a: Array, b: Array) -> Array:
    return np.where(c, a, b)


TABLE: dict[str, Callable[..., Any]] = {
    "Add": storage(np.add),
    "Sub": storage(np.subtract),
    "Mul": storage(np.multiply),
    "Div": storage(divide),
    "Min": lambda a, b: np.where((a < b) | (a != a), a, b),
    "Max": lambda a, b: np.where((b < a) | (a != a), a, b),
    "Mod": modulo,
    "Fmod": storage(fmod),
    "Neg": lambda a: np.negative(a),
    "Abs": np.abs,
    "Sqrt": storage(np.sqrt),
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Relu": lambda a: np.where(a < 0, np.zeros((), a.dtype), a),
    "Identity": lambda a: a,
    **{name: elementary(name) for name in SEQUENCES},
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "BitwiseNot": np.invert,
    "ShiftLeft": lambda a, b: shift(a, b, True),
    "ShiftRight": lambda a, b: shift(a, b, False),
    "IsNaN": np.isnan,
    "Where": where,
    "Rescale": rescale,
}
