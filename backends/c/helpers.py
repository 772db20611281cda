"""C that kernels call, by name; a model's file holds those that it uses.

Everything is ISO C99 over binary32, binary64 and integers; faster forms stand beside it where the compiler says what the core has.
"""

from __future__ import annotations

import re

from mlcc.arithmetic.bf16 import ROUNDS_TO_SMALLEST
from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc_backends.c.text import literal

PRELUDE = r"""
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) \
    || defined(__NO_SIGNED_ZEROS__)
#error "results are exact only without -ffast-math, -funsafe-math-optimizations and their parts"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "binary32 must be computed as such: add -msse2 -mfpmath=sse"
#endif

/* What the core computes by itself: binary32 arithmetic, fused multiply-adds, two products of halfwords at once. */
#if defined(HAS_FLOAT) /* said on the command line, for tests */
#elif defined(__ARM_FP) && (__ARM_FP & 4)
#define HAS_FLOAT 1
#elif defined(__arm__) || (defined(__riscv) && !defined(__riscv_flen))
#define HAS_FLOAT 0
#else
#define HAS_FLOAT 1
#endif
#if defined(HAS_FMA)
#elif defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF) || defined(__riscv_flen) || defined(__FMA__)
#define HAS_FMA 1
#else
#define HAS_FMA 0
#endif
#if (defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 8)) || defined(__FP_FAST_FMA) || (defined(__riscv_flen) && __riscv_flen >= 64) || defined(__FMA__)
#define HAS_FMA_64 1
#else
#define HAS_FMA_64 0
#endif
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define HAS_DSP 1
#else
#define HAS_DSP 0
#endif
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#define HAS_VECTORS 1
#else
#define HAS_VECTORS 0
#endif
#if defined(__riscv_vector) && __riscv_v_min_vlen >= 128
#include <riscv_vector.h>
#define HAS_RVV 1
#else
#define HAS_RVV 0
#endif
#if defined(__GNUC__)
#define HELPER static __attribute__((unused)) /* some serve only cores without float units */
#define SHARED static __attribute__((unused, noinline)) /* one copy for all kernels */
#define QUICK static inline __attribute__((unused, always_inline))
#else
#define HELPER static
#define SHARED static
#define QUICK static inline
#endif
#if defined(__clang__) /* a few turns over values that lie in registers then, whatever the level */
#define UNROLLED _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__) && __GNUC__ >= 8
#define UNROLLED _Pragma("GCC unroll 8")
#else
#define UNROLLED
#endif
#if HAS_DSP
#define TILE HELPER
#else
#define TILE SHARED /* small cores have too few registers to inline them well */
#endif
/* Fused multiply-adds and roots as instructions. Where clang heeds errno, it makes calls of the builtins, and newlib's fmaf rounds twice. */
#if defined(__clang__) && !defined(__NO_MATH_ERRNO__) && !defined(__gnu_linux__)
#define CALLS 1
#else
#define CALLS 0
#endif
#if !defined(__GNUC__)
#include <math.h>
#define fused fmaf
#define fused_64 fma
#define root_of sqrtf
#define root_of_64 sqrt
#define remainder_of_64 fmod
#else /* no headers of a C library are needed */
#if !CALLS
#define fused __builtin_fmaf
#define fused_64 __builtin_fma
#elif defined(__aarch64__)
QUICK float fused(float a, float b, float c) { float r; __asm__("fmadd %s0, %s1, %s2, %s3" : "=w"(r) : "w"(a), "w"(b), "w"(c)); return r; }
QUICK double fused_64(double a, double b, double c) { double r; __asm__("fmadd %d0, %d1, %d2, %d3" : "=w"(r) : "w"(a), "w"(b), "w"(c)); return r; }
#elif defined(__ARM_FEATURE_FMA)
QUICK float fused(float a, float b, float c) { __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b)); return c; }
#if HAS_FMA_64
QUICK double fused_64(double a, double b, double c) { __asm__("vfma.f64 %P0, %P1, %P2" : "+w"(c) : "w"(a), "w"(b)); return c; }
#endif
#elif defined(__riscv_flen)
QUICK float fused(float a, float b, float c) { float r; __asm__("fmadd.s %0, %1, %2, %3" : "=f"(r) : "f"(a), "f"(b), "f"(c)); return r; }
#if HAS_FMA_64
QUICK double fused_64(double a, double b, double c) { double r; __asm__("fmadd.d %0, %1, %2, %3" : "=f"(r) : "f"(a), "f"(b), "f"(c)); return r; }
#endif
#elif defined(__FMA__)
QUICK float fused(float a, float b, float c) { __asm__("vfmadd231ss %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); return c; }
QUICK double fused_64(double a, double b, double c) { __asm__("vfmadd231sd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); return c; }
#else
#undef HAS_FMA
#define HAS_FMA 0
#undef HAS_FMA_64
#define HAS_FMA_64 0
#endif
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
QUICK float root_of(float x) { float r; __asm__("vsqrt.f32 %0, %1" : "=t"(r) : "t"(x)); return r; }
#elif defined(__riscv_flen)
QUICK float root_of(float x) { float r; __asm__("fsqrt.s %0, %1" : "=f"(r) : "f"(x)); return r; }
#else
#define root_of __builtin_sqrtf
#endif
#define root_of_64 __builtin_sqrt
#define remainder_of_64 __builtin_fmod
#endif
"""

