"""Sine, cosine and tangent in binary64: reduction by Payne and Hanek's method with integers, then the Taylor series."""

from __future__ import annotations

from mlcc.arithmetic.coefficients64 import COS, PI_2, PI_2_LOW, SIN, TWO_OVER_PI
from mlcc.arithmetic.pairs import SIGN, Pair, fast_two_sum, horner, negate_if, two_product
from mlcc.arithmetic.sequence import Term, fma, select
from mlcc.arithmetic.trigonometry import cosine, finite_or_nan, sine, tangent

TINY = 2.0**-27  # below it, x and what is of the third order part at no bit


def _times_two_over_pi(b: Term) -> tuple[Term, Term]:
    """(top 64 bits, next 64) of |x|·2/π modulo 4 in units of 2^-62 and 2^-126, from the bits of |x| ≥ 2^-7 (Payne and Hanek 1983).

    The stream of 2/π has 64 zero bits in front; bits before `position` contribute multiples of 4 and are dropped.
    """
    exponent = (b >> 52) & 0x7FF
    fraction = ((b & ((1 << 52) - 1)) | (1 << 52)).convert("uint64")
    position = exponent - 1013  # so that the product's topmost two bits count quadrants
    word, offset = position >> 5, (position & 31).convert("uint64")
    stream = [fraction.lift(w) for w in (0, 0, *TWO_OVER_PI)]
    for step in (32, 16, 8, 4, 2, 1):  # the words from `word` on
        on, kept = (word & step).equals(step), 7 + step - 1
        ahead = [*stream[step:], *[fraction.lift(0)] * step]
        stream = [select(on, far, near) for far, near in zip(ahead, stream)][:kept]
    mask, down = fraction.lift(0xFFFFFFFF), 32 - offset
    words = [((u << offset) | v.shift_right_logical(down)) & mask for u, v in zip(stream, stream[1:])][:6]
    halves = [fraction & mask, fraction.shift_right_logical(32)]
    limbs: list[list[Term]] = [[] for _ in range(8)]  # from the least significant, 32 bits each
    for i, w in enumerate(reversed(words)):
        for j, h in enumerate(halves):
            product = w * h
            limbs[i + j].append(product & mask)
            limbs[i + j + 1].append(product.shift_right_logical(32))
    carry, found = fraction.lift(0), []
    for column in limbs[:6]:
        total = carry
        for part in column:
            total = total + part
        found.append(total & mask)
        carry = total.shift_right_logical(32)
    return (found[5] << 32) | found[4], (found[3] << 32) | found[2]


def _reduce(x: Term) -> tuple[Term, Term, Term]:
    """(quadrant as int64, r, r_low): |x| = quadrant·π/2 + r + r_low, |r| ≤ π/4."""
    top, rest = _times_two_over_pi(x.bits() & ~SIGN[x.dtype])
    rounded = top + (1 << 61)
    quadrant = rounded.shift_right_logical(62).convert("int64")
    signed = (rounded & ((1 << 62) - 1)).convert("int64") - (1 << 61)
    high = signed.convert("float64")
    low = (signed - high.convert("int64")).convert("float64") + rest.shift_right_logical(1).convert("int64").convert("float64") * 2.0**-63
    high, low = fast_two_sum(high, low)
    high, low = high * 2.0**-62, low * 2.0**-62
    r, r_low = two_product(high, high.lift(PI_2))
    r, r_low = fast_two_sum(r, r_low + fma(high, PI_2_LOW, low * PI_2))
    a = abs(x)
    inside = a < 0.75
    return select(inside, quadrant.lift(0), quadrant), select(inside, a, r), select(inside, r.lift(0.0), r_low)


def _sin_pair(r: Term, r_low: Term) -> Pair:
    z = r * r
    return fast_two_sum(r, fma(r * z, horner(z, SIN), fma(z * -0.5, r_low, r_low)))


def _cos_pair(r: Term, r_low: Term) -> Pair:
    z, z_low = two_product(r, r)
    high, low = fast_two_sum(z.lift(1.0), z * -0.5)
    return fast_two_sum(high, low + fma(z * z, horner(z, COS), fma(z_low, -0.5, -(r * r_low))))


def sin(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    value = sine(quadrant, _sin_pair(r, r_low), _cos_pair(r, r_low))
    return finite_or_nan(x, select(abs(x) < TINY, x, negate_if(x < 0.0, value)))


def cos(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    return cosine(x, quadrant, _sin_pair(r, r_low), _cos_pair(r, r_low))


def tan(x: Term) -> Term:
    quadrant, r, r_low = _reduce(x)
    q, rest = tangent(quadrant, _sin_pair(r, r_low), _cos_pair(r, r_low))
    return finite_or_nan(x, select(abs(x) < TINY, x, negate_if(x < 0.0, q + rest)))
