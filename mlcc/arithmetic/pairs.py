"""Numbers as sums of two: exact sums and products (Dekker, Knuth), polynomials, and what elementary functions share."""

from __future__ import annotations

from mlcc.arithmetic.sequence import Term, fma, select

Pair = tuple[Term, Term]
INF = float("inf")


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


SIGN = {"float32": -(1 << 31), "float64": -(1 << 63)}  # the sign's bit
MANTISSA = {"float32": 23, "float64": 52}  # bits


def copy_sign(magnitude: Term, sign: Term) -> Term:
    """`magnitude` ≥ 0 with the sign bit of `sign`."""
    return (magnitude.bits() | (sign.bits() & SIGN[sign.dtype])).float_of_bits()


def power_of_two(n: Term) -> Term:
    """2^n as binary32 for an int32 from −126 to 127, as binary64 for an int64 from −1022 to 1023."""
    bias, shift = (1023, 52) if n.dtype == "int64" else (127, 23)
    return ((n + bias) << shift).float_of_bits()


def scale(x: Term, n: Term) -> Term:
    """x·2^n for |n| ≤ 250 (binary64: 2040), rounded once where the result is subnormal."""
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


def special_power(x: Term, y: Term, value: Term) -> Term:
    """x^y where IEEE 754-2019 section 9.2 says it (as C99 Annex F.10.4.4), and `value`, which is |x|^y, where it does not."""
    a, y_abs = abs(x), abs(y)
    value = select(a.equals(1.0), 1.0, value)
    unit = 2.0 ** MANTISSA[x.dtype]  # from here on every number is whole
    whole = ((y_abs + unit) - unit).equals(y_abs) | (y_abs >= unit)
    half = y_abs * 0.5
    odd = whole & (y_abs < 2 * unit) & ~(((half + unit) - unit).equals(half) | (half >= unit))
    sign = select(odd, x.bits() & SIGN[x.dtype], x.bits().lift(0))
    infinite_or_zero = a.equals(INF) | a.equals(0.0)
    grows = (y > 0.0) & a.equals(INF) | (y < 0.0) & a.equals(0.0)
    value = select(infinite_or_zero, select(grows, y.lift(INF), 0.0), value)
    y_infinite = y_abs.equals(INF)
    to_infinity = (a > 1.0) & (y > 0.0) | (a < 1.0) & (y < 0.0)
    value = select(y_infinite, select(a.equals(1.0), y.lift(1.0), select(to_infinity, y.lift(INF), 0.0)), value)
    value = (value.bits() | sign).float_of_bits()
    value = select((x < 0.0) & ~whole & (a < INF), y.lift(float("nan")), value)
    value = select(x.equals(x) & y.equals(y), value, x + y)
    return select(x.equals(1.0) | y.equals(0.0), y.lift(1.0), value)
