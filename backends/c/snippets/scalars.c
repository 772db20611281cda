/* Numbers and their roundings. Each piece is used by itself: `//! name` begins one. */

//! bits_of
QUICK uint32_t bits_of(float x)
{
    union { float f; uint32_t u; } v;
    v.f = x;
    return v.u;
}

//! float_of
QUICK float float_of(uint32_t x)
{
    union { uint32_t u; float f; } v;
    v.u = x;
    return v.f;
}

//! bits_of_double
QUICK uint64_t bits_of_double(double x)
{
    union { double f; uint64_t u; } v;
    v.f = x;
    return v.u;
}

//! double_of
QUICK double double_of(uint64_t x)
{
    union { uint64_t u; double f; } v;
    v.u = x;
    return v.f;
}

//! signed_of
QUICK int32_t signed_of(uint32_t x)
{
    union { uint32_t u; int32_t i; } v;
    v.u = x;
    return v.i;
}

//! signed_of_64
QUICK int64_t signed_of_64(uint64_t x)
{
    union { uint64_t u; int64_t i; } v;
    v.u = x;
    return v.i;
}

//! is_nan
QUICK int is_nan(float x)
{
#if HAS_FLOAT
    return x != x;
#else
    return (bits_of(x) & 0x7FFFFFFFu) > 0x7F800000u;
#endif
}

//! is_nan_64
QUICK int is_nan_64(double x)
{
    return (bits_of_double(x) & 0x7FFFFFFFFFFFFFFFULL) > 0x7FF0000000000000ULL;
}

//! turned
/* Eight bits to the right around (arm_acle.h of GCC 12 has no __ror). */
QUICK uint32_t turned(uint32_t x, uint32_t by)
{
    return (x >> by) | (x << (32u - by));
}

//! length_of
/* Bits up to the highest one that is set. */
HELPER int32_t length_of(uint64_t x)
{
#if defined(__GNUC__)
    const uint32_t high = (uint32_t)(x >> 32), low = (uint32_t)x;
    return high != 0u ? 64 - (int32_t)__builtin_clz(high) : low != 0u ? 32 - (int32_t)__builtin_clz(low) : 0;
#else
    int32_t n = 0;
    uint64_t rest = x;
    for (int32_t step = 32; step > 0; step /= 2) {
        if ((rest >> step) != 0u) {
            n += step;
            rest >>= step;
        }
    }
    return n + (rest != 0u ? 1 : 0);
#endif
}

//! round_at
/* x / 2^shift to the nearest integer, ties to even. */
HELPER uint64_t round_at(uint64_t x, int32_t shift)
{
    if (shift <= 0) return x << -shift;
    if (shift > 63) return 0u;
    const uint64_t whole = x >> shift, rest = x & (((uint64_t)1 << shift) - 1u), half = (uint64_t)1 << (shift - 1);
    return whole + (rest > half || (rest == half && (whole & 1u) != 0u));
}

//! pack
/* The binary32 number nearest to m * 2^e. m < 2^63; its lowest bit stands for all below. */
HELPER float pack(uint32_t sign, uint64_t m, int32_t e)
{
    const int32_t length = length_of(m);
    if (m == 0u) return float_of(sign);
    int32_t shift = length - 24;
    if (e + shift < -149) shift = -149 - e;
    uint64_t r = shift >= 64 ? 0u : round_at(m, shift);
    int32_t exponent = e + shift;
    if (r >> 24 != 0u) {
        r >>= 1;
        exponent++;
    }
    if (r >> 23 == 0u) return float_of(sign | (uint32_t)r);
    exponent += 150;
    return exponent >= 255 ? float_of(sign | 0x7F800000u) : float_of(sign | ((uint32_t)exponent << 23) | ((uint32_t)r & 0x7FFFFFu));
}

