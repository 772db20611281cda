"""Elementary functions: at most 1 ulp, exact special values. The whole sweep of 2^32 inputs is `make test-full`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcc.arithmetic.elementary import SEQUENCES, UNARY
from mlcc.conformance.compare import ulps
from mlcc.reference import native

JUDGE = {
    "Exp": np.exp,
    "Log": np.log,
    "Tanh": np.tanh,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Erf": np.vectorize(math.erf, otypes=[np.float64]),
    "Sigmoid": lambda x: np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))),
}


def error_in_ulps(name: str, x: np.ndarray) -> float:
    """Largest error against binary64, in units of the result's last place; infinite for a wrong special value or sign of zero."""
    with np.errstate(all="ignore"):
        want = JUDGE[name](x.astype(np.float64))
        rounded = want.astype(np.float32)
        got = native.elementary(name, x)
        if not np.array_equal(np.isnan(got), np.isnan(rounded)):
            return math.inf
        if np.any((rounded == got) & (np.signbit(rounded) != np.signbit(got)) & ~np.isnan(got)):
            return math.inf
        finite = np.isfinite(rounded) & np.isfinite(got)
        if np.any(ulps(got[~finite], rounded[~finite]) > 1):
            return math.inf
        unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
        below = np.abs(want[finite]) < np.abs(rounded[finite].astype(np.float64))
        power = np.frexp(np.abs(rounded[finite]))[0] == 0.5  # just below a power of two the unit is half as large
        unit = np.where(below & power & (unit > 2.0**-149), unit / 2, unit)
        return float(np.max(np.abs(got[finite].astype(np.float64) - want[finite]) / unit, initial=0.0))


@pytest.mark.parametrize("name", sorted(UNARY))
def test_sampled_within_one_ulp(name: str) -> None:
    step = 40961 if name != "Erf" else 400009
    x = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    assert error_in_ulps(name, x) <= 1.0


@pytest.mark.full
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", sorted(UNARY))
def test_all_inputs_within_one_ulp(name: str) -> None:
    worst, block = 0.0, 2**24
    for start in range(0, 2**32, block):
        worst = max(worst, error_in_ulps(name, np.arange(start, start + block, dtype=np.uint64).astype(np.uint32).view(np.float32)))
        assert worst <= 1.0, f"{name}: {worst} in the block from {start:#x}"
    print(f"{name}: at most {worst:.4f} ulp over all 2^32 inputs")


@pytest.mark.parametrize(
    "name,x,y",
    [
        ("Exp", 0.0, 1.0),
        ("Exp", -math.inf, 0.0),
        ("Exp", math.inf, math.inf),
        ("Log", 1.0, 0.0),
        ("Log", 0.0, -math.inf),
        ("Log", -1.0, math.nan),
        ("Tanh", -0.0, -0.0),
        ("Sin", -0.0, -0.0),
        ("Sin", math.inf, math.nan),
        ("Erf", 5.0, 1.0),
        ("Sigmoid", -math.inf, 0.0),
        ("Acosh", 0.5, math.nan),
        ("Atanh", 1.0, math.inf),
        ("Asin", 1.5, math.nan),
    ],
)
def test_special_values(name: str, x: float, y: float) -> None:
    got = native.elementary(name, np.array([x], np.float32))[0]
    assert (math.isnan(y) and math.isnan(got)) or (got == y and math.copysign(1, got) == math.copysign(1, y))


def test_power_sampled_and_special() -> None:
    r = np.random.default_rng(0)
    x = np.exp(r.uniform(-40, 40, 200000)).astype(np.float32)
    y = r.uniform(-4, 4, 200000).astype(np.float32)
    with np.errstate(all="ignore"):
        want = x.astype(np.float64) ** y.astype(np.float64)
        got = native.elementary("Pow", x, y)
        inside = (want > 1e-37) & (want < 3e38)
        assert float(np.max(np.abs(got[inside] - want[inside]) / np.spacing(want[inside].astype(np.float32)))) <= 1.0
        special = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, math.inf, -math.inf, math.nan, 1e30, -1e-30], np.float32)
        a, b = (v.reshape(-1) for v in np.meshgrid(special, special))
        libm = np.float32(np.float64(a) ** np.float64(b))
        ours = native.elementary("Pow", a, b)
        assert np.array_equal(np.isnan(ours), np.isnan(libm))
        assert np.all((ours == libm) | np.isnan(libm))


def test_sequences_use_only_the_contracts_operations() -> None:
    from mlcc.arithmetic.sequence import OPERATIONS

    for s in SEQUENCES.values():
        assert {i.op for i in s.instructions} <= set(OPERATIONS)
        assert all(o < n for n, i in enumerate(s.instructions) for o in i.operands)
