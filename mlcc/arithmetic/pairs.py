"""Numbers as sums of two: exact sums and products (Dekker, Knuth), polynomials, and what elementary functions share."""

from __future__ import annotations

from mlcc.arithmetic.sequence import Term, fma, select

Pair = tuple[Term, Term]


def horner(x: Term, coefficients: tuple[float, ...]) -> Term:
    """Polynomial with the lowest order first."""
    result: Term = x.lift(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = fma(result, x, c)
    return result


def two_sum(a: Term, b: Term) -> Pair:
    """a + b exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Term, b: Term) -> Pair:
    """a + b exactly where |a| ≥ |b| or a = 0 (Dekker)."""
    s = a + b
    return s, b - (s - a)


def two_product(a: Term, b: Term) -> Pair:
    p = a * b
    return p, fma(a, b, -p)


def copy_sign(magnitude: Term, sign: Term) -> Term:
    """`magnitude` ≥ 0 with the sign bit of `sign`."""
    return (magnitude.bits() | (sign.bits() & -0x80000000)).float_of_bits()


def power_of_two(n: Term) -> Term:
    """2^n for −126 ≤ n ≤ 127, n an int32."""
    return ((n + 127) << 23).float_of_bits()


def scale(x: Term, n: Term) -> Term:
    """x·2^n for |n| ≤ 250, rounded once where the result is subnormal."""
    first = n >> 1
    return x * power_of_two(first) * power_of_two(n - first)


def keep_nan(x: Term, result: Term) -> Term:
    return select(x.equals(x), result, x)


def clamp(x: Term, low: float, high: float) -> Term:
    x = select(x < low, x.lift(low), x)
    return select(x > high, x.lift(high), x)


def quotient(a: Term, a_low: Term, b: Term, b_low: Term) -> Pair:
    """(a + a_low) / (b + b_low)."""
    inverse = 1.0 / b
    q = a * inverse
    rest = (fma(-q, b, a) + a_low) - q * b_low
    return q, rest * inverse


def negate_if(condition: Term, x: Term) -> Term:
    return select(condition, -x, x)
