/* test, built by mlcc: portable C99, no heap, no recursion, no globals that change.
 *
 * Results are the same, bit for bit, on every conforming compiler and on every other target of mlcc. A product and a sum are fused
 * where FMA is written and nowhere else; the order of sums is part of the definition.
 * input  x: float32[2, 3]
 * output y0: float32[2, 4]
 */
#if !defined(__cplusplus) && !defined(_MSC_VER) && (!defined(__STDC_VERSION__) || __STDC_VERSION__ < 199901L)
#error "this is C99: add -std=c99 or later"
#else
#include "test.h"
extern const unsigned char test_build_99cb70934842c173;
const unsigned char test_build_99cb70934842c173 = 0; /* see the header */

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

/* Where the weights lie: define TEST_WEIGHTS as a section attribute to move them. */
#ifndef TEST_WEIGHTS
#define TEST_WEIGHTS
#endif

QUICK uint32_t bits_of(float x)
{
    union { float f; uint32_t u; } v;
    v.f = x;
    return v.u;
}

QUICK float float_of(uint32_t x)
{
    union { uint32_t u; float f; } v;
    v.u = x;
    return v.f;
}

QUICK int32_t signed_of(uint32_t x)
{
    union { uint32_t u; int32_t i; } v;
    v.u = x;
    return v.i;
}

QUICK int is_nan(float x)
{
#if HAS_FLOAT
    return x != x;
#else
    return (bits_of(x) & 0x7FFFFFFFu) > 0x7F800000u;
#endif
}

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

/* x / 2^shift to the nearest integer, ties to even. */
HELPER uint64_t round_at(uint64_t x, int32_t shift)
{
    if (shift <= 0) return x << -shift;
    if (shift > 63) return 0u;
    const uint64_t whole = x >> shift, rest = x & (((uint64_t)1 << shift) - 1u), half = (uint64_t)1 << (shift - 1);
    return whole + (rest > half || (rest == half && (whole & 1u) != 0u));
}

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

#if HAS_FMA
#define FMA(a, b, c) fused(a, b, c)
#else
#define FMA(a, b, c) fma_by_integers(a, b, c)
#endif

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

/* Two rows by four columns of sums, each one chain of fused multiply-adds over k. */
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
}

QUICK float relu_float32(float x0)
{
    const float v0 = x0;
    const float v1 = 0.0f;
    const int v2 = v0 < v1;
    const float v3 = v2 ? v1 : v0;
    return v3;
}

QUICK float reducemax_float32(float x0, float x1)
{
    const float v0 = x0;
    const float v1 = x1;
    const int32_t v2 = signed_of(bits_of(v0));
    const int32_t v3 = 31;
    const int32_t v4 = signed_of(v2 < 0 ? ~(~(uint32_t)v2 >> v3) : (uint32_t)v2 >> v3);
    const int32_t v5 = 2147483647;
    const int32_t v6 = signed_of((uint32_t)v4 & (uint32_t)v5);
    const int32_t v7 = signed_of((uint32_t)v2 ^ (uint32_t)v6);
    const int32_t v8 = signed_of(bits_of(v1));
    const int32_t v9 = signed_of(v8 < 0 ? ~(~(uint32_t)v8 >> v3) : (uint32_t)v8 >> v3);
    const int32_t v10 = signed_of((uint32_t)v9 & (uint32_t)v5);
    const int32_t v11 = signed_of((uint32_t)v8 ^ (uint32_t)v10);
    const int v12 = v11 < v7;
    const float v13 = v12 ? v0 : v1;
    const int v14 = is_nan(v0);
    const int v15 = is_nan(v1);
    const float v16 = v15 ? v1 : v13;
    const float v17 = v14 ? v0 : v16;
    return v17;
}

