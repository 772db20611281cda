"""Operators and conversions of single numbers: their sequences, interpreted, are the reference's (which says the same by itself)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcc.arithmetic import scalar
from mlcc.arithmetic.scalar import FLOATS, HALF, stored
from mlcc.arithmetic.sequence import OPERATIONS, Sequence
from mlcc.core.graph import DTYPES, canonical_bytes
from mlcc.reference import elementwise
from tests.reference.test_native import interpret

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
NUMBERS = (*FLOATS, *HALF, *INTEGERS)
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
OF = {  # operator → the types that it takes
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Min", "Max", "Neg", "Abs", "Relu", "Equal", "Less", "LessOrEqual", "Where"), NUMBERS),
    **dict.fromkeys(("Mod",), INTEGERS),
    **dict.fromkeys(("Fmod",), (*FLOATS, *INTEGERS)),
    **dict.fromkeys(("Sqrt", "Floor", "Ceil", "Round"), FLOATS),
    **dict.fromkeys(("IsNaN",), (*FLOATS, *HALF)),
    **dict.fromkeys(("And", "Or", "Xor", "Not"), ("bool",)),
    **dict.fromkeys(BITWISE, INTEGERS),
    **dict.fromkeys(("ShiftLeft", "ShiftRight"), ("uint8", "uint16", "uint32", "uint64")),
    "Identity": (*NUMBERS, "bool"),
    "Rescale": ("int32",),
}


def values(dtype: str, seed: int, count: int = 4000) -> np.ndarray:
    """Any bits, small numbers, and each type's edges."""
    r, t = np.random.default_rng(seed), DTYPES[dtype]
    if dtype == "bool":
        return r.integers(0, 2, 3 * count).astype(bool)
    raw = r.integers(0, 256, (count, t.itemsize), np.uint8).view(t).reshape(-1)
    small = (r.standard_normal(count) * 20).astype(t)
    if t.kind in "iu":
        edges = np.array([np.iinfo(t).min, np.iinfo(t).max, 0, 1, np.iinfo(t).max - 1], t)
    else:
        limits = [float(s * 2.0**b + d) for b in (7, 8, 15, 16, 31, 32, 63, 64) for s in (1, -1) for d in (0, -1, 1, 0.5)]
        edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, 65504, 65520, 6e-8, 1e-45, 2.0**-55, *limits]).astype(t)
    return np.concatenate([raw, small, r.choice(edges, count)])


def held(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.view(np.uint16) if dtype in HALF else array


def check(s: Sequence, operands: list[np.ndarray], want: Any, dtype: str) -> None:
    assert {i.op for i in s.instructions} <= set(OPERATIONS) and s.dtype == stored(dtype)
    got = interpret(s, operands)
    got = got.view(DTYPES[dtype]) if dtype in HALF else got
    want = np.asarray(want).astype(DTYPES[dtype])
    if canonical_bytes(got) != canonical_bytes(want):
        wrong = np.flatnonzero(~((got == want) & (np.signbit(got) == np.signbit(want)) | (got != got) & (want != want)))[:5]
        raise AssertionError([[*(str(x[w]) for x in operands), str(got[w]), str(want[w])] for w in wrong])


@pytest.mark.parametrize("op", sorted(scalar.OPERATORS))
def test_operators(op: str) -> None:
    for n, dtype in enumerate(OF[op]):
        arity = len(scalar.scalar(op, dtype).arguments)
        operands = [values("bool" if op == "Where" and i == 0 else dtype, 10 * n + i) for i in range(arity)]
        with np.errstate(all="ignore"):
            want = elementwise.TABLE[op](*operands)
        result = "bool" if op in ("Equal", "Less", "LessOrEqual", "IsNaN") else dtype
        check(scalar.scalar(op, dtype), [held(x, "bool" if x.dtype == bool else dtype) for x in operands], want, result)


@pytest.mark.parametrize("source", [*NUMBERS, "bool"])
def test_conversions(source: str) -> None:
    for n, to in enumerate((*NUMBERS, "bool")):
        x = values(source, n)
        with np.errstate(all="ignore"):
            check(scalar.cast(source, to), [held(x, source)], elementwise.cast(x, to), to)


def test_requantisation() -> None:
    x, scale = values("int32", 0), values("float32", 1)
    for to, zero, low, high in (("int8", -3, -128, 127), ("uint8", 128, 0, 255), ("int8", 0, -5, 100)):
        with np.errstate(all="ignore"):
            want = elementwise.requantize(x, scale, to, zero, low, high)
        rest = [np.full(x.shape, v, np.int32) for v in (zero, low, high)]
        check(scalar.REQUANTIZE, [x, scale, *rest], want.astype(np.int32), "int32")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_indices(dtype: str) -> None:
    x, s = values(dtype, 3), scalar.in_range(dtype)
    for extent in (1, 2, 100):
        whole = x.astype(object)
        want = np.array([min(max(v + extent if v < 0 else v, 0), extent - 1) for v in whole], np.int32)
        check(s, [x, np.full(x.shape, extent - 1, s.arguments[1])], want, "int32")


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes_are_those_of_ieee_754(dtype: str) -> None:
    """NaN wins, +0 is above −0."""
    a, b = values(dtype, 4), values(dtype, 5)
    for kind, better in (("ReduceMax", np.greater), ("ReduceMin", np.less)):
        zero = (a == b) & (a == 0)
        plain = np.where(better(a, b) | np.isnan(a), a, b)
        large = kind == "ReduceMax"
        signed = np.where(np.signbit(a) & np.signbit(b) if large else np.signbit(a) | np.signbit(b), -0.0, 0.0)
        check(scalar.combining(kind, dtype), [a, b], np.where(zero, signed, plain), dtype)
