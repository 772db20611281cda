"""The reference's C loops against an emulation of fma in NumPy, and the printed sequences against their interpretation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.core.graph import canonical_bytes
from mlcc.reference import native
from tests.support import numbers


def emulated_fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The product is exact in binary64; the sum is rounded to odd there, then once (Boldo and Melquiond 2008)."""
    with np.errstate(all="ignore"):
        p, q = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
        s = p + q
        back = s - p
        error = (p - (s - back)) + (q - back)
        bits = np.ascontiguousarray(s).view(np.int64)
        inexact = ((error < 0) | (error > 0)) & (bits & 1 == 0)
        odd = bits + np.where(inexact, np.where((error > 0) == (s > 0), 1, -1), 0)
        return odd.view(np.float64).astype(np.float32)


def interpret(s: Sequence, arguments: list[np.ndarray]) -> np.ndarray:
    """A sequence, instruction by instruction, in NumPy."""
    values: list[np.ndarray] = []

    def shift(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
        unsigned = np.uint32 if a.dtype == np.int32 else np.uint64
        width = a.dtype.itemsize * 8
        if kind == "sar":
            return a >> b
        u, n = np.broadcast_arrays(a.astype(unsigned), b.astype(unsigned))
        out = np.where(n < width, (u << (n % unsigned(width))) if kind == "shl" else (u >> (n % unsigned(width))), unsigned(0))
        return out.astype(unsigned).astype(a.dtype)

    def run(i: Instruction) -> np.ndarray:
        x = [values[o] for o in i.operands]
        match i.op:
            case "arg":
                return arguments[int(i.value or 0)]
            case "const":
                return np.array(i.value, i.dtype)
            case "add":
                return x[0] + x[1]
            case "sub":
                return x[0] - x[1]
            case "mul":
                return x[0] * x[1]
            case "div":
                return x[0] / x[1]
            case "fma":
                return emulated_fma(*(np.asarray(v, np.float32) for v in np.broadcast_arrays(*x)))
            case "sqrt":
                return np.sqrt(x[0])
            case "neg":
                return -x[0]
            case "abs":
                return np.abs(x[0])
            case "and":
                return x[0] & x[1]
            case "or":
                return x[0] | x[1]
            case "xor":
                return x[0] ^ x[1]
            case "not":
                return ~x[0]
            case "shl" | "sar" | "shr":
                return shift(np.asarray(x[0]), np.asarray(x[1]), i.op)
            case "lt":
                return np.asarray(x[0] < x[1])
            case "le":
                return np.asarray(x[0] <= x[1])
            case "eq":
                return np.asarray(x[0] == x[1])
            case "select":
                return np.where(x[0], x[1], x[2])
            case "reinterpret":
                return np.ascontiguousarray(x[0]).view(i.dtype).reshape(np.shape(x[0]))
            case "convert":
                return x[0].astype(i.dtype)
        raise AssertionError(i.op)

    with np.errstate(all="ignore"):
        for i in s.instructions:
            values.append(np.asarray(run(i)))
    return np.asarray(np.broadcast_to(values[-1], arguments[0].shape))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_fma_equals_emulation(seed: int, special: bool) -> None:
    a, b, c = (numbers(seed + i, (4096,), "float32", special) for i in range(3))
    assert canonical_bytes(native.fma(a, b, c)) == canonical_bytes(emulated_fma(a, b, c))
    close = (-a * b * (1 + np.float32(2e-7))).astype(np.float32)  # cancellation, where a double rounding would show
    assert canonical_bytes(native.fma(a, b, close)) == canonical_bytes(emulated_fma(a, b, close))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 140), st.integers(0, 40), st.integers(0, 2**31), st.booleans())
def test_chain_equals_emulation(m: int, n: int, k: int, seed: int, special: bool) -> None:
    a, b, init = (
        numbers(seed, (m, k), "float32", special),
        numbers(seed + 1, (k, n), "float32", special),
        numbers(seed + 2, (m, n), "float32", special),
    )
    acc = init
    with np.errstate(all="ignore"):
        for i in range(k):
            acc = emulated_fma(np.broadcast_to(a[:, i : i + 1], (m, n)), np.broadcast_to(b[i], (m, n)), acc)
        assert canonical_bytes(native.chain(a, b, init)) == canonical_bytes(acc + np.float32(0))


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_printed_sequence_equals_interpretation(name: str) -> None:
    s = SEQUENCES[name]
    r = np.random.default_rng(1)
    arguments = [
        np.concatenate(
            [
                r.integers(0, 2**32, 3000, np.uint32).view(np.float32),
                numbers(i, (3000,), "float32", True),
                (r.standard_normal(2000) * 4).astype(np.float32),
            ]
        )
        for i in range(s.arity)
    ]
    assert canonical_bytes(native.elementary(name, *arguments)) == canonical_bytes(interpret(s, arguments))
