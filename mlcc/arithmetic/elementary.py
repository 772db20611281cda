"""The elementary functions: one written sequence of binary32 and integer operations each, at most 1 ulp off.

Polynomials are weighted least-squares fits at Chebyshev points, coefficients rounded to binary32 from the lowest order up
with the rest refitted each time. A *pair* (high, low) is an unevaluated sum that carries about 48 bits (Dekker 1971; Joldes,
Muller and Popescu, "Tight and rigorous error bounds for basic building blocks of double-word arithmetic", 2017).
Trigonometric reduction is Payne and Hanek's with integers. The measured maximum over all 2^32 inputs is in docs/arithmetic.md.
"""

from __future__ import annotations

from mlcc.arithmetic.coefficients import (
    ASIN,
    ASINH,
    ATAN,
    ATANH,
    ERF_CENTRE,
    ERF_HIGH,
    ERF_LOW,
    ERF_SQUARE,
    EXP,
    INF,
    LN2_HIGH,
    LN2_LOW,
    LN2_MIDDLE,
    LN2_TOP,
    LOG2E,
    LOG_ATANH,
    PI_2,
    PI_2_LOW,
    ROUND,
    SINH,
    TANH,
    TANH_SQUARE,
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
from mlcc.arithmetic.trigonometry import cos, sin, tan


def _exp_reduce(x: Term) -> tuple[Term, Term]:
    """n (binary32, an integer) and the same as int32, n = round(x / ln 2)."""
    t = fma(x, LOG2E, ROUND)
    return t - ROUND, t.bits() - x.lift(ROUND).bits()


def exp_pair(x: Term) -> tuple[Term, Term, Term]:
    """(high, low, n): e^x = (high + low)·2^n within 2^-28, for |x| ≤ 128."""
    nf, n = _exp_reduce(x)
    r0 = fma(-nf, LN2_TOP, x)  # exact: LN2_TOP has 15 bits
    p, p_low = two_product(-nf, x.lift(LN2_MIDDLE))
    r, r_low = two_sum(r0, p)
    r_low = r_low + p_low
    tail = fma(r * r, horner(r, EXP), fma(r_low, r, r_low))
    high, low = fast_two_sum(x.lift(1.0), r)
    high, low = fast_two_sum(high, low + tail)
    return high, low, n


def exp(x: Term) -> Term:
    """Below −104 the result is 0 without a multiplication that underflows: x86 takes 150 cycles for one, and masked scores are −∞."""
    vanishes = x < -104.0
    c = select(vanishes, x.lift(0.0), select(x > 89.0, x.lift(89.0), x))
    nf, n = _exp_reduce(c)
    r = fma(-nf, LN2_MIDDLE, fma(-nf, LN2_TOP, c))
    value = fma(horner(r, EXP), r * r, r) + 1.0
    return keep_nan(x, select(vanishes, x.lift(0.0), scale(value, n)))


def log_pair(high: Term, low: Term) -> Pair:
    """log(high + low) for high positive and finite, |low| below one ulp of high; about 2^-40 relative, 2^-46 absolute near 1."""
    tiny = high < 2.0**-126
    high = select(tiny, high * 2.0**23, high)
    low = select(tiny, low * 2.0**23, low)
    bits = high.bits()
    k = (bits - 0x3F3504F3) >> 23
    m = (bits - (k << 23)).float_of_bits()
    m_low = low * power_of_two(select(k > 126, k.lift(-126), -k))  # 2^-128 is no normal number; m_low is far below then
    kf = k.convert("float32") - select(tiny, high.lift(23.0), 0.0)
    f = m - 1.0
    d, d_low = two_sum(m, m.lift(1.0))
    d_low = d_low + m_low
    inverse = 1.0 / d
    s = f * inverse
    s_low = ((fma(-s, d, f) + m_low) - s * d_low) * inverse
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
    b, b_low = two_sum(kf * LN2_TOP, a)
    q, q_low = two_product(kf, kf.lift(LN2_MIDDLE))
    b, e = two_sum(b, q)
    low_sum = ((b_low + e) + (a_low + q_low)) + kf * LN2_LOW
    return fast_two_sum(b, low_sum)


def log(x: Term) -> Term:
    high, low = log_pair(x, x * 0.0)
    result = high + low
    result = select(x < INF, result, x)  # +inf and NaN
    result = select(x.equals(0.0), x.lift(-INF), result)
    return select(x < 0.0, x.lift(float("nan")), result)


def sigmoid(x: Term) -> Term:
    """q = 1 / (1 + e^|x|) or 1 − q; with e^|x| = (high + low)·2^n, q is 2^-n / (high + low + 2^-n), the quotient corrected once."""
    a = abs(x)
    y = select(a > 104.0, a.lift(104.0), a)
    nf, n = _exp_reduce(y)
    r = fma(-nf, LN2_MIDDLE, fma(-nf, LN2_TOP, y))
    high, low = fast_two_sum(r.lift(1.0), r)
    high, low = fast_two_sum(high, fma(horner(r, EXP), r * r, low))
    d, d_low = fast_two_sum(high, power_of_two(select(n > 126, n.lift(-126), -n)))
    q = 1.0 / d
    q = fma(q, fma(-q, d_low + low, fma(-q, d, 1.0)), q)
    q = scale(q, -n)
    return select(x < 0.0, q, 1.0 - q)


def tanh(x: Term) -> Term:
    """A polynomial, or 1 − 2 / (e^2|x| + 1) where that fraction is small enough to hide its error."""
    a = abs(x)
    low = fma(x, horner(fma(x, x, -TANH_SQUARE), TANH), x)
    c = select(a > 10.0, a.lift(10.0), a)
    y = c + c
    nf, n = _exp_reduce(y)
    r = fma(-nf, LN2_MIDDLE, fma(-nf, LN2_TOP, y))
    power = power_of_two(n)
    high = 1.0 - 2.0 / fma(fma(horner(r, EXP), r * r, r), power, power + 1.0)
    return select(a < 1.25, low, copy_sign(high, x))


def erf(x: Term) -> Term:
    """Two polynomials; the second one is expanded around a point where erf is nearly a binary32 number."""
    a = abs(x)
    low = fma(x, horner(fma(x, x, -ERF_SQUARE), ERF_LOW), x)
    high = horner(select(a > 3.90625, a.lift(3.90625), a) - ERF_CENTRE, ERF_HIGH)
    return select(a < 1.25, low, copy_sign(high, x))


def _asin_upper(a: Term) -> Pair:
    """asin(√((1−a)/2)) as a pair, ½ ≤ a ≤ 1."""
    w = (1.0 - a) * 0.5
    s = w.sqrt()
    s_low = select(w > 0.0, fma(-s, s, w) / (s * 2.0), 0.0)
    return fast_two_sum(s, fma(s * w, horner(w, ASIN), s_low))


def _asin_domain(x: Term, result: Term) -> Term:
    return select(abs(x) <= 1.0, result, x.lift(float("nan")))


def asin(x: Term) -> Term:
    a = abs(x)
    z = x * x
    small = fma(x * z, horner(z, ASIN), x)
    s, s_low = _asin_upper(a)
    high, low = fast_two_sum(x.lift(PI_2), s * -2.0)
    large = high + (low + fma(s_low, -2.0, PI_2_LOW))
    return _asin_domain(x, select(a < 0.5, small, copy_sign(large, x)))


def acos(x: Term) -> Term:
    a = abs(x)
    z = x * x
    high, low = fast_two_sum(x.lift(PI_2), -x)
    small = high + ((low + PI_2_LOW) - x * z * horner(z, ASIN))
    s, s_low = _asin_upper(a)
    far_high, far_low = fast_two_sum(x.lift(2.0 * PI_2), s * -2.0)
    far = far_high + (far_low + fma(s_low, -2.0, 2.0 * PI_2_LOW))
    near = fma(s, 2.0, s_low * 2.0)
    return _asin_domain(x, select(a < 0.5, small, select(x < 0.0, far, near)))


def atan(x: Term) -> Term:
    a = abs(x)
    big = a > 1.0
    finite = select(a < 2.0**60, a, 2.0**60)
    t, t_low = quotient(select(big, a.lift(1.0), finite), a.lift(0.0), select(big, finite, 1.0), a.lift(0.0))
    t = select(big, t, finite)
    t_low = select(big, t_low, 0.0)
    shifted = t > 0.4140625
    d, d_low = fast_two_sum(t.lift(1.0), t)
    e, e_low = two_sum(t, t.lift(-1.0))
    u, u_low = quotient(e, e_low + t_low, d, d_low + t_low)
    u = select(shifted, u, t)
    u_low = select(shifted, u_low, t_low)
    z = u * u
    tail = fma(u * z, horner(z, ATAN), u_low)
    # atan|x| = base ± (u + tail): base 0 or π/4, mirrored about π/2 when |x| > 1
    base = select(shifted, u.lift(PI_2 * 0.5), 0.0)
    base_low = select(shifted, u.lift(PI_2_LOW * 0.5), 0.0)
    base = select(big, PI_2 - base, base)
    base_low = select(big, PI_2_LOW - base_low, base_low)
    high, low = two_sum(base, negate_if(big, u))
    value = high + ((low + base_low) + negate_if(big, tail))
    return keep_nan(x, copy_sign(select(a < 2.0**-12, a, value), x))


def _exp_and_inverse(a: Term) -> tuple[Pair, Term, Term]:
    """e^a = (high + low)·2^n and e^-a·2^-n, 0 ≤ a ≤ 91."""
    high, low, n = exp_pair(select(a > 91.0, a.lift(91.0), a))
    down = select(n < 30, n, 30) * -2
    return (high, low), (1.0 / high) * power_of_two(down), n


def sinh(x: Term) -> Term:
    a = abs(x)
    z = x * x
    small = fma(x * z, horner(z, SINH), x)
    (high, low), inverse, n = _exp_and_inverse(a)
    h, h_low = fast_two_sum(high, -inverse)
    large = scale(h + (h_low + low), n - 1)
    return keep_nan(x, select(a < 1.0, small, copy_sign(large, x)))


def cosh(x: Term) -> Term:
    (high, low), inverse, n = _exp_and_inverse(abs(x))
    h, h_low = fast_two_sum(high, inverse)
    return keep_nan(x, scale(h + (h_low + low), n - 1))


def _root_pair(h: Term, low: Term) -> Pair:
    """√(h + low), 0 at h = 0."""
    s = h.sqrt()
    return s, select(h > 0.0, (fma(-s, s, h) + low) / (s * 2.0), 0.0)


def _plus_ln2(high: Term, low: Term, where: Term) -> Term:
    top, rest = two_sum(select(where, high.lift(LN2_HIGH), 0.0), high)
    return top + (rest + low)


def asinh(x: Term) -> Term:
    a = abs(x)
    z = x * x
    small = fma(a * z, horner(z, ASINH), a)
    huge = a > 16384.0
    c = select(huge, a.lift(1.0), a)
    p, p_low = two_product(c, c)
    h, h_low = two_sum(p, p.lift(1.0))
    s, s_low = _root_pair(h, h_low + p_low)
    u, u_low = two_sum(s, c)
    u, u_low = fast_two_sum(u, u_low + s_low)
    high, low = log_pair(select(huge, select(a < INF, a, 1.0), u), select(huge, 0.0, u_low))
    value = select(a < INF, _plus_ln2(high, low, huge), a)
    return keep_nan(x, copy_sign(select(a < 0.5, small, value), x))


def acosh(x: Term) -> Term:
    huge = x > 16384.0
    c = select(huge, x.lift(1.0), x)
    p, p_low = two_product(c, c)
    h, h_low = two_sum(p, p.lift(-1.0))
    h, h_low = fast_two_sum(h, h_low + p_low)
    s, s_low = _root_pair(h, h_low)
    u, u_low = two_sum(c, s)
    u, u_low = fast_two_sum(u, u_low + s_low)
    high, low = log_pair(select(huge, select(x < INF, x, 1.0), u), select(huge, 0.0, u_low))
    value = select(x < INF, _plus_ln2(high, low, huge), x)
    return keep_nan(x, select(x < 1.0, x.lift(float("nan")), value))


def atanh(x: Term) -> Term:
    a = abs(x)
    z = x * x
    small = fma(x * z, horner(z, ATANH), x)
    n, n_low = fast_two_sum(a.lift(1.0), a)
    d = 1.0 - a
    q, rest = quotient(n, n_low, d, a.lift(0.0))
    q, rest = fast_two_sum(q, rest)
    high, low = log_pair(q, rest)
    value = select(a.equals(1.0), a.lift(INF), (high + low) * 0.5)
    result = select(a < 0.5, small, copy_sign(value, x))
    return select(a <= 1.0, result, x.lift(float("nan")))


def power(x: Term, y: Term) -> Term:
    """e^(y·log |x|), and the special cases."""
    a = abs(x)
    positive = select(a > 0.0, select(a < INF, a, 1.0), 1.0)
    high, low = log_pair(positive, positive * 0.0)
    p, p_low = two_product(high, y)
    p_low = p_low + low * y
    big = abs(y) < 2.0**40
    p = select(big, p, copy_sign(y.lift(256.0), (high.bits() ^ y.bits()).float_of_bits()))
    p = clamp(p, -128.0, 128.0)
    p_low = select(abs(p) < 128.0, select(big, p_low, 0.0), 0.0)
    e, e_low, n = exp_pair(p)
    return special_power(x, y, scale(e + (e_low + e * p_low), n))


UNARY = {
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
SEQUENCES: dict[str, Sequence] = {
    **{n: sequence(n, ("float32",), f) for n, f in UNARY.items()},
    "Pow": sequence("Pow", ("float32", "float32"), power),
}