SNIPPETS: dict[str, str] = {
    "bits_of": "QUICK uint32_t bits_of(float x)\n{\n    union { float f; uint32_t u; } v;\n    v.f = x;\n    return v.u;\n}",
    "float_of": "QUICK float float_of(uint32_t x)\n{\n    union { uint32_t u; float f; } v;\n    v.u = x;\n    return v.f;\n}",
    "bits_of_double": "QUICK uint64_t bits_of_double(double x)\n{\n    union { double f; uint64_t u; } v;\n    v.f = x;\n    return v.u;\n}",
    "double_of": "QUICK double double_of(uint64_t x)\n{\n    union { uint64_t u; double f; } v;\n    v.u = x;\n    return v.f;\n}",
    "signed_of": "QUICK int32_t signed_of(uint32_t x)\n{\n    union { uint32_t u; int32_t i; } v;\n    v.u = x;\n    return v.i;\n}",
    "signed_of_64": "QUICK int64_t signed_of_64(uint64_t x)\n{\n    union { uint64_t u; int64_t i; } v;\n    v.u = x;\n    return v.i;\n}",
    "turned": """/* Eight bits to the right around (arm_acle.h of GCC 12 has no __ror). */
QUICK uint32_t turned(uint32_t x, uint32_t by)
{
    return (x >> by) | (x << (32u - by));
}""",
    "length_of": r"""/* Bits up to the highest one that is set. */
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
}""",
    "round_at": r"""/* x / 2^shift to the nearest integer, ties to even. */
HELPER uint64_t round_at(uint64_t x, int32_t shift)
{
    if (shift <= 0) return x << -shift;
    if (shift > 63) return 0u;
    const uint64_t whole = x >> shift, rest = x & (((uint64_t)1 << shift) - 1u), half = (uint64_t)1 << (shift - 1);
    return whole + (rest > half || (rest == half && (whole & 1u) != 0u));
}""",
    "pack": r"""/* The binary32 number nearest to m * 2^e. m < 2^63; its lowest bit stands for all below. */
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
}""",
    "fma_by_integers": r"""/* a * b + c rounded once, in integers (a core without fused multiply-add; C libraries' fmaf is not always right). */
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
}""",
    "pack_64": r"""/* The binary64 number nearest to (high, low) * 2^e; the lowest bit of low stands for all below. */
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
}""",
    "fma_64_by_integers": r"""/* a * b + c rounded once, in integers. */
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
}""",
    "FMA_64": r"""#if HAS_FMA_64
#define FMA_64(a, b, c) fused_64(a, b, c)
#else
#define FMA_64(a, b, c) fma_64_by_integers(a, b, c)
#endif""",
    "FMA": r"""#if HAS_FMA
#define FMA(a, b, c) fused(a, b, c)
#else
#define FMA(a, b, c) fma_by_integers(a, b, c)
#endif""",
    "square_root": r"""HELPER float square_root(float x)
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
}""",
    "round_even": r"""HELPER float round_even(float x)
{
    const uint32_t sign = bits_of(x) & 0x80000000u;
    const float a = float_of(bits_of(x) & 0x7FFFFFFFu);
    if (!(a < 8388608.0f)) return x;
    const float up = a + 8388608.0f;
    return float_of(bits_of(up - 8388608.0f) | sign);
}""",
    "round_down": r"""HELPER float round_down(float x)
{
    const float r = round_even(x);
    return r > x ? r - 1.0f : r;
}""",
    "round_up": r"""HELPER float round_up(float x)
{
    const float r = round_even(x);
    return r < x ? float_of(bits_of(r + 1.0f) | (bits_of(x) & 0x80000000u)) : r;
}""",
    "round_even_64": r"""HELPER double round_even_64(double x)
{
    const uint64_t sign = bits_of_double(x) & 0x8000000000000000ULL;
    const double a = double_of(bits_of_double(x) & 0x7FFFFFFFFFFFFFFFULL);
    if (!(a < 4503599627370496.0)) return x;
    const double up = a + 4503599627370496.0;
    return double_of(bits_of_double(up - 4503599627370496.0) | sign);
}""",
    "round_down_64": r"""HELPER double round_down_64(double x)
{
    const double r = round_even_64(x);
    return r > x ? r - 1.0 : r;
}""",
    "round_up_64": r"""HELPER double round_up_64(double x)
{
    const double r = round_even_64(x);
    return r < x ? double_of(bits_of_double(r + 1.0) | (bits_of_double(x) & 0x8000000000000000ULL)) : r;
}""",
    "largest": r"""/* NaN wins, +0 is above -0 (IEEE 754-2019 maximum). */
HELPER float largest(float a, float b)
{
    if (a > b || a != a) return a;
    if (b > a || b != b) return b;
    return float_of(bits_of(a) & bits_of(b));
}""",
    "smallest": r"""HELPER float smallest(float a, float b)
{
    if (a < b || a != a) return a;
    if (b < a || b != b) return b;
    return float_of(bits_of(a) | bits_of(b));
}""",
    "largest_64": r"""HELPER double largest_64(double a, double b)
{
    if (a > b || a != a) return a;
    if (b > a || b != b) return b;
    return double_of(bits_of_double(a) & bits_of_double(b));
}""",
    "smallest_64": r"""HELPER double smallest_64(double a, double b)
{
    if (a < b || a != a) return a;
    if (b < a || b != b) return b;
    return double_of(bits_of_double(a) | bits_of_double(b));
}""",
    "probe": r"""/* What flags and libraries may break though no macro tells: sums in order, rounded once each and to even; zeros' signs; subnormals; quotients. */
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
}""",
    "probe_fused": r"""HELPER int probe_fused(void)
{
    volatile uint32_t bits[] = {0x3F800800u, 0x1C800000u};
    const float x = float_of(bits[0]), c = float_of(bits[1]);
    return bits_of(FMA(x, x, c)) == 0x3F801001u;
}""",
    "requantize": r"""/* round(binary32(x) * scale) + zero between the bounds, ties to even. */
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
}""",
    "to_float_of_half": r"""HELPER float to_float_of_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3FFu;
    if (e == 31u) return float_of(sign | 0x7F800000u | (m << 13));
    if (e != 0u) return float_of(sign | ((e + 112u) << 23) | (m << 13));
    return pack(sign, m, -24);
}""",
    "to_half": r"""HELPER uint16_t to_half(float x)
{
    const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u);
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);
    if (a < 0x38800000u) return (uint16_t)(sign | (uint32_t)round_at((a & 0x7FFFFFu) | (a >> 23 != 0u ? 0x800000u : 0u), 126 - (int32_t)(a >> 23)));
    return (uint16_t)(sign | (uint32_t)(round_at(a, 13) - 0x1C000u));
}""",
    "to_half_of_double": r"""/* By way of binary32 rounded to odd, so that the second rounding is right. */
HELPER uint16_t to_half_of_double(double x)
{
    const float near = (float)x;
    uint32_t u = bits_of(near);
    if ((double)near != x && x == x) {
        const double a = x < 0.0 ? -x : x, b = near < 0.0f ? -(double)near : (double)near;
        if (b > a) u -= 1u;
        u |= 1u;
    }
    return to_half(float_of(u));
}""",
    "to_bfloat": r"""HELPER uint16_t to_bfloat(float x)
{
    const uint32_t u = bits_of(x);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)((u | 0x400000u) >> 16);
    return (uint16_t)((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}""",
    "brain_of": rf"""/* The bf16 profile's bfloat16 of a binary32 number: +0 below 2^-55. */
HELPER uint16_t brain_of(float x)
{{
    const float y = x + 0.0f;
    if (float_of(bits_of(y) & 0x7FFFFFFFu) < {literal(ROUNDS_TO_SMALLEST, "float32")}) return 0u;
    return to_bfloat(y);
}}""",
    "remainder_of": r"""/* The exact remainder with the sign of x (fmodf). */
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
}""",
    "dot_2x4": r"""/* Two rows by four columns of sums, each one chain of fused multiply-adds over k. */
SHARED void dot_2x4(const float *const x[2], const float *w, int32_t k, float sum[8])
{
    const float *x0 = x[0], *x1 = x[1];
    float a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3], b0 = sum[4], b1 = sum[5], b2 = sum[6], b3 = sum[7];
#define STEP(p, q, w0, w1, w2, w3) \
    do { \
        const float px = p, qx = q, u0 = w0, u1 = w1, u2 = w2, u3 = w3; \
        a0 = FMA(px, u0, a0), a1 = FMA(px, u1, a1), a2 = FMA(px, u2, a2), a3 = FMA(px, u3, a3); \
        b0 = FMA(qx, u0, b0), b1 = FMA(qx, u1, b1), b2 = FMA(qx, u2, b2), b3 = FMA(qx, u3, b3); \
    } while (0)
    for (; k >= 4; k -= 4, x0 += 4, x1 += 4, w += 16) {
        STEP(x0[0], x1[0], w[0], w[1], w[2], w[3]);
        STEP(x0[1], x1[1], w[4], w[5], w[6], w[7]);
        STEP(x0[2], x1[2], w[8], w[9], w[10], w[11]);
        STEP(x0[3], x1[3], w[12], w[13], w[14], w[15]);
    }
    for (; k > 0; k--, x0++, x1++, w += 4) STEP(x0[0], x1[0], w[0], w[1], w[2], w[3]);
#undef STEP
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = a2;
    sum[3] = a3;
    sum[4] = b0;
    sum[5] = b1;
    sum[6] = b2;
    sum[7] = b3;
}""",
    "dot_1x4": r"""SHARED void dot_1x4(const float *const x[1], const float *w, int32_t k, float sum[4])
{
    const float *x0 = x[0];
    float a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
#define STEP(p, w0, w1, w2, w3) \
    do { \
        const float px = p; \
        a0 = FMA(px, w0, a0), a1 = FMA(px, w1, a1), a2 = FMA(px, w2, a2), a3 = FMA(px, w3, a3); \
    } while (0)
    for (; k >= 4; k -= 4, x0 += 4, w += 16) {
        STEP(x0[0], w[0], w[1], w[2], w[3]);
        STEP(x0[1], w[4], w[5], w[6], w[7]);
        STEP(x0[2], w[8], w[9], w[10], w[11]);
        STEP(x0[3], w[12], w[13], w[14], w[15]);
    }
    for (; k > 0; k--, x0++, w += 4) STEP(x0[0], w[0], w[1], w[2], w[3]);
#undef STEP
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = a2;
    sum[3] = a3;
}""",
    "dot_4x4_bytes": r"""/* Four rows by four columns; the weights are bytes times their column's scale: the very floats that the model has. */
SHARED void dot_4x4_bytes(const float *const x[4], const int8_t *w, const float *scale, int32_t k, float sum[16])
{
    const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], s0 = scale[0], s1 = scale[1], s2 = scale[2], s3 = scale[3];
    float a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3], b0 = sum[4], b1 = sum[5], b2 = sum[6], b3 = sum[7];
    float c0 = sum[8], c1 = sum[9], c2 = sum[10], c3 = sum[11], d0 = sum[12], d1 = sum[13], d2 = sum[14], d3 = sum[15];
    for (; k > 0; k--, w += 4) {
        const float w0 = (float)w[0] * s0, w1 = (float)w[1] * s1, w2 = (float)w[2] * s2, w3 = (float)w[3] * s3;
        float p = *x0++;
        a0 = FMA(p, w0, a0), a1 = FMA(p, w1, a1), a2 = FMA(p, w2, a2), a3 = FMA(p, w3, a3);
        p = *x1++;
        b0 = FMA(p, w0, b0), b1 = FMA(p, w1, b1), b2 = FMA(p, w2, b2), b3 = FMA(p, w3, b3);
        p = *x2++;
        c0 = FMA(p, w0, c0), c1 = FMA(p, w1, c1), c2 = FMA(p, w2, c2), c3 = FMA(p, w3, c3);
        p = *x3++;
        d0 = FMA(p, w0, d0), d1 = FMA(p, w1, d1), d2 = FMA(p, w2, d2), d3 = FMA(p, w3, d3);
    }
    sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3, sum[4] = b0, sum[5] = b1, sum[6] = b2, sum[7] = b3;
    sum[8] = c0, sum[9] = c1, sum[10] = c2, sum[11] = c3, sum[12] = d0, sum[13] = d1, sum[14] = d2, sum[15] = d3;
}""",
    "dot_1x4_bytes": r"""SHARED void dot_1x4_bytes(const float *const x[1], const int8_t *w, const float *scale, int32_t k, float sum[4])
{
    const float *x0 = x[0];
    for (; k > 0; k--, x0++, w += 4)
        for (int32_t i = 0; i < 4; i++) sum[i] = FMA(*x0, (float)w[i] * scale[i], sum[i]);
}""",
    "lanes_4": r"""QUICK void lanes_4(const float *x, const float *w, float sum[4])
{
    sum[0] = FMA(x[0], w[0], sum[0]);
    sum[1] = FMA(x[1], w[1], sum[1]);
    sum[2] = FMA(x[2], w[2], sum[2]);
    sum[3] = FMA(x[3], w[3], sum[3]);
}""",
    "lanes_8": r"""QUICK void lanes_8(const float *x, const float *w, float sum[8])
{
    lanes_4(x, w, sum);
    lanes_4(x + 4, w + 4, sum + 4);
}""",
    "word_at": r"""#if HAS_DSP
QUICK uint32_t word_at(const void *p)
{
    uint32_t w;
    __builtin_memcpy(&w, p, 4);
    return w;
}
#endif""",
}