HELPER float exp_of(float x0)
{
    const float v0 = x0;
    const float v1 = -104.0f;
    const int v2 = v0 < v1;
    const float v3 = 0.0f;
    const float v4 = 89.0f;
    const int v5 = v4 < v0;
    const float v6 = v5 ? v4 : v0;
    const float v7 = v2 ? v3 : v6;
    const float v8 = 1.44269502f;
    const float v9 = 12582912.0f;
    const float v10 = FMA(v7, v8, v9);
    const float v11 = v10 - v9;
    const int32_t v12 = signed_of(bits_of(v10));
    const int32_t v13 = signed_of(bits_of(v9));
    const int32_t v14 = signed_of((uint32_t)v12 - (uint32_t)v13);
    const float v15 = -v11;
    const float v16 = 0.693145752f;
    const float v17 = FMA(v15, v16, v7);
    const float v18 = 1.42860677e-06f;
    const float v19 = FMA(v15, v18, v17);
    const float v20 = 0.000199523987f;
    const float v21 = 0.00139366009f;
    const float v22 = FMA(v20, v19, v21);
    const float v23 = 0.00833319873f;
    const float v24 = FMA(v22, v19, v23);
    const float v25 = 0.0416664481f;
    const float v26 = FMA(v24, v19, v25);
    const float v27 = 0.166666672f;
    const float v28 = FMA(v26, v19, v27);
    const float v29 = 0.5f;
    const float v30 = FMA(v28, v19, v29);
    const float v31 = v19 * v19;
    const float v32 = FMA(v30, v31, v19);
    const float v33 = 1.0f;
    const float v34 = v32 + v33;
    const int32_t v35 = 1;
    const int32_t v36 = signed_of(v14 < 0 ? ~(~(uint32_t)v14 >> v35) : (uint32_t)v14 >> v35);
    const int32_t v37 = 127;
    const int32_t v38 = signed_of((uint32_t)v36 + (uint32_t)v37);
    const int32_t v39 = 23;
    const int32_t v40 = signed_of((uint32_t)v38 << v39);
    const float v41 = float_of((uint32_t)v40);
    const float v42 = v34 * v41;
    const int32_t v43 = signed_of((uint32_t)v14 - (uint32_t)v36);
    const int32_t v44 = signed_of((uint32_t)v43 + (uint32_t)v37);
    const int32_t v45 = signed_of((uint32_t)v44 << v39);
    const float v46 = float_of((uint32_t)v45);
    const float v47 = v42 * v46;
    const float v48 = v2 ? v3 : v47;
    const int v49 = v0 == v0;
    const float v50 = v49 ? v48 : v0;
    return v50;
}

static const float weights_0[12] TEST_WEIGHTS = {
    -0.5f, -0.375f, -0.25f, -0.125f, 0.0f, 0.125f, 0.25f, 0.375f, 0.5f, 0.625f, 0.75f, 0.875f,
};

static const float weights_1[4] TEST_WEIGHTS = {
    0.5f, -0.25f, 0.0f, 1.0f,
};

static void dot_1(const float *p0, const float *p1, const float *p2, float *p3)
{
    for (int32_t i1 = 0; i1 < 2; i1 += 2) {
        const float *x[2];
        for (int32_t i2 = 0; i2 < 2; i2++) {
            const int32_t j3 = i1 + i2;
            x[i2] = &p0[j3 * 3];
        }
        float sum[8];
        for (int32_t i4 = 0; i4 < 2; i4++) {
            UNROLLED for (int32_t i5 = 0; i5 < 4; i5++) {
                sum[i4 * 4 + i5] = p2[(0 + i5)];
            }
        }
        dot_2x4(x, &p1[0], 3, sum);
        for (int32_t i6 = 0; i6 < 2; i6++) {
            UNROLLED for (int32_t i7 = 0; i7 < 4; i7++) {
                const int32_t j8 = i1 + i6;
                const float y9 = (sum[i6 * 4 + i7] + 0.0f);
                const float v10 = relu_float32(y9);
                p3[j8 * 4 + i7] = v10;
            }
        }
    }
}

static void reduce_1(const float *p0, float *p1)
{
    for (int32_t i1 = 0; i1 < 2; i1++) {
        float cell2 = float_of(0xFF800000u);
        for (int32_t i3 = 0; i3 < 4; i3++) {
            const float x4 = p0[i1 * 4 + i3];
            const float v5 = reducemax_float32(cell2, x4);
            cell2 = v5;
        }
        p1[i1] = cell2;
    }
}

static void map_1(float *p0, const float *p1)
{
    for (int32_t i1 = 0; i1 < 2; i1++) {
        for (int32_t i2 = 0; i2 < 4; i2++) {
            const float v3 = p0[i1 * 4 + i2];
            const float v4 = p1[i1];
            const float v5 = v3 - v4;
            const float v6 = exp_of(v5);
            p0[i1 * 4 + i2] = v6;
        }
    }
}

