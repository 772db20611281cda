"""The elementary functions in binary64: sequences of binary64 and integer operations, at most 1 ulp off on all that was sampled.

The methods are `elementary`'s: reductions by constants in parts, pairs (high, low) where one number carries too little, Payne and Hanek's
reduction by integers for large angles.
"""

from __future__ import annotations

from mlcc.arithmetic.coefficients64 import (
    ATAN,
    ERF_CENTRE,
    ERF_END,
    ERF_HIGH,
    ERF_LOW,
    ERF_SPLIT,
    ERF_SQUARE,
    EXP,
    INF,
    LN2_HIGH,
    LN2_LOW,
    LN2_MIDDLE,
    LN2_REST,
    LN2_TOP,
    LOG2E,
    LOG_ATANH,
    PI_2,
    PI_2_LOW,
    ROUND,
    SINH,
    TWO_THIRDS,
    TWO_THIRDS_LOW,
)
from mlcc.arithmetic.pairs import (
    Pair,
    clamp,
    copy_sign,
    fast_two_sum,
    horner,
    keep_nan,
    negate_if,
    power_of_two,
    quotient,
    scale,
    special_power,
    two_product,
    two_sum,
)
from mlcc.arithmetic.sequence import Sequence, Term, fma, select, sequence
from mlcc.arithmetic.trigonometry64 import TINY, cos, sin, tan

NAN = float("nan")


def _exp_reduced(x: Term) -> tuple[Term, Term, Term]:
    """(r, r_low, n): x = n·ln 2 + r + r_low, |r| ≤ ½ ln 2."""
    t = fma(x, LOG2E, ROUND)
    nf, n = t - ROUND, t.bits() - x.lift(ROUND).bits()
    r0 = fma(-nf, LN2_TOP, x)  # exact: LN2_TOP has 38 bits
    p, p_low = two_product(-nf, x.lift(LN2_MIDDLE))
    r, r_low = two_sum(r0, p)
    return r, r_low + p_low, n


def _exp_tail(r: Term, r_low: Term) -> Term:
    """e^(r + r_low) − 1 − r, |r| ≤ 0.35."""
    return fma(r * r, horner(r, EXP), fma(r_low, r, r_low))


def _exp_of(r: Term, r_low: Term) -> Pair:
    """e^(r + r_low) as a pair, |r| ≤ 0.35."""
    tail = _exp_tail(r, r_low)
    high, low = fast_two_sum(r.lift(1.0), r)
    return fast_two_sum(high, low + tail)


def exp_pair(x: Term) -> tuple[Term, Term, Term]:
    """(high, low, n): e^x = (high + low)·2^n, |x| ≤ 1500."""
    r, r_low, n = _exp_reduced(x)
    return *_exp_of(r, r_low), n


def exp(x: Term) -> Term:
    high, low, n = exp_pair(clamp(x, -746.0, 711.0))
    return keep_nan(x, select(x < -746.0, x.lift(0.0), scale(high + low, n)))


def log_pair(high: Term, low: Term) -> Pair:
    """log(high + low) for high positive and finite, |low| below one ulp of high; relative error about 2^-65."""
    tiny = high < 2.0**-1022
    high = select(tiny, high * 2.0**54, high)
    low = select(tiny, low * 2.0**54, low)
    b = high.bits()
    k = (b - 0x3FE6A09E667F3BCD) >> 52
    m = (b - (k << 52)).float_of_bits()
    m_low = low * power_of_two(select(k > 1022, k.lift(-1022), -k))
    kf = k.convert("float64") - select(tiny, high.lift(54.0), 0.0)
    f = m - 1.0
    d, d_low = two_sum(m, m.lift(1.0))
    s, s_low = quotient(f, m_low, d, d_low + m_low)
    s, s_low = fast_two_sum(s, s_low)
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    p, p_low = fast_two_sum(z.lift(TWO_THIRDS), fma(z, horner(z, LOG_ATANH), z_low * LOG_ATANH[0]))
    p_low = p_low + TWO_THIRDS_LOW
    c = s * z
    c_low = fma(s, z, -c) + fma(s, z_low, s_low * z)
    t = c * p
    t_low = fma(c, p, -t) + fma(c, p_low, c_low * p)
    a, a_low = fast_two_sum(s * 2.0, t)
    a_low = a_low + fma(s_low, 2.0, t_low)
    total, rest = two_sum(kf * LN2_TOP, a)
    q, q_low = two_product(kf, kf.lift(LN2_MIDDLE))
    total, e = two_sum(total, q)
    return fast_two_sum(total, ((rest + e) + (a_low + q_low)) + kf * LN2_LOW)


def log(x: Term) -> Term:
    positive = select(x > 0.0, select(x < INF, x, 1.0), 1.0)
    high, low = log_pair(positive, x.lift(0.0))
    result = select(x < INF, high + low, x)  # +inf and NaN
    result = select(x.equals(0.0), x.lift(-INF), result)
    return select(x < 0.0, x.lift(NAN), result)


