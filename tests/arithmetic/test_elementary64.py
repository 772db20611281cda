"""Elementary functions of binary64: at most 1 ulp on samples against many digits, and against x86's 64-bit mantissas on very many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlcc.arithmetic.elementary64 import SEQUENCES64, UNARY64
from mlcc.arithmetic.sequence import OPERATIONS
from mlcc.reference import native
from tests.support import assert_exact, graph_of

EXTENDED = np.finfo(np.longdouble).nmant >= 63
NAMES = {"Asin": "arcsin", "Acos": "arccos", "Atan": "arctan", "Asinh": "arcsinh", "Acosh": "arccosh", "Atanh": "arctanh"}


def bit_patterns(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, count, dtype=np.uint64).view(np.float64)


def samples(name: str, seed: int, n: int) -> np.ndarray:
    """All sizes, and more where the function does something; hard cases of its own."""
    r = np.random.default_rng(seed)
    sign = r.choice([-1.0, 1.0], n)
    x = np.concatenate(
        [bit_patterns(seed, n), np.ldexp(1 + r.random(n), r.integers(-30, 12, n)) * sign, r.standard_normal(n) * 2, r.random(n) * 6 - 3]
    )
    x = x[np.isfinite(x)]
    if name == "Log":
        x = np.concatenate([np.abs(x), 1 + (r.random(n) - 0.5) * 2.0 ** -r.integers(0, 50, n)])
    if name in ("Asin", "Acos", "Atanh"):
        x = np.concatenate([x[np.abs(x) <= 1], (1 - 2.0 ** -r.integers(1, 53, n) * r.random(n)) * sign])
    if name == "Acosh":
        x = np.concatenate([np.abs(x)[np.abs(x) >= 1], 1 + 2.0 ** -r.integers(0, 52, n).astype(float) * r.random(n)])
    if name in ("Sin", "Cos", "Tan"):  # near multiples of π/2; the last is the nearest of all to one
        turns = r.integers(1, 2**40, n) * np.pi / 2, np.ldexp(np.pi, r.integers(0, 1000, n)), [6381956970095103.0 * 2.0**797]
        x = np.concatenate([x, *turns])
    if name in ("Exp", "Sinh", "Cosh"):
        x = np.concatenate([x, r.random(n) * 1460 - 750])
    return x


def exact(name: str) -> Callable[[Any], Any]:
    mp = pytest.importorskip("mpmath")
    mp.mp.prec = 250
    function = (lambda x: 1 / (1 + mp.exp(-x))) if name == "Sigmoid" else getattr(mp, name.lower())
    return lambda x: function(mp.mpf(float(x))).real


def distance(got: float, want: Any) -> float:
    """In units of the result's last place."""
    rounded = float(want)
    if math.isinf(got) or math.isinf(rounded):
        return 0.0 if got == rounded else math.inf
    return float(abs(want.__class__(got) - want) / max(np.spacing(abs(rounded)), 2.0**-1074))


@pytest.mark.parametrize("name", sorted(UNARY64))
def test_within_one_ulp(name: str) -> None:
    judge, x = exact(name), samples(name, 1, 120)
    x = x[np.abs(x) < 2000] if name in ("Exp", "Sinh", "Cosh", "Sigmoid", "Tanh", "Erf") else x
    worst = max((distance(float(got), judge(a)), float(a)) for a, got in zip(x, native.elementary(name, x)))
    assert worst[0] <= 1.0, worst


def test_power_within_one_ulp() -> None:
    mp = pytest.importorskip("mpmath")
    mp.mp.prec = 250
    r = np.random.default_rng(2)
    x = np.exp(r.standard_normal(1500) * np.repeat([0.01, 1, 100], 500))
    y = r.standard_normal(1500) * np.tile([1, 5, 100], 500)
    for a, b, got in zip(x, y, native.elementary("Pow", x, y)):
        size = mp.log(mp.mpf(a)) * mp.mpf(b)
        if abs(size) < 740:
            assert distance(float(got), mp.exp(size)) <= 1.0, (a, b)
        elif abs(size) > 750:
            assert got == (np.inf if size > 0 else 0)


