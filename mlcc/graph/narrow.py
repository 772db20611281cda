"""Reading and writing narrow types (`mlcc.core.narrow`): reading one is a table, writing one a search among the
points where the rounding changes; both are core operators, so that every target has the types, exactly.

Sources: ONNX, docs/docsgen/source/technical/float8.md, float4.md, int4.md; OCP 8-bit Floating Point Specification (2023).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.core.narrow import FLOATS, INTEGERS, TEXT, held, numpy_type
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value


@cache
def values(element: str) -> np.ndarray:
    """The number of each code, binary32."""
    return np.arange(1 << FLOATS[element], dtype=np.uint8).view(numpy_type(element)).astype(np.float32)


def decoded(b: Builder, x: Value) -> Value:
    """A narrow value's numbers: float32, or the integers as they are held. Raises Error(unsupported) for text."""
    if x.element == TEXT:
        raise Error("unsupported", "arithmetic on text", b.origin, "text can be compared, moved and looked up in tables")
    if x.element in INTEGERS:
        return _wrapped(b, replace(x, element=""), x.element)
    return b("Gather", b.constant(values(x.element)), replace(x, element=""), axis=0)


def encoded(b: Builder, x: Value, element: str, saturate: bool = True, mode: str = "up") -> Value:
    """x, of any type, rounded half to even to the nearest narrow number. Floats beyond the range become the largest number (`saturate`),
    else infinity or NaN where the type has them; mode: how float8_e8m0 rounds. Integers wrap, as floats do that were cut off."""
    if x.element == element:
        return x
    if x.element:
        x = decoded(b, x)
    if element in INTEGERS:
        if x.dtype.startswith(("float", "bfloat")):
            x = b.cast(x, "int32")
        return replace(_wrapped(b, b.cast(x, held(element)), element), element=element)
    wide = "float64" if x.dtype in ("float64", "int32", "uint32", "int64", "uint64") else "float32"
    x = b.cast(x, wide)
    made = _powers(b, x, saturate, mode) if element == "float8_e8m0fnu" else _floats(b, x, element, saturate)
    return replace(b.cast(made, "uint8"), element=element)


def _wrapped(b: Builder, x: Value, element: str) -> Value:
    """The lowest bits, with their sign."""
    bits = INTEGERS[element]
    low = b("BitwiseAnd", x, b.like((1 << bits) - 1, x))
    if element.startswith("u"):
        return low
    return b("Where", b("Less", low, b.like(1 << (bits - 1), x)), low, b("Sub", low, b.like(1 << bits, x)))


@cache
def _steps(element: str, dtype: str) -> tuple[np.ndarray, int]:
    """(from which size on each positive code is the nearest, the code of the largest number), ties to even codes."""
    count = 1 << (FLOATS[element] - 1)
    sizes = values(element)[:count].astype(np.float64)
    last = int(np.flatnonzero(np.isfinite(sizes))[-1])
    sizes = np.append(sizes[: last + 1], 2 * sizes[last] - sizes[last - 1])  # where the next number would be
    table = np.full(2 * count, np.nan, DTYPES[dtype])
    for code in range(1, last + 2):
        middle = table.dtype.type((sizes[code - 1] + sizes[code]) / 2)  # exact: no narrow number has as many bits
        table[code] = middle if code % 2 == 0 else np.nextafter(middle, table.dtype.type(np.inf))
    return table, last


def searched(b: Builder, x: Value, ascending: np.ndarray) -> Value:
    """int32: the last place of an ascending list whose number is not above x; 0 where there is none. A NaN in the list is above all."""
    where, table = b.expand(b.constant(np.int32(0)), x.shape), b.constant(ascending)
    step = 1 << max(0, ascending.size - 1).bit_length() >> 1
    while step:
        at = b("Add", where, b.like(step, where))
        beyond = at if (ascending.size & (ascending.size - 1)) == 0 else b("Min", at, b.like(ascending.size - 1, at))
        reached = b("LessOrEqual", b("Gather", table, beyond, axis=0), x)
        where = b("Where", reached, beyond, where)
        step //= 2
    return where


def _floats(b: Builder, x: Value, element: str, saturate: bool) -> Value:
    table, last = _steps(element, x.dtype)
    zero = b.like(0, x)
    size = b("Abs", x)
    code = searched(b, size, table)
    top = b.like(last, code)
    numbers = values(element)
    nan = np.flatnonzero(np.isnan(numbers))
    inf = np.flatnonzero(np.isposinf(numbers))
    beyond = top
    if not saturate and nan.size:
        beyond = b.like(int(inf[0]) if inf.size else int(nan[0]), code)
    infinite = b("Equal", size, b.like(np.inf, x))
    code = b("Where", b("Or", b("Less", top, code), infinite), beyond, code)
    sign = 1 << (FLOATS[element] - 1)
    negative = b("Or", b("Less", x, zero), b("And", b("Equal", x, zero), b("Less", b("Div", b.like(1, x), x), zero)))
    if element.endswith("fnuz"):  # one zero, and its negative is the NaN
        negative = b("And", negative, b("Less", b.like(0, code), code))
        code = b("Where", b("And", negative, b("Less", code, b.like(sign, code))), b("Add", code, b.like(sign, code)), code)
    else:
        code = b("Where", negative, b("Add", code, b.like(sign, code)), code)
    if nan.size:
        return b("Where", b("IsNaN", x), b.like(int(nan[0]), code), code)
    return b("Where", b("IsNaN", x), b.like(sign, code), code)  # no NaN: as ml_dtypes, the negative zero


def _powers(b: Builder, x: Value, saturate: bool, mode: str) -> Value:
    """float8_e8m0: 2^(code − 127), the sign left out; rounded up, down, or to the nearest (half up)."""
    if mode not in ("up", "down", "nearest"):
        raise Error("model", f"round_mode {mode}", b.origin)
    size, number = b("Abs", x), DTYPES[x.dtype].type
    powers = np.ldexp(number(1), np.arange(-127, 128))
    table = np.full(256, np.nan, number)
    table[1:255] = (
        powers[1:] if mode == "down" else powers[:-1] * number(1.5) if mode == "nearest" else np.nextafter(powers[:-1], number(np.inf))
    )
    code = searched(b, size, table)
    special = b("Or", b("IsNaN", x), b("Equal", size, b.like(np.inf, x)))
    if not saturate and mode != "down":
        limit = powers[-1] * number(1.5) if mode == "nearest" else np.nextafter(powers[-1], number(np.inf))
        special = b("Or", special, b("LessOrEqual", b.constant(limit), size))
    return b("Where", special, b.like(255, code), code)