def sigmoid(x: Term) -> Term:
    """1 / (1 + e) or e / (1 + e), with e = e^−|x|."""
    high, low, n = exp_pair(-clamp(abs(x), 0.0, 746.0))
    down = select(n < -1000, n.lift(-1000), n)
    d, d_low = two_sum(x.lift(1.0), high * power_of_two(down))
    d_low = d_low + low * power_of_two(down)
    inverse, rest = quotient(x.lift(1.0), x.lift(0.0), d, d_low)
    q, q_low = quotient(high, low, d, d_low)
    return keep_nan(x, select(x < 0.0, scale(q + q_low, n), inverse + rest))


def tanh(x: Term) -> Term:
    """(e − 1) / (e + 1) with e = e^2|x|, its difference from 1 by itself where |x| is small."""
    a = abs(x)
    c = clamp(a, 0.0, 22.0)
    r, r_low, n = _exp_reduced(c + c)
    small, small_low = fast_two_sum(r, _exp_tail(r, r_low))
    high, low = _exp_of(r, r_low)
    down = power_of_two(-n)
    top, top_low = two_sum(high, -down)
    first = n.equals(0)
    top, top_low = select(first, small, top), select(first, small_low, top_low + low)
    bottom, bottom_low = two_sum(high, down)
    q, rest = quotient(top, top_low, bottom, bottom_low + low)
    return keep_nan(x, copy_sign(select(a < TINY, a, q + rest), x))


def erf(x: Term) -> Term:
    """A polynomial, or 1 − e^−x² times another."""
    a = abs(x)
    t = fma(x, x, -ERF_SQUARE)
    q, q_low = two_product(t, horner(t, ERF_LOW[1:]))
    share, rest = two_sum(x.lift(ERF_LOW[0]), q)
    product, product_low = two_product(x, share)
    top, top_low = fast_two_sum(x, product)
    low = top + (top_low + fma(x, rest + q_low, product_low))
    c = clamp(a, ERF_SPLIT, ERF_END)
    p, p_low = two_product(c, c)
    e, e_low, n = exp_pair(-p)
    u = (c - ERF_CENTRE) / (c + ERF_CENTRE)
    rest = horner(u, ERF_HIGH) * (e + (e_low - p_low * e)) * power_of_two(n)
    return keep_nan(x, select(a < ERF_SPLIT, low, copy_sign(1.0 - rest, x)))


def _atan_of(y: Term, y_low: Term, x: Term, x_low: Term) -> Pair:
    """atan((y + y_low) / (x + x_low)) in [0, π/2], for y and x ≥ 0 and finite, not both 0."""
    big = y > x
    t, t_low = quotient(select(big, x, y), select(big, x_low, y_low), select(big, y, x), select(big, y_low, x_low))
    t, t_low = fast_two_sum(t, t_low)
    shifted = t > 0.4140625
    d, d_low = fast_two_sum(t.lift(1.0), t)
    e, e_low = two_sum(t, t.lift(-1.0))
    u, u_low = quotient(e, e_low + t_low, d, d_low + t_low)
    u, u_low = select(shifted, u, t), select(shifted, u_low, t_low)
    z = u * u
    tail = fma(u * z, horner(z, ATAN), u_low)
    base = select(shifted, u.lift(PI_2 * 0.5), 0.0)
    base_low = select(shifted, u.lift(PI_2_LOW * 0.5), 0.0)
    base = select(big, PI_2 - base, base)
    base_low = select(big, PI_2_LOW - base_low, base_low)
    high, low = two_sum(base, negate_if(big, u))
    return fast_two_sum(high, (low + base_low) + negate_if(big, tail))


def atan(x: Term) -> Term:
    a = abs(x)
    high, low = _atan_of(clamp(a, 0.0, 2.0**60), x.lift(0.0), x.lift(1.0), x.lift(0.0))
    return keep_nan(x, copy_sign(select(a < TINY, a, high + low), x))


def _leg(a: Term) -> Pair:
    """√(1 − a²) as a pair, 0 ≤ a ≤ 1: the root of (1 − a)·(1 + a)."""
    p, p_low = two_product(a, a)
    h, h_low = two_sum(p.lift(1.0), -p)
    return _root_pair(*fast_two_sum(h, h_low - p_low))


def _root_pair(h: Term, low: Term) -> Pair:
    """√(h + low), 0 at h = 0."""
    s = h.sqrt()
    return s, select(h > 0.0, (fma(-s, s, h) + low) / (s * 2.0), 0.0)


def _within_one(x: Term, result: Term) -> Term:
    return select(abs(x) <= 1.0, result, x.lift(NAN))


def asin(x: Term) -> Term:
    a = clamp(abs(x), 0.0, 1.0)
    high, low = _atan_of(a, x.lift(0.0), *_leg(a))
    return _within_one(x, copy_sign(select(a < TINY, a, high + low), x))


def acos(x: Term) -> Term:
    a = clamp(abs(x), 0.0, 1.0)
    high, low = _atan_of(*_leg(a), a, x.lift(0.0))
    far, far_low = two_sum(x.lift(2.0 * PI_2), -high)
    return _within_one(x, select(x < 0.0, far + ((far_low + 2.0 * PI_2_LOW) - low), high + low))


# hyperbolic functions