def test_special_values() -> None:
    """As the C library has them."""
    x = np.array(
        [
            0.0,
            -0.0,
            1.0,
            -1.0,
            np.inf,
            -np.inf,
            np.nan,
            5e-324,
            -5e-324,
            2.2250738585072014e-308,
            1.7976931348623157e308,
            -1.7976931348623157e308,
        ]
    )
    with np.errstate(all="ignore"):
        for name in sorted(set(UNARY64) - {"Erf", "Sigmoid"}):
            want, got = getattr(np, NAMES.get(name, name.lower()))(x), native.elementary(name, x)
            near = (got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)
            assert (near | (np.abs(got - want) <= np.spacing(np.abs(want)))).all(), (name, got, want)
        assert native.elementary("Sigmoid", x)[[0, 4, 5]].tolist() == [0.5, 1.0, 0.0]
        assert native.elementary("Erf", x)[[1, 4, 5]].tolist() == [-0.0, 1.0, -1.0]
        a, b = (v.reshape(-1) for v in np.meshgrid(np.append(x, [2.0, 0.5, -2.0, 3.0, -3.0]), np.append(x, [2.0, 0.5, -2.0, 3.0, -3.0])))
        want, got = a**b, native.elementary("Pow", a, b)
        assert np.array_equal(np.isnan(want), np.isnan(got))
        assert ((got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(want)).all()


def test_sequences_use_only_the_contracts_operations() -> None:
    for s in SEQUENCES64.values():
        assert {i.op for i in s.instructions} <= set(OPERATIONS)
        assert all(o < n for n, i in enumerate(s.instructions) for o in i.operands)


@pytest.mark.parametrize("name", sorted(SEQUENCES64))
def test_kernels_give_the_same_bits(name: str) -> None:
    x = samples(name, 3, 40)
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, 1.0, -1.0]])
    feed = {"x": x} | ({"y": x[::-1].copy()} if name == "Pow" else {})
    graph = graph_of({k: ("float64", v.shape) for k, v in feed.items()}, lambda b, *v: b(name, *v))
    assert_exact(graph, feed)


def extended(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function in 64 bits of mantissa, from doubles."""
    if name == "Sigmoid":
        return lambda x: 1 / (1 + np.exp(-x.astype(np.longdouble)))
    return lambda x: getattr(np, NAMES.get(name, name.lower()))(x.astype(np.longdouble))


@pytest.mark.full
@pytest.mark.timeout(14400)
@pytest.mark.skipif(not EXTENDED, reason="no type with a longer mantissa here")
@pytest.mark.parametrize("name", sorted(set(UNARY64) - {"Erf"}))
def test_very_many_within_one_ulp(name: str) -> None:
    """2^30 numbers of all bit patterns and of ordinary sizes."""
    judge, worst, block = extended(name), 0.0, 1 << 20
    for i in range(1 << 10):
        r = np.random.default_rng(i)
        x = (
            bit_patterns(i, block)
            if i % 4 == 0
            else np.ldexp(1 + r.random(block), r.integers(-20, 10, block)) * r.choice([-1.0, 1.0], block)
        )
        with np.errstate(all="ignore"):
            want, got = judge(x), native.elementary(name, x)
            rounded = want.astype(np.float64)
            same = (got == rounded) | np.isnan(got) & np.isnan(rounded)
            unit = np.maximum(np.spacing(np.abs(rounded)), 2.0**-1074).astype(np.longdouble)
            off = np.where(same & ~np.isfinite(rounded), 0, np.abs(got.astype(np.longdouble) - want) / unit)
        worst = max(worst, float(np.nanmax(np.where(np.isnan(rounded) & same, 0, off))))
        assert not (np.isnan(got) != np.isnan(rounded)).any() and worst <= 1.0, (name, worst)
    print(f"{name}: at most {worst:.4f} ulp over 2^30 numbers")
