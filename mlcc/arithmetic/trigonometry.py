"""Sine, cosine and tangent: reduction by Payne and Hanek's method with integers, then polynomials."""

from __future__ import annotations

from mlcc.arithmetic.coefficients import COS, INF, PI_2, PI_2_LOW, SIN, TWO_OVER_PI
from mlcc.arithmetic.pairs import Pair, fast_two_sum, horner, negate_if, quotient, two_product
from mlcc.arithmetic.sequence import Term, fma, select


def _times_two_over_pi(bits: Term) -> Term:
    """|x|·2/π modulo 4 in units of 2^-62, from the bits of |x| ≥ 2^-7 (Payne and Hanek 1983).

    The stream of 2/π has 32 zero bits in front; bits before `position` contribute multiples of 4 and are dropped.
    """
    exponent = bits.shift_right_logical(23)
    mantissa = ((bits & 0x7FFFFF) | 0x800000).convert("uint32").convert("int64")
    position = select(exponent < 120, exponent.lift(0), exponent - 120)
    word, offset = position.shift_right_logical(5), (position & 31).convert("int64")
    stream = [offset.lift(w) for w in (0, *TWO_OVER_PI)]

    def pick(shift: int) -> Term:
        result = stream[shift]
        for i in range(1, 5):
            result = select(word.equals(i), stream[shift + i], result)
        return result

    words = [pick(i) for i in range(4)]
    down, mask = 32 - offset, offset.lift(0xFFFFFFFF)
    high, middle, low = (((a << offset) | b.shift_right_logical(down)) & mask for a, b in zip(words, words[1:]))
    return ((mantissa * high) << 32) + mantissa * middle + (mantissa * low).shift_right_logical(32)


def _reduce(x: Term) -> tuple[Term, Term, Term]:
    """(quadrant as int32, r, r_low): |x| = quadrant·π/2 + r + r_low, |r| ≤ π/4."""
    bits = x.bits() & 0x7FFFFFFF
    rounded = _times_two_over_pi(bits) + (1 << 61)
    quadrant = rounded.shift_right_logical(62).convert("int32")
    signed = (rounded & ((1 << 62) - 1)) - (1 << 61)
    high = signed.convert("float32")
    low = (signed - high.convert("int64")).convert("float32") * 2.0**-62
    high = high * 2.0**-62
    r, r_low = two_product(high, high.lift(PI_2))
    r, r_low = fast_two_sum(r, r_low + fma(high, PI_2_LOW, low * PI_2))
    a = abs(x)
    inside = a < 0.75
    return select(inside, quadrant.lift(0), quadrant), select(inside, a, r), select(inside, r.lift(0.0), r_low)


def _sin_pair(r: Term, r_low: Term) -> Pair:
    z = r * r
    tail = fma(r * z, horner(z, SIN), fma(z * -0.5, r_low, r_low))
    return r, tail


def _cos_pair(r: Term, r_low: Term) -> Pair:
    z, z_low = two_product(r, r)
    high, low = fast_two_sum(z.lift(1.0), z * -0.5)
    return high, low + fma(z * z, horner(z, COS), fma(z_low, -0.5, -(r * r_low)))


def finite_or_nan(x: Term, result: Term) -> Term:
    return select(abs(x) < INF, result, x - x)


def sine(quadrant: Term, s: Pair, c: Pair) -> Term:
    """sin |x| from the sine and the cosine of what is left of |x| in its quadrant."""
    value = select((quadrant & 1).equals(0), s[0] + s[1], c[0] + c[1])
    return negate_if((quadrant & 2).equals(2), value)


def cosine(x: Term, quadrant: Term, s: Pair, c: Pair) -> Term:
    value = select((quadrant & 1).equals(0), c[0] + c[1], s[0] + s[1])
    return finite_or_nan(x, negate_if(((quadrant + 1) & 2).equals(2), value))


def tangent(quadrant: Term, s: Pair, c: Pair) -> Pair:
    """tan |x|."""
    even = (quadrant & 1).equals(0)
    return quotient(select(even, s[0], -c[0]), select(even, s[1], -c[1]), select(even, c[0], s[0]), select(even, c[1], s[1]))


def sin(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    value = sine(quadrant, _sin_pair(r, r_low), _cos_pair(r, r_low))
    return finite_or_nan(x, select(x.equals(0.0), x, negate_if(x < 0.0, value)))


def cos(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    return cosine(x, quadrant, _sin_pair(r, r_low), _cos_pair(r, r_low))


def tan(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    s, c = fast_two_sum(*_sin_pair(r, r_low)), fast_two_sum(*_cos_pair(r, r_low))
    q, rest = tangent(quadrant, s, c)
    value = select(abs(x) < 2.0**-12, abs(x), q + rest)
    return finite_or_nan(x, select(x.equals(0.0), x, negate_if(x < 0.0, value)))