//! fma_by_integers
/* a * b + c rounded once, in integers (a core without fused multiply-add; C libraries' fmaf is not always right). */
HELPER float fma_by_integers(float a, float b, float c)
{
    const uint32_t x = bits_of(a), y = bits_of(b), z = bits_of(c);
    const uint32_t ex = (x >> 23) & 255u, ey = (y >> 23) & 255u, ez = (z >> 23) & 255u;
    if (ez == 255u && ex != 255u && ey != 255u) return c;
    if (ex == 255u || ey == 255u || ez == 255u || (x << 1) == 0u || (y << 1) == 0u) {
        const float product = a * b;
        return product + c;
    }
    const uint64_t mx = (x & 0x7FFFFFu) | (ex != 0u ? 0x800000u : 0u), my = (y & 0x7FFFFFu) | (ey != 0u ? 0x800000u : 0u);
    uint64_t p = mx * my, q = (z & 0x7FFFFFu) | (ez != 0u ? 0x800000u : 0u);
    const uint32_t sp = (x ^ y) & 0x80000000u, sz = z & 0x80000000u;
    int32_t ep = (int32_t)(ex != 0u ? ex : 1u) + (int32_t)(ey != 0u ? ey : 1u) - 300, eq = (int32_t)(ez != 0u ? ez : 1u) - 150;
    if (q == 0u) return pack(sp, p, ep);
    const int32_t up = ex != 0u && ey != 0u ? (p >> 47 != 0u ? 14 : 15) : 62 - length_of(p), uq = ez != 0u ? 38 : 62 - length_of(q);
    p <<= up;
    ep -= up;
    q <<= uq;
    eq -= uq;
    const int32_t d = ep - eq;
    if (d > 0) {
        q = d > 62 ? 1u : (q >> d) | ((q & (((uint64_t)1 << d) - 1u)) != 0u);
    } else if (d < 0) {
        p = -d > 62 ? 1u : (p >> -d) | ((p & (((uint64_t)1 << -d) - 1u)) != 0u);
        ep = eq;
    } else {
        /* the same exponent */
    }
    if (sp == sz) return pack(sp, p + q, ep);
    if (p == q) return 0.0f;
    return p > q ? pack(sp, p - q, ep) : pack(sz, q - p, ep);
}

//! pack_64
/* The binary64 number nearest to (high, low) * 2^e; the lowest bit of low stands for all below. */
HELPER double pack_64(uint64_t sign, uint64_t high, uint64_t low, int32_t e)
{
    const int32_t length = high != 0u ? 64 + length_of(high) : length_of(low), up = 128 - length;
    if (length == 0) return double_of(sign);
    if (up >= 64) {
        high = low << (up - 64);
        low = 0u;
    } else if (up > 0) {
        high = (high << up) | (low >> (64 - up));
        low <<= up;
    }
    const uint64_t m = high | (low != 0u);
    e += 64 - up;
    int32_t shift = 11;
    if (e + shift < -1074) shift = -1074 - e;
    uint64_t r = shift > 63 ? (uint64_t)(shift == 64 && m > (uint64_t)1 << 63) : round_at(m, shift);
    int32_t exponent = e + shift;
    if (r >> 53 != 0u) {
        r >>= 1;
        exponent++;
    }
    if (r >> 52 == 0u) return double_of(sign | r);
    exponent += 1075;
    return exponent >= 2047 ? double_of(sign | 0x7FF0000000000000ULL) : double_of(sign | ((uint64_t)exponent << 52) | (r & 0xFFFFFFFFFFFFFULL));
}

