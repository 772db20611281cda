"""Binary32 arithmetic in integers, as JAX arrays: the same bits on every XLA device, whatever its float units do.

Values travel as float32; each operation takes them apart. Sizes are those of the ends of quantised networks (softmax, residual sums).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

Array = Any
SIGN, INFINITY, QUIET = 0x80000000, 0x7F800000, 0x7FC00000


def bits(x: Array) -> Array:
    """The bits of binary32 numbers, as int64."""
    return lax.bitcast_convert_type(x, jnp.uint32).astype(jnp.int64)


def number(b: Array) -> Array:
    return lax.bitcast_convert_type(b.astype(jnp.uint32), jnp.float32)


def length(x: Array) -> Array:
    """Bits up to the highest one that is set; 0 for 0. x < 2^63."""
    high, low = (x >> 32).astype(jnp.uint32), (x & 0xFFFFFFFF).astype(jnp.uint32)
    return jnp.where(high != 0, 64 - lax.clz(high).astype(jnp.int64), 32 - lax.clz(low).astype(jnp.int64))


def sticky(x: Array, shift: Array) -> Array:
    """x / 2^shift, whose lowest bit is set where anything was lost."""
    s = jnp.clip(shift, 0, 62)
    kept = x >> s
    lost = (x != (kept << s)) | ((shift > 62) & (x != 0))
    return jnp.where(shift > 62, 0, kept) | lost.astype(jnp.int64)


def halved(x: Array, s: Array) -> Array:
    """x / 2^s to the nearest integer, ties to even. 0 ≤ s ≤ 62."""
    whole, rest, half = x >> s, x & ((jnp.int64(1) << s) - 1), (jnp.int64(1) << s) >> 1
    return whole + ((rest > half) | ((rest == half) & (s > 0) & (whole & 1 == 1))).astype(jnp.int64)


def rounded(sign: Array, m: Array, e: Array) -> Array:
    """The bits nearest to ±m · 2^e, ties to even; the lowest bit of m stands for all below it. m < 2^62."""
    shift = jnp.maximum(length(m) - 24, -149 - e)
    up = jnp.clip(-shift, 0, 62)
    exact = jnp.where(shift <= 0, m << jnp.where(shift <= 0, up, 0), 0)
    r = jnp.where(shift <= 0, exact, jnp.where(shift > 62, 0, halved(m, jnp.clip(shift, 1, 62))))
    exponent = e + shift
    carried = r >> 24 != 0
    r, exponent = jnp.where(carried, r >> 1, r), jnp.where(carried, exponent + 1, exponent)
    biased = exponent + 150
    normal = (biased << 23) | (r & 0x7FFFFF)
    found = jnp.where(r >> 23 == 0, r, jnp.where(biased >= 255, INFINITY, normal))
    return sign | jnp.where(m == 0, 0, found)


def parts(b: Array) -> tuple[Array, Array]:
    """(mantissa, exponent) of finite bits: the number is mantissa · 2^exponent."""
    e = (b >> 23) & 255
    return (b & 0x7FFFFF) | jnp.where(e != 0, 0x800000, 0), jnp.where(e != 0, e, 1) - 150


def is_nan(b: Array) -> Array:
    return (b & 0x7FFFFFFF) > INFINITY


def is_infinite(b: Array) -> Array:
    return (b & 0x7FFFFFFF) == INFINITY


def fma(a: Array, b: Array, c: Array) -> Array:
    """a · b + c, rounded once."""
    x, y, z = jnp.broadcast_arrays(bits(a), bits(b), bits(c))
    (mx, ex), (my, ey), (mz, ez) = parts(x), parts(y), parts(z)
    sp, sz = (x ^ y) & SIGN, z & SIGN
    p, ep = mx * my, ex + ey
    up, uz = jnp.where(p == 0, 0, 61 - length(p)), jnp.where(mz == 0, 0, 61 - length(mz))
    p, ep, q, eq = p << up, ep - up, mz << uz, ez - uz
    ep, eq = jnp.where(p == 0, eq, ep), jnp.where(q == 0, jnp.where(p == 0, eq, ep), eq)
    e = jnp.maximum(ep, eq)
    p, q = sticky(p, e - ep), sticky(q, e - eq)
    total = jnp.where(sp == sz, p + q, jnp.abs(p - q))
    sign = jnp.where(sp == sz, sp, jnp.where(p > q, sp, jnp.where(q > p, sz, 0)))
    finite = rounded(sign, total, e)
    product_infinite = is_infinite(x) | is_infinite(y)
    invalid = (is_infinite(x) & (my == 0) & ~is_infinite(y)) | (is_infinite(y) & (mx == 0) & ~is_infinite(x))
    invalid = invalid | (product_infinite & is_infinite(z) & (sp != sz))
    found = jnp.where(is_infinite(z), z, finite)
    found = jnp.where(product_infinite, sp | INFINITY, found)
    return number(jnp.where(invalid | is_nan(x) | is_nan(y) | is_nan(z), QUIET, found))


def add(a: Array, b: Array) -> Array:
    return fma(a, jnp.float32(1), b)


def sub(a: Array, b: Array) -> Array:
    return fma(a, jnp.float32(1), neg(b))


def mul(a: Array, b: Array) -> Array:
    x, y = jnp.broadcast_arrays(bits(a), bits(b))
    (mx, ex), (my, ey) = parts(x), parts(y)
    sign = (x ^ y) & SIGN
    infinite = is_infinite(x) | is_infinite(y)
    found = jnp.where(infinite, sign | INFINITY, rounded(sign, mx * my, ex + ey))
    invalid = infinite & ((mx == 0) | (my == 0))
    return number(jnp.where(invalid | is_nan(x) | is_nan(y), QUIET, found))


def neg(a: Array) -> Array:
    return number(bits(a) ^ SIGN)


def magnitude(a: Array) -> Array:
    return number(bits(a) & 0x7FFFFFFF)


def div(a: Array, b: Array) -> Array:
    x, y = jnp.broadcast_arrays(bits(a), bits(b))
    (mx, ex), (my, ey) = parts(x), parts(y)
    sign = (x ^ y) & SIGN
    ux, uy = 24 - length(mx), 24 - length(my)
    wide, low = (mx << jnp.maximum(ux, 0)) << 36, jnp.where(my == 0, 1, my << jnp.maximum(uy, 0))
    quotient = wide // low
    quotient = quotient | (wide != quotient * low).astype(jnp.int64)
    found = rounded(sign, quotient, ex - ux - 36 - (ey - uy))
    found = jnp.where((my == 0) | is_infinite(x), sign | INFINITY, jnp.where((mx == 0) | is_infinite(y), sign, found))
    invalid = ((mx == 0) & (my == 0)) | (is_infinite(x) & is_infinite(y))
    return number(jnp.where(invalid | is_nan(x) | is_nan(y), QUIET, found))


def sqrt(a: Array) -> Array:
    x = bits(a)
    m, e = parts(x)
    up = 24 - length(m)
    m, e = m << jnp.maximum(up, 0), e - up
    odd = (e & 1) == 1
    m, e = jnp.where(odd, m << 1, m) << 36, jnp.where(odd, e - 1, e) - 36
    root = jnp.zeros_like(m)
    for bit in range(30, -1, -1):
        trial = root | (1 << bit)
        root = jnp.where(trial * trial <= m, trial, root)
    root = root | (root * root != m).astype(jnp.int64)
    found = rounded(jnp.int64(0), root << 1, e // 2 - 1)
    found = jnp.where((x & 0x7FFFFFFF) == 0, x, jnp.where(x == INFINITY, x, found))
    return number(jnp.where(is_nan(x) | ((x & SIGN != 0) & ((x & 0x7FFFFFFF) != 0)), QUIET, found))


def _key(a: Array) -> Array:
    """Integers in the order of numbers; both zeros are one."""
    b = bits(a)
    size = b & 0x7FFFFFFF
    return jnp.where(b & SIGN != 0, -size, size)


def less(a: Array, b: Array) -> Array:
    return (_key(a) < _key(b)) & ~is_nan(bits(a)) & ~is_nan(bits(b))


def equal(a: Array, b: Array) -> Array:
    return (_key(a) == _key(b)) & ~is_nan(bits(a)) & ~is_nan(bits(b))


def from_integer(a: Array) -> Array:
    """Integers to binary32, to the nearest."""
    wide = a.astype(jnp.int64)
    negative = (wide < 0) & (a.dtype != jnp.uint64)
    m = jnp.where(negative, -wide, wide)
    large = m >> 62 != 0
    m = jnp.where(large, lax.shift_right_logical(m, jnp.int64(2)) | (m & 3 != 0), m)
    return number(rounded(jnp.where(negative, SIGN, 0), m, jnp.where(large, 2, 0)))


def whole(a: Array) -> tuple[Array, Array, Array]:
    """(sign, integer part, the rest in halves: 0, 1 for less than a half, 2 for a half, 3 for more) of numbers below 2^31 in size."""
    b = bits(a)
    m, e = parts(b)
    s = jnp.clip(-e, 0, 62)
    integer = jnp.where(e >= 0, m << jnp.clip(e, 0, 8), m >> s)
    rest, half = m & ((jnp.int64(1) << s) - 1), jnp.where(s > 0, jnp.int64(1) << jnp.maximum(s - 1, 0), 0)
    kind = jnp.where(rest == 0, 0, jnp.where(rest < half, 1, jnp.where(rest == half, 2, 3)))
    return b & SIGN, integer, jnp.where(e >= 0, 0, kind)


def round_even(a: Array) -> Array:
    """To the nearest integer, ties to even."""
    sign, integer, kind = whole(a)
    up = (kind == 3) | ((kind == 2) & (integer & 1 == 1))
    large = (bits(a) & 0x7FFFFFFF) >= 0x4B000000  # 2^23: an integer already, or no number
    return jnp.where(large, a, number(rounded(sign, integer + up.astype(jnp.int64), jnp.int64(0))))


def floor(a: Array) -> Array:
    sign, integer, kind = whole(a)
    down = (sign != 0) & (kind != 0)
    large = (bits(a) & 0x7FFFFFFF) >= 0x4B000000
    return jnp.where(large, a, number(rounded(sign, integer + down.astype(jnp.int64), jnp.int64(0))))


def to_integer(a: Array, low: int, high: int) -> Array:
    """Truncates and saturates, as int64; NaN becomes 0."""
    sign, integer, _ = whole(a)
    large = (bits(a) & 0x7FFFFFFF) >= 0x4F000000  # 2^31
    value = jnp.where(large, jnp.int64(1) << 31, integer)
    value = jnp.clip(jnp.where(sign != 0, -value, value), low, high)
    return jnp.where(is_nan(bits(a)), 0, value)


def _nearest(x: Array) -> tuple[Array, Array]:
    """(mantissa of at most 24 bits and a carry, exponent) nearest to an integer, ties to even."""
    s = jnp.maximum(length(x) - 24, 0)
    return halved(x, s), s


def requantize(x: Array, scale: Array, zero: int, low: int, high: int) -> Array:
    """round(binary32(x) · scale) + zero between the bounds, as int64; 0 · ∞ and a NaN give the lower one. Both roundings as binary32 has
    them."""
    b = bits(scale)
    ms, es = parts(b)
    wide = x.astype(jnp.int64)
    m, e = _nearest(jnp.abs(wide))
    p, up = _nearest(m * ms)
    e = e + up + es
    near = halved(p, jnp.clip(-e, 0, 62))
    large = jnp.where((p != 0) & (e > 30), jnp.int64(1) << 55, p << jnp.clip(e, 0, 30))
    size = jnp.where(e > 0, large, jnp.where(-e > 62, 0, near))
    size = jnp.where(is_infinite(b), jnp.int64(1) << 55, size)
    value = jnp.where((wide < 0) != (b & SIGN != 0), -size, size)
    nothing = is_nan(b) | (is_infinite(b) & (wide == 0))
    return jnp.where(nothing, low, jnp.clip(value + zero, low, high))