SNIPPETS["all_of"] = r"""#if HAS_RVV
QUICK int32_t all_of(int32_t start, vint32m4_t parts)
{
    return __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(parts, __riscv_vmv_v_x_i32m1(start, 1), 16));
}
#endif"""
BYTES = {
    "words_2x2_X": r"""/* Two rows by two columns of sums of products of bytes; four k at a time, w: [k / 4][2][4]. */
TILE void words_2x2_X(const T *const x[2], const int8_t *w, int32_t k, int32_t sum[4])
{
    const T *x0 = x[0], *x1 = x[1];
    int32_t a0 = sum[0], a1 = sum[1], b0 = sum[2], b1 = sum[3];
    for (; k > 0; k -= 4, x0 += 4, x1 += 4, w += 8) {
#if HAS_DSP
        const uint32_t p = word_at(x0), q = word_at(x1), u = word_at(w), v = word_at(w + 4);
        const int16x2_t p0 = EXTEND(p), p1 = EXTEND(turned(p, 8)), q0 = EXTEND(q), q1 = EXTEND(turned(q, 8));
        const int16x2_t u0 = __sxtb16((int8x4_t)u), u1 = __sxtb16((int8x4_t)turned(u, 8)), v0 = __sxtb16((int8x4_t)v), v1 = __sxtb16((int8x4_t)turned(v, 8));
        a0 = __smlad(p1, u1, __smlad(p0, u0, a0));
        a1 = __smlad(p1, v1, __smlad(p0, v0, a1));
        b0 = __smlad(q1, u1, __smlad(q0, u0, b0));
        b1 = __smlad(q1, v1, __smlad(q0, v0, b1));
#else
        for (int32_t i = 0; i < 4; i++) {
            a0 += x0[i] * w[i];
            a1 += x0[i] * w[4 + i];
            b0 += x1[i] * w[i];
            b1 += x1[i] * w[4 + i];
        }
#endif
    }
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = b0;
    sum[3] = b1;
}""",
    "words_1x2_X": r"""TILE void words_1x2_X(const T *const x[1], const int8_t *w, int32_t k, int32_t sum[2])
{
    const T *x0 = x[0];
    int32_t a0 = sum[0], a1 = sum[1];
    for (; k > 0; k -= 4, x0 += 4, w += 8) {
#if HAS_DSP
        const uint32_t p = word_at(x0), u = word_at(w), v = word_at(w + 4);
        const int16x2_t p0 = EXTEND(p), p1 = EXTEND(turned(p, 8));
        a0 = __smlad(p1, __sxtb16((int8x4_t)turned(u, 8)), __smlad(p0, __sxtb16((int8x4_t)u), a0));
        a1 = __smlad(p1, __sxtb16((int8x4_t)turned(v, 8)), __smlad(p0, __sxtb16((int8x4_t)v), a1));
#else
        for (int32_t i = 0; i < 4; i++) {
            a0 += x0[i] * w[i];
            a1 += x0[i] * w[4 + i];
        }
#endif
    }
    sum[0] = a0;
    sum[1] = a1;
}""",
    "vectors_2x2_X": r"""/* Sixteen k at a time, w: [k / 16][2][16]. */
HELPER void vectors_2x2_X(const T *const x[2], const int8_t *w, int32_t k, int32_t sum[4])
{
    const T *x0 = x[0], *x1 = x[1];
    int32_t a0 = sum[0], a1 = sum[1], b0 = sum[2], b1 = sum[3];
#if HAS_RVV
    vint32m4_t s0 = __riscv_vmv_v_x_i32m4(0, 16), s1 = s0, s2 = s0, s3 = s0;
#endif
    for (; k > 0; k -= 16, x0 += 16, x1 += 16, w += 32) {
#if HAS_VECTORS
        for (int32_t i = 0; i < 16; i += PER) {
            const VECTOR p = LOAD(x0 + i), q = LOAD(x1 + i), u = WEIGHTS(w + i), v = WEIGHTS(w + 16 + i);
            a0 = DOT(a0, p, u);
            a1 = DOT(a1, p, v);
            b0 = DOT(b0, q, u);
            b1 = DOT(b1, q, v);
        }
#elif HAS_RVV
        const SIXTEEN p = FETCH(x0, 16), q = FETCH(x1, 16);
        const vint8m1_t u = __riscv_vle8_v_i8m1(w, 16), v = __riscv_vle8_v_i8m1(w + 16, 16);
        s0 = __riscv_vwadd_wv_i32m4(s0, PRODUCT(u, p, 16), 16);
        s1 = __riscv_vwadd_wv_i32m4(s1, PRODUCT(v, p, 16), 16);
        s2 = __riscv_vwadd_wv_i32m4(s2, PRODUCT(u, q, 16), 16);
        s3 = __riscv_vwadd_wv_i32m4(s3, PRODUCT(v, q, 16), 16);
#else
        for (int32_t i = 0; i < 16; i++) {
            a0 += x0[i] * w[i];
            a1 += x0[i] * w[16 + i];
            b0 += x1[i] * w[i];
            b1 += x1[i] * w[16 + i];
        }
#endif
    }
#if HAS_RVV
    a0 = all_of(a0, s0);
    a1 = all_of(a1, s1);
    b0 = all_of(b0, s2);
    b1 = all_of(b1, s3);
#endif
    sum[0] = a0;
    sum[1] = a1;
    sum[2] = b0;
    sum[3] = b1;
}""",
    "vectors_1x2_X": r"""HELPER void vectors_1x2_X(const T *const x[1], const int8_t *w, int32_t k, int32_t sum[2])
{
    const T *x0 = x[0];
    int32_t a0 = sum[0], a1 = sum[1];
#if HAS_RVV
    vint32m4_t s0 = __riscv_vmv_v_x_i32m4(0, 16), s1 = s0;
#endif
    for (; k > 0; k -= 16, x0 += 16, w += 32) {
#if HAS_VECTORS
        for (int32_t i = 0; i < 16; i += PER) {
            const VECTOR p = LOAD(x0 + i);
            a0 = DOT(a0, p, WEIGHTS(w + i));
            a1 = DOT(a1, p, WEIGHTS(w + 16 + i));
        }
#elif HAS_RVV
        const SIXTEEN p = FETCH(x0, 16);
        s0 = __riscv_vwadd_wv_i32m4(s0, PRODUCT(__riscv_vle8_v_i8m1(w, 16), p, 16), 16);
        s1 = __riscv_vwadd_wv_i32m4(s1, PRODUCT(__riscv_vle8_v_i8m1(w + 16, 16), p, 16), 16);
#else
        for (int32_t i = 0; i < 16; i++) {
            a0 += x0[i] * w[i];
            a1 += x0[i] * w[16 + i];
        }
#endif
    }
#if HAS_RVV
    a0 = all_of(a0, s0);
    a1 = all_of(a1, s1);
#endif
    sum[0] = a0;
    sum[1] = a1;
}""",
    "bytes_4_X": r"""/* Four neighbouring channels of a depthwise convolution. */
QUICK void bytes_4_X(const T *x, const int8_t *w, int32_t sum[4])
{
#if HAS_VECTORS
    vst1q_s32(sum, vaddq_s32(vld1q_s32(sum), vmulq_s32(LANES(x), vldrbq_s32(w))));
#elif HAS_RVV
    const vint32m1_t before = __riscv_vle32_v_i32m1(sum, 4);
    __riscv_vse32_v_i32m1(sum, __riscv_vwadd_wv_i32m1(before, PRODUCT_4(__riscv_vle8_v_i8mf4(w, 4), FETCH_4(x, 4), 4), 4), 4);
#elif HAS_DSP
    const uint32_t p = word_at(x), u = word_at(w);
    const int16x2_t p0 = EXTEND(p), p1 = EXTEND(turned(p, 8)), u0 = __sxtb16((int8x4_t)u), u1 = __sxtb16((int8x4_t)turned(u, 8));
    sum[0] = __smlabb(p0, u0, sum[0]);
    sum[1] = __smlabb(p1, u1, sum[1]);
    sum[2] = __smlatt(p0, u0, sum[2]);
    sum[3] = __smlatt(p1, u1, sum[3]);
#else
    sum[0] += x[0] * w[0];
    sum[1] += x[1] * w[1];
    sum[2] += x[2] * w[2];
    sum[3] += x[3] * w[3];
#endif
}""",
}
# Bytes of either sign: as a C type, as halfwords of the DSP extension, as Helium's lanes (unsigned ones by way of halfwords), as RISC-V's vectors.
KINDS = {
    "s8": {
        "T": "int8_t",
        "EXTEND": r"__sxtb16((int8x4_t)(\1))",
        "VECTOR": "int8x16_t",
        "PER": "16",
        "LOAD": "vldrbq_s8",
        "WEIGHTS": "vldrbq_s8",
        "DOT": "vmladavaq_s8",
        "LANES": "vldrbq_s32",
        "SIXTEEN": "vint8m1_t",
        "FETCH": "__riscv_vle8_v_i8m1",
        "FETCH_4": "__riscv_vle8_v_i8mf4",
        "PRODUCT": "__riscv_vwmul_vv_i16m2",
        "PRODUCT_4": "__riscv_vwmul_vv_i16mf2",
    },
    "u8": {
        "T": "uint8_t",
        "EXTEND": r"(int16x2_t)(\1 & 0x00FF00FFu)",
        "VECTOR": "int16x8_t",
        "PER": "8",
        "LOAD": "(int16x8_t)vldrbq_u16",
        "WEIGHTS": "vldrbq_s16",
        "DOT": "vmladavaq_s16",
        "LANES": "(int32x4_t)vldrbq_u32",
        "SIXTEEN": "vuint8m1_t",
        "FETCH": "__riscv_vle8_v_u8m1",
        "FETCH_4": "__riscv_vle8_v_u8mf4",
        "PRODUCT": "__riscv_vwmulsu_vv_i16m2",
        "PRODUCT_4": "__riscv_vwmulsu_vv_i16mf2",
    },
}
for _suffix, _words in KINDS.items():
    for _name, _text in BYTES.items():
        _text = re.sub(r"EXTEND\((turned\(\w+, 8\)|\w+)\)", _words["EXTEND"], _text)
        _text = re.sub(rf"\b({'|'.join(w for w in _words if w != 'EXTEND')})\b", lambda m, w=_words: w[m.group(1)], _text)  # type: ignore[misc]
        SNIPPETS[_name.replace("_X", f"_{_suffix}")] = _text.replace("_X(", f"_{_suffix}(")