//! fma_64_by_integers
/* a * b + c rounded once, in integers. */
HELPER double fma_64_by_integers(double a, double b, double c)
{
    const uint64_t x = bits_of_double(a), y = bits_of_double(b), z = bits_of_double(c), one = 1u;
    const int32_t ex = (int32_t)((x >> 52) & 2047u), ey = (int32_t)((y >> 52) & 2047u), ez = (int32_t)((z >> 52) & 2047u);
    if (ez == 2047 && ex != 2047 && ey != 2047) return c;
    if (ex == 2047 || ey == 2047 || ez == 2047 || (x << 1) == 0u || (y << 1) == 0u) {
        const double product = a * b;
        return product + c;
    }
    const uint64_t mx = (x & 0xFFFFFFFFFFFFFULL) | (ex != 0 ? one << 52 : 0u), my = (y & 0xFFFFFFFFFFFFFULL) | (ey != 0 ? one << 52 : 0u);
    const uint64_t mz = (z & 0xFFFFFFFFFFFFFULL) | (ez != 0 ? one << 52 : 0u), sp = (x ^ y) & one << 63, sz = z & one << 63;
    const uint64_t x0 = mx & 0xFFFFFFFFu, x1 = mx >> 32, y0 = my & 0xFFFFFFFFu, y1 = my >> 32;
    const uint64_t middle = x1 * y0 + ((x0 * y0) >> 32), cross = x0 * y1 + (middle & 0xFFFFFFFFu);
    uint64_t ph = x1 * y1 + (middle >> 32) + (cross >> 32), pl = (cross << 32) | ((x0 * y0) & 0xFFFFFFFFu), qh, ql;
    int32_t ep = (ex != 0 ? ex : 1) + (ey != 0 ? ey : 1) - 2150, eq = (ez != 0 ? ez : 1) - 1075;
    if (mz == 0u) return pack_64(sp, ph, pl, ep);
    const int32_t length = ph != 0u ? 64 + length_of(ph) : length_of(pl), up = 126 - length, uq = 62 - length_of(mz);
    if (up >= 64) {
        ph = pl << (up - 64);
        pl = 0u;
    } else if (up > 0) {
        ph = (ph << up) | (pl >> (64 - up));
        pl <<= up;
    }
    ep -= up;
    qh = mz << uq;
    ql = 0u;
    eq -= uq + 64;
    const int swap = ep < eq;
    uint64_t *sh = swap ? &ph : &qh, *sl = swap ? &pl : &ql; /* the one whose last bit stands for less is moved down */
    const int32_t d = swap ? eq - ep : ep - eq;
    if (d > 126) {
        *sh = 0u;
        *sl = 1u;
    } else if (d >= 64) {
        const uint64_t lost = *sl | (d > 64 ? *sh << (128 - d) : 0u);
        *sl = (*sh >> (d - 64)) | (lost != 0u);
        *sh = 0u;
    } else if (d > 0) {
        const uint64_t lost = *sl << (64 - d);
        *sl = (*sl >> d) | (*sh << (64 - d)) | (lost != 0u);
        *sh >>= d;
    }
    const int32_t e = swap ? eq : ep;
    if (sp == sz) {
        const uint64_t low = pl + ql;
        return pack_64(sp, ph + qh + (low < pl), low, e);
    }
    if (ph == qh && pl == ql) return 0.0;
    if (ph > qh || (ph == qh && pl > ql)) return pack_64(sp, ph - qh - (pl < ql), pl - ql, e);
    return pack_64(sz, qh - ph - (ql < pl), ql - pl, e);
}

//! FMA_64
#if HAS_FMA_64
#define FMA_64(a, b, c) fused_64(a, b, c)
#else
#define FMA_64(a, b, c) fma_64_by_integers(a, b, c)
#endif

//! FMA
#if HAS_FMA
#define FMA(a, b, c) fused(a, b, c)
#else
#define FMA(a, b, c) fma_by_integers(a, b, c)
#endif

//! square_root
HELPER float square_root(float x)
{
#if HAS_FLOAT
    return root_of(x);
#else
    const uint32_t u = bits_of(x);
    if (u == 0u || u == 0x80000000u || u == 0x7F800000u || (u & 0x7FFFFFFFu) > 0x7F800000u) return x;
    if (u >> 31 != 0u) return float_of(0x7FC00000u);
    const uint32_t e = u >> 23;
    uint64_t m = (u & 0x7FFFFFu) | (e != 0u ? 0x800000u : 0u);
    int32_t exponent = (int32_t)(e != 0u ? e : 1u) - 150;
    const int32_t up = 24 - length_of(m);
    m <<= up;
    exponent -= up;
    if ((exponent & 1) != 0) {
        m <<= 1;
        exponent -= 1;
    }
    m <<= 36; /* root of 61 or so bits: 30 bits, and whether anything is left */
    uint64_t root = 0u, rest = 0u;
    for (int32_t i = 31; i >= 0; i--) {
        rest = (rest << 2) | ((m >> (2 * i)) & 3u);
        const uint64_t trial = (root << 2) | 1u;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1u;
        }
    }
    return pack(0u, (root << 1) | (rest != 0u), (exponent - 36) / 2 - 1);