static void reduce_2(const float *p0, float *p1)
{
    for (int32_t i1 = 0; i1 < 2; i1++) {
        float lanes2[16];
        for (int32_t i3 = 0; i3 < 16; i3++) {
            lanes2[i3] = 0.0f;
        }
        int32_t cell4 = 0;
        for (int32_t i5 = 0; i5 < 4; i5++) {
            const float x6 = p0[i1 * 4 + i5];
            const float v7 = lanes2[cell4] + x6;
            lanes2[cell4] = v7;
            const int32_t v8 = signed_of((uint32_t)cell4 + (uint32_t)1);
            const int32_t v9 = signed_of((uint32_t)v8 & (uint32_t)15);
            cell4 = v9;
        }
        for (int32_t h = 8; h > 0; h /= 2) {
            for (int32_t j = 0; j < h; j++) {
                lanes2[j] = lanes2[j] + lanes2[j + h];
            }
        }
        p1[i1] = lanes2[0];
    }
}

static void map_2(const float *p0, const float *p1, float *p2)
{
    for (int32_t i1 = 0; i1 < 2; i1++) {
        for (int32_t i2 = 0; i2 < 4; i2++) {
            const float v3 = p0[i1 * 4 + i2];
            const float v4 = p1[i1];
            const float v5 = v3 / v4;
            const float v6 = v5;
            p2[i1 * 4 + i2] = v6;
        }
    }
}

#ifdef __cplusplus
extern "C" {
#endif
int test_run_arrays(const void *const *inputs, void *const *outputs, void *workspace, test_parallel_for parallel_for, void *pool, int32_t first, int32_t last, int32_t variant);
int test_variant_runs(int32_t variant);
const char *test_variant_name(int32_t variant);
int test_arithmetic(void);
#ifdef __cplusplus
}
#endif

/* One step after the other. */
static void run_step(int32_t step, const void *const *inputs, void *const *outputs, uint8_t *arena)
{
    (void)inputs;
    (void)outputs;
    (void)arena;
    switch (step) {
    case 0: /* v4: float32[2, 4] */
        dot_1((const float *)inputs[0], weights_0, weights_1, (float *)(void *)arena);
        break;
    case 1: /* v5: float32[2, 1] */
        reduce_1((const float *)(void *)arena, (float *)(void *)(arena + 64));
        break;
    case 2: /* v7: float32[2, 4] */
        map_1((float *)(void *)arena, (const float *)(void *)(arena + 64));
        break;
    case 3: /* v8: float32[2, 1] */
        reduce_2((const float *)(void *)arena, (float *)(void *)(arena + 64));
        break;
    case 4: /* y0: float32[2, 4] */
        map_2((const float *)(void *)arena, (const float *)(void *)(arena + 64), (float *)outputs[0]);
        break;
    default:
        break;
    }
}

/* The floating-point control register is ours for the time of a run: a program that was started with flush-to-zero must not change the result. */
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FP)
#define KEPT 0x70000u /* LTPSIZE, on which Helium's loops rely */
static uint32_t fp_enter(void) { uint32_t old; __asm__ volatile("vmrs %0, fpscr" : "=r"(old)); __asm__ volatile("vmsr fpscr, %0" : : "r"(old & KEPT)); return old; }
static void fp_leave(uint32_t old) { __asm__ volatile("vmsr fpscr, %0" : : "r"(old)); }
#elif defined(__GNUC__) && defined(__riscv_flen)
static uint32_t fp_enter(void) { unsigned long old; __asm__ volatile("fsrm %0, zero" : "=r"(old)); return (uint32_t)old; }
static void fp_leave(uint32_t old) { __asm__ volatile("fsrm %0" : : "r"((unsigned long)old)); }
#elif defined(__GNUC__) && defined(__SSE2__)
static uint32_t fp_enter(void) { uint32_t old, ours = 0x1F80u; __asm__ volatile("stmxcsr %0" : "=m"(old)); __asm__ volatile("ldmxcsr %0" : : "m"(ours)); return old; }
static void fp_leave(uint32_t old) { __asm__ volatile("ldmxcsr %0" : : "m"(old)); }
#elif defined(__GNUC__) && defined(__aarch64__)
static uint32_t fp_enter(void) { uint64_t old; __asm__ volatile("mrs %0, fpcr" : "=r"(old)); __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0)); return (uint32_t)old; }
static void fp_leave(uint32_t old) { __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)old)); }
#else
static uint32_t fp_enter(void) { return 0u; }
static void fp_leave(uint32_t old) { (void)old; }
#endif

