"""The reference's C loops against an emulation of fma in NumPy, and the printed sequences against their interpretation."""

from __future__ import annotations

from collections.abc import Callable

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
        unsigned = np.dtype(f"uint{a.dtype.itemsize * 8}").type
        width = a.dtype.itemsize * 8
        if kind == "sar":
            return a >> b
        u, n = np.broadcast_arrays(a.astype(unsigned), b.astype(unsigned))
        out = np.where(n < width, (u << (n % unsigned(width))) if kind == "shl" else (u >> (n % unsigned(width))), unsigned(0))
        return out.astype(unsigned).astype(a.dtype)

    def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "f":
            return a / b
        assert not (b == 0).any() and not (a.dtype.kind == "i" and (b == -1).any()), "a division that traps"
        return np.array(
            [abs(int(x)) // abs(int(y)) * (1 if (x < 0) == (y < 0) else -1) for x, y in zip(*np.broadcast_arrays(a, b))], a.dtype
        )

    def convert(x: np.ndarray, to: str) -> np.ndarray:
        if x.dtype.kind == "f" and np.dtype(to).kind in "iu":
            info = np.iinfo(to)
            assert (np.trunc(x) >= float(info.min)).all() and (x < float(int(info.max) + 1)).all(), "a conversion of what does not fit"
        return x.astype(to)

    table: dict[str, Callable[..., np.ndarray]] = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": divide,
        "rem": np.fmod,
        "fma": lambda *x: emulated_fma(*(np.asarray(v, np.float32) for v in np.broadcast_arrays(*x))),
        "sqrt": np.sqrt,
        "floor": np.floor,
        "ceil": np.ceil,
        "round": np.rint,
        "neg": np.negative,
        "abs": np.abs,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "not": np.invert,
        "lt": np.less,
        "le": np.less_equal,
        "eq": np.equal,
        "nan": np.isnan,
        "select": np.where,
        **{k: lambda a, b, k=k: shift(np.asarray(a), np.asarray(b), k) for k in ("shl", "sar", "shr")},  # type: ignore[misc]
    }

    def run(i: Instruction) -> np.ndarray:
        x = [values[o] for o in i.operands]
        match i.op:
            case "arg":
                return arguments[i.value]
            case "const":
                return np.array(i.value, i.dtype)
            case "call":
                return interpret(i.value, x)
            case "reinterpret":
                return np.ascontiguousarray(x[0]).view(i.dtype).reshape(np.shape(x[0]))
            case "convert":
                return convert(x[0], i.dtype)
        return table[i.op](*x)

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