#endif
}

//! round_even
HELPER float round_even(float x)
{
    const uint32_t sign = bits_of(x) & 0x80000000u;
    const float a = float_of(bits_of(x) & 0x7FFFFFFFu);
    if (!(a < 8388608.0f)) return x;
    const float up = a + 8388608.0f;
    return float_of(bits_of(up - 8388608.0f) | sign);
}

//! round_down
HELPER float round_down(float x)
{
    const float r = round_even(x);
    return r > x ? r - 1.0f : r;
}

//! round_up
HELPER float round_up(float x)
{
    const float r = round_even(x);
    return r < x ? float_of(bits_of(r + 1.0f) | (bits_of(x) & 0x80000000u)) : r;
}

//! round_even_64
HELPER double round_even_64(double x)
{
    const uint64_t sign = bits_of_double(x) & 0x8000000000000000ULL;
    const double a = double_of(bits_of_double(x) & 0x7FFFFFFFFFFFFFFFULL);
    if (!(a < 4503599627370496.0)) return x;
    const double up = a + 4503599627370496.0;
    return double_of(bits_of_double(up - 4503599627370496.0) | sign);
}

//! round_down_64
HELPER double round_down_64(double x)
{
    const double r = round_even_64(x);
    return r > x ? r - 1.0 : r;
}

//! round_up_64
HELPER double round_up_64(double x)
{
    const double r = round_even_64(x);
    return r < x ? double_of(bits_of_double(r + 1.0) | (bits_of_double(x) & 0x8000000000000000ULL)) : r;
}

//! probe
/* What flags and libraries may break though no macro tells: sums in order, rounded once each and to even; zeros' signs; subnormals; quotients. */
HELPER int probe(void)
{
    volatile uint32_t given[] = {0x4B800000u, 0x3F800000u, 0x40400000u, 0x80000000u, 0x00800000u, 0x3F800800u, 0x1C800000u, 0x40A00000u, 0x40E00000u, 0x41200000u, 0x42440000u};
    float x[11];
    for (int32_t i = 0; i < 11; i++) { x[i] = float_of(given[i]); }
    const float up = x[0] + x[1], even = x[0] + x[2], square = x[5] * x[5];
    int holds = bits_of(up - x[0]) == 0u && bits_of(even - x[0]) == 0x40800000u && bits_of(x[3] + 0.0f) == 0u;
    holds = holds && bits_of(x[4] * 0.5f) == 0x00400000u && bits_of(square + x[6]) == 0x3F801000u;
    for (int32_t i = 7; i < 10; i++) { x[i] = x[i] / x[10]; } /* 5, 7 and 10 by 49: none is a product with the reciprocal */
    return holds && bits_of(x[7]) == 0x3DD0FAC7u && bits_of(x[8]) == 0x3E124925u && bits_of(x[9]) == 0x3E50FAC7u;
}

//! probe_fused
HELPER int probe_fused(void)
{
    volatile uint32_t bits[] = {0x3F800800u, 0x1C800000u};
    const float x = float_of(bits[0]), c = float_of(bits[1]);
    return bits_of(FMA(x, x, c)) == 0x3F801001u;
}