/* Whether this code, as it was compiled, computes as it must: called by the self-test. */
int test_arithmetic(void)
{
    const uint32_t before = fp_enter();
    const int holds = probe();
    fp_leave(before);
    return holds ? TEST_OK : TEST_SELFTEST_FAILED;
}

size_t test_workspace_bytes(void) { return TEST_WORKSPACE_BYTES; }
int test_variant_runs(int32_t variant) { return variant <= 0; }
const char *test_variant_name(int32_t variant) { (void)variant; return "c99"; }

int test_run_arrays(const void *const *inputs, void *const *outputs, void *workspace, test_parallel_for parallel_for, void *pool, int32_t first, int32_t last, int32_t variant)
{
    (void)parallel_for;
    (void)pool;
    (void)variant;
    if (!inputs || !outputs || !workspace) return TEST_NULL_POINTER;
    for (int32_t i = 0; i < 1; i++) if (!inputs[i]) return TEST_NULL_POINTER;
    for (int32_t i = 0; i < 1; i++) if (!outputs[i]) return TEST_NULL_POINTER;
    uint8_t *arena = (uint8_t *)workspace + (64u - ((uintptr_t)workspace & 63u)) % 64u;
    const uint32_t state = fp_enter();
    for (int32_t step = first; step < (last < 0 ? 5 : last); step++) run_step(step, inputs, outputs, arena);
    fp_leave(state);
    return TEST_OK;
}

/* Whether pointers are as the header demands: given, aligned as their elements are, and apart wherever something is written. */
static int checked_pointers(const void *const *inputs, void *const *outputs, const void *workspace)
{
    static const size_t bytes[] = { 24u, 32u, TEST_WORKSPACE_BYTES };
    static const uint8_t low_bits[] = { 3u, 3u, 0u };
    for (int32_t i = 0; i <= 2; i++) {
        const uintptr_t one = (uintptr_t)(i < 1 ? inputs[i] : i < 2 ? outputs[i - 1] : workspace);
        if (!one) return TEST_NULL_POINTER;
        if ((one & low_bits[i]) != 0u) return TEST_MISALIGNED;
        for (int32_t j = 1; j <= 2; j++) {
            const uintptr_t two = (uintptr_t)(j < 2 ? outputs[j - 1] : workspace);
            if (i != j && one < two + bytes[j] && two < one + bytes[i]) return TEST_OVERLAP;
        }
    }
    return TEST_OK;
}

int test_run_parallel(const test_inputs *in, const test_outputs *out, void *workspace, test_parallel_for parallel_for, void *pool)
{
    if (!in || !out) return TEST_NULL_POINTER;
    const void *inputs[1];
    void *outputs[1];
    inputs[0] = in->x;
    outputs[0] = out->y0;
#ifndef NDEBUG
    const int status = checked_pointers(inputs, outputs, workspace);
    if (status != TEST_OK) return status;
#endif
    return test_run_arrays(inputs, outputs, workspace, parallel_for, pool, 0, -1, -1);
}

int test_run_checked(const test_inputs *in, const test_outputs *out, void *workspace, size_t workspace_bytes)
{
    if (!in || !out || !workspace) return TEST_NULL_POINTER;
    if (workspace_bytes < TEST_WORKSPACE_BYTES) return TEST_WORKSPACE_TOO_SMALL;
    const void *inputs[1];
    void *outputs[1];
    inputs[0] = in->x;
    outputs[0] = out->y0;
    const int status = checked_pointers(inputs, outputs, workspace);
    if (status != TEST_OK) return status;
    return test_run_arrays(inputs, outputs, workspace, NULL, NULL, 0, -1, -1);
}

int test_run(const test_inputs *in, const test_outputs *out, void *workspace)
{
    return test_run_parallel(in, out, workspace, NULL, NULL);
}
#endif