SEQUENCE_TYPES = {"f32": "float", "i32": "int32_t", "i64": "int64_t", "b": "int"}


def sequence_text(s: Sequence) -> str:
    """An elementary function, one statement an instruction."""
    lines = [f"HELPER float {function_name(s.name)}({', '.join(f'float x{i}' for i in range(s.arity))})", "{"]
    lines += [f"    const {SEQUENCE_TYPES[i.dtype]} v{n} = {_instruction(i)};" for n, i in enumerate(s.instructions)]
    return "\n".join([*lines, f"    return v{len(s.instructions) - 1};", "}"])


def function_name(operator: str) -> str:
    return f"{operator.lower()}_of"


def _instruction(i: Instruction) -> str:
    from mlcc_backends.c.text import literal

    a, b, c = ([f"v{o}" for o in i.operands] + [""] * 3)[:3]
    integer = i.dtype in ("i32", "i64")
    unsigned, back = ("uint64_t", "signed_of_64") if i.dtype == "i64" else ("uint32_t", "signed_of")

    def wrapped(expression: str) -> str:
        return f"{back}({expression})"

    match i.op:
        case "arg":
            return f"x{i.value}"
        case "const":
            return literal(i.value or 0, {"f32": "float32", "i32": "int32", "i64": "int64", "b": "bool"}[i.dtype])
        case "add" | "sub" | "mul":
            symbol = {"add": "+", "sub": "-", "mul": "*"}[i.op]
            return wrapped(f"({unsigned}){a} {symbol} ({unsigned}){b}") if integer else f"{a} {symbol} {b}"
        case "div":
            return f"{a} / {b}"
        case "fma":
            return f"FMA({a}, {b}, {c})"
        case "sqrt":
            return f"square_root({a})"
        case "neg":
            return wrapped(f"0u - ({unsigned}){a}") if integer else f"-{a}"
        case "abs":
            return f"float_of(bits_of({a}) & 0x7FFFFFFFu)"
        case "and" | "or" | "xor":
            symbol = {"and": "&", "or": "|", "xor": "^"}[i.op]
            return wrapped(f"({unsigned}){a} {symbol} ({unsigned}){b}") if integer else f"{a} {symbol} {b}"
        case "not":
            return f"!{a}"
        case "shl":
            return wrapped(f"({unsigned}){a} << {b}")
        case "sar":
            return wrapped(f"{a} < 0 ? ~(~({unsigned}){a} >> {b}) : ({unsigned}){a} >> {b}")
        case "shr":
            width = 32 if i.dtype == "i32" else 64
            return wrapped(f"{b} < {width} ? ({unsigned}){a} >> {b} : 0u")
        case "lt" | "le" | "eq":
            return f"{a} {dict(lt='<', le='<=', eq='==')[i.op]} {b}"
        case "select":
            return f"{a} ? {b} : {c}"
        case "bits":
            return f"signed_of(bits_of({a}))"
        case "float_of_bits":
            return f"float_of((uint32_t){a})"
        case "to_float":
            return f"(float){a}"
        case "to_int64":
            return f"(int64_t){a}"
        case "zero_extend":
            return f"(int64_t)(uint32_t){a}"
        case "narrow":
            return f"signed_of((uint32_t)((uint64_t){a} & 0xFFFFFFFFu))"
    raise AssertionError(i.op)


def used(text: str, known: frozenset[str] = frozenset()) -> str:
    """The helpers that a text calls and those that they call, in order of definition; but none that is `known` already."""
    sequences = {function_name(name): s for name, s in SEQUENCES.items()}
    order = [*SNIPPETS, *sequences]
    bodies: dict[str, str] = {}
    todo = [text]
    while todo:
        words = set(re.findall(r"\w+", todo.pop()))
        for name in order:
            if name in words and name not in bodies and name not in known:
                bodies[name] = SNIPPETS[name] if name in SNIPPETS else sequence_text(sequences[name])
                todo.append(bodies[name])
    return "\n\n".join(bodies[n] for n in order if n in bodies)