//! requantize
/* round(binary32(x) * scale) + zero between the bounds, ties to even. */
#if HAS_FLOAT
QUICK
#else
SHARED
#endif
int32_t requantize(int32_t x, float scale, int32_t zero, int32_t low, int32_t most)
{
#if HAS_DSP && HAS_FLOAT
    float y = (float)x * scale;
    __asm__("vcvtr.s32.f32 %0, %0" : "+t"(y)); /* rounds as the control register says, to nearest even, and saturates */
    const int32_t whole = __qadd(signed_of(bits_of(y)), zero);
    return whole < low ? low : whole > most ? most : whole;
#elif HAS_FLOAT
    float y = (float)x * scale;
    const float bottom = (float)(low - zero), top = (float)(most - zero);
    y = bottom < y ? y : bottom;
    y = y < top ? y : top;
    y = y + 12582912.0f; /* 1.5 * 2^23: the sum's last bit is 1 */
    return signed_of(bits_of(y) - 0x4B400000u) + zero;
#else
    const uint32_t s = bits_of(scale), es = (s >> 23) & 255u, size = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    if (size < 0x1000000u && s >> 31 == 0u && es > 102u && es < 125u) {
        /* The upper 32 of the product's 48 bits decide, unless they are next to a tie: rounding twice and rounding once differ only there. */
        const uint32_t high = (uint32_t)(((uint64_t)size * ((s & 0x7FFFFFu) | 0x800000u)) >> 16), shift = 134u - es;
        const uint32_t half = 1u << (shift - 1u), rest = high & (half + half - 1u);
        if (rest > half + 256u || rest + 257u < half) {
            const int32_t whole = (int32_t)((high >> shift) + (rest > half)), y = (x < 0 ? -whole : whole) + zero;
            return y < low ? low : y > most ? most : y;
        }
    }
    const int32_t negative = (x < 0) != (s >> 31 != 0u);
    uint64_t m = x < 0 ? (uint64_t)(0 - (int64_t)x) : (uint64_t)x;
    int32_t e = (int32_t)(es != 0u ? es : 1u) - 150, over = length_of(m) - 24;
    if (over > 0) { /* x as binary32 */
        m = round_at(m, over);
        e += over;
    }
    m *= (s & 0x7FFFFFu) | (es != 0u ? 0x800000u : 0u);
    over = length_of(m) - 24;
    if (over > 0) { /* the product as binary32 */
        m = round_at(m, over);
        e += over;
    }
    if (e > 7) {
        m = m != 0u ? 0x7FFFFFFFu : 0u;
    } else {
        m = round_at(m, -e);
    }
    if (m > 0x7FFFFFFFu) { m = 0x7FFFFFFFu; }
    const int64_t y = (negative ? 0 - (int64_t)m : (int64_t)m) + zero;
    return y < low ? low : y > most ? most : (int32_t)y;
#endif
}

//! float_of_half
HELPER float float_of_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3FFu;
    if (e == 31u) return float_of(sign | 0x7F800000u | (m << 13));
    if (e != 0u) return float_of(sign | ((e + 112u) << 23) | (m << 13));
    return pack(sign, m, -24);
}

//! half_of_float
HELPER uint16_t half_of_float(float x)
{
    const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);
    if (a < 0x38800000u) return (uint16_t)(sign | (uint32_t)round_at((a & 0x7FFFFFu) | (a >> 23 != 0u ? 0x800000u : 0u), 126 - (int32_t)(a >> 23)));
    return (uint16_t)(sign | (uint32_t)(round_at(a, 13) - 0x1C000u));
}

//! remainder_of
/* The exact remainder with the sign of x (fmodf). */
HELPER float remainder_of(float x, float y)
{
    const uint32_t sign = bits_of(x) & 0x80000000u;
    uint32_t a = bits_of(x) & 0x7FFFFFFFu, b = bits_of(y) & 0x7FFFFFFFu;
    if (a >= 0x7F800000u || b > 0x7F800000u || b == 0u) return float_of(0x7FC00000u);
    if (a < b) return x;
    const int32_t ea = (int32_t)(a >> 23), eb = (int32_t)(b >> 23);
    uint64_t m = (a & 0x7FFFFFu) | (ea != 0 ? 0x800000u : 0u), n = (b & 0x7FFFFFu) | (eb != 0 ? 0x800000u : 0u);
    for (int32_t i = (ea != 0 ? ea : 1) - (eb != 0 ? eb : 1); i > 0; i--) m = (m % n) << 1;
    m %= n;
    return m == 0u ? float_of(sign) : pack(sign, m, (eb != 0 ? eb : 1) - 150);
}