def _exp_and_inverse(a: Term) -> tuple[Pair, Pair, Term]:
    """e^a = (high + low)·2^n, and e^-a·2^-n as a pair, 0 ≤ a ≤ 712."""
    high, low, n = exp_pair(clamp(a, 0.0, 712.0))
    inverse, rest = quotient(a.lift(1.0), a.lift(0.0), high, low)
    down = power_of_two(select(n < 400, n, n.lift(400)) * -2)
    return (high, low), (inverse * down, rest * down), n


def sinh(x: Term) -> Term:
    a = abs(x)
    z = x * x
    small = fma(x * z, horner(z, SINH), x)
    (high, low), (inverse, rest), n = _exp_and_inverse(a)
    h, h_low = two_sum(high, -inverse)
    large = scale(h + (h_low + (low - rest)), n - 1)
    return keep_nan(x, select(a < 1.0, small, copy_sign(large, x)))


def cosh(x: Term) -> Term:
    (high, low), (inverse, rest), n = _exp_and_inverse(abs(x))
    h, h_low = two_sum(high, inverse)
    return keep_nan(x, scale(h + (h_low + (low + rest)), n - 1))


def _plus_ln2(high: Term, low: Term, where: Term) -> Term:
    top, rest = two_sum(select(where, high.lift(LN2_HIGH), 0.0), high)
    return top + (rest + (low + select(where, high.lift(LN2_REST), 0.0)))


def asinh(x: Term) -> Term:
    """log(a + √(a² + 1)); for large a, log 2a."""
    a = abs(x)
    huge = a > 2.0**30
    c = select(huge, a.lift(1.0), a)
    p, p_low = two_product(c, c)
    h, h_low = two_sum(p, p.lift(1.0))
    s, s_low = _root_pair(*fast_two_sum(h, h_low + p_low))
    u, u_low = two_sum(s, c)
    u, u_low = fast_two_sum(u, u_low + s_low)
    high, low = log_pair(select(huge, select(a < INF, a, 1.0), u), select(huge, u.lift(0.0), u_low))
    value = select(a < INF, _plus_ln2(high, low, huge), a)
    return keep_nan(x, copy_sign(select(a < TINY, a, value), x))


def acosh(x: Term) -> Term:
    huge = x > 2.0**30
    c = select(huge, x.lift(1.0), select(x < 1.0, x.lift(1.0), x))
    p, p_low = two_product(c, c)
    h, h_low = two_sum(p, p.lift(-1.0))
    s, s_low = _root_pair(*fast_two_sum(h, h_low + p_low))
    u, u_low = two_sum(c, s)
    u, u_low = fast_two_sum(u, u_low + s_low)
    high, low = log_pair(select(huge, select(x < INF, x, 1.0), u), select(huge, u.lift(0.0), u_low))
    value = select(x < INF, _plus_ln2(high, low, huge), x)
    return keep_nan(x, select(x < 1.0, x.lift(NAN), value))


def atanh(x: Term) -> Term:
    """½ log((1 + a) / (1 − a))."""
    a = abs(x)
    c = select(a < 1.0, a, 0.5)
    n, n_low = fast_two_sum(c.lift(1.0), c)
    d, d_low = fast_two_sum(c.lift(1.0), -c)
    q, rest = quotient(n, n_low, d, d_low)
    high, low = log_pair(*fast_two_sum(q, rest))
    value = select(a.equals(1.0), a.lift(INF), (high + low) * 0.5)
    return select(a <= 1.0, copy_sign(select(a < TINY, a, value), x), x.lift(NAN))


def power(x: Term, y: Term) -> Term:
    """e^(y·log |x|), and the special cases."""
    a = abs(x)
    positive = select(a > 0.0, select(a < INF, a, 1.0), 1.0)
    high, low = log_pair(positive, positive.lift(0.0))
    big = abs(y) < 2.0**70
    factor = select(big, y, 1.0)
    p, p_low = two_product(high, factor)
    p_low = p_low + low * factor
    p, p_low = fast_two_sum(p, p_low)
    p = select(big, p, copy_sign(y.lift(1400.0), (high.bits() ^ y.bits()).float_of_bits()))
    p_low = select(big, p_low, 0.0)
    p_low = select(abs(p) < 1400.0, p_low, 0.0)
    p = clamp(p, -1400.0, 1400.0)
    e, e_low, n = exp_pair(p)
    return special_power(x, y, scale(e + (e_low + e * p_low), n))


UNARY64 = {
    "Exp": exp,
    "Log": log,
    "Tanh": tanh,
    "Erf": erf,
    "Sigmoid": sigmoid,
    "Sin": sin,
    "Cos": cos,
    "Tan": tan,
    "Asin": asin,
    "Acos": acos,
    "Atan": atan,
    "Sinh": sinh,
    "Cosh": cosh,
    "Asinh": asinh,
    "Acosh": acosh,
    "Atanh": atanh,
}
SEQUENCES64: dict[str, Sequence] = {
    **{n: sequence(f"{n}64", ("float64",), f) for n, f in UNARY64.items()},
    "Pow": sequence("Pow64", ("float64", "float64"), power),
}
