/* test, built by mlcc: portable C99, no heap, no recursion, no globals that change.
 *
 * Results are the same, bit for bit, on every conforming compiler and on every other target of mlcc. A product and a sum are fused
 * where FMA is written and nowhere else; the order of sums is part of the definition.
 * input  x: int8[1, 3]
 * output y0: int8[1, 4]
 */
#if !defined(__cplusplus) && !defined(_MSC_VER) && (!defined(__STDC_VERSION__) || __STDC_VERSION__ < 199901L)
#error "this is C99: add -std=c99 or later"
#else
#include "test.h"
extern const unsigned char test_build_6e546486f558477b;
const unsigned char test_build_6e546486f558477b = 0; /* see the header */

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

QUICK int32_t signed_of(uint32_t x)
{
    union { uint32_t u; int32_t i; } v;
    v.u = x;
    return v.i;
}

/* Eight bits to the right around (arm_acle.h of GCC 12 has no __ror). */
QUICK uint32_t turned(uint32_t x, uint32_t by)
{
    return (x >> by) | (x << (32u - by));
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

#if HAS_DSP
QUICK uint32_t word_at(const void *p)
{
    uint32_t w;
    __builtin_memcpy(&w, p, 4);
    return w;
}
#endif

TILE void words_1x2_s8(const int8_t *const x[1], const int8_t *w, int32_t k, int32_t sum[2])
{
    const int8_t *x0 = x[0];
    int32_t a0 = sum[0], a1 = sum[1];
    for (; k > 0; k -= 4, x0 += 4, w += 8) {
#if HAS_DSP
        const uint32_t p = word_at(x0), u = word_at(w), v = word_at(w + 4);
        const int16x2_t p0 = __sxtb16((int8x4_t)(p)), p1 = __sxtb16((int8x4_t)(turned(p, 8)));
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
}

static const int8_t weights_0[16] TEST_WEIGHTS = {
    -6, -2, 2, 0, -5, -1, 3, 0, -4, 0, 4, 0, -3, 1, 5, 0,
};

static const int32_t weights_1[4] TEST_WEIGHTS = {
    0, 0, 0, 0,
};

static void dot_1(const int8_t *p0, const int8_t *p1, const int32_t *p2, int8_t *p3, int8_t *p4)
{
    const int8_t *x[1];
    int8_t *patch = p4 + 0 * 4;
    for (int32_t i1 = 3; i1 < 4; i1++) {
        patch[i1] = (int8_t)0;
    }
    for (int32_t i2 = 0; i2 < 3; i2++) {
        patch[i2] = p0[0 + i2];
    }
    x[0] = patch;
    for (int32_t i3 = 0; i3 < 4; i3 += 2) {
        int32_t sum[2];
        for (int32_t i4 = 0; i4 < 2; i4++) {
            sum[0 * 2 + i4] = p2[(i3 + i4)];
        }
        words_1x2_s8(x, &p1[i3 * 4], 4, sum);
        for (int32_t i5 = 0; i5 < 2; i5++) {
            const int32_t y6 = sum[0 * 2 + i5];
            const int8_t v7 = (int8_t)requantize(y6, 0.0625f, 0, 0, 127);
            const int8_t v8 = v7;
            p3[(i3 + i5)] = v8;
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
    case 0: /* y0: int8[1, 4] */
        dot_1((const int8_t *)inputs[0], weights_0, weights_1, (int8_t *)outputs[0], (int8_t *)(void *)arena);
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
    const int holds = 1;
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
    for (int32_t step = first; step < (last < 0 ? 1 : last); step++) run_step(step, inputs, outputs, arena);
    fp_leave(state);
    return TEST_OK;
}

/* Whether pointers are as the header demands: given, aligned as their elements are, and apart wherever something is written. */
static int checked_pointers(const void *const *inputs, void *const *outputs, const void *workspace)
{
    static const size_t bytes[] = { 3u, 4u, TEST_WORKSPACE_BYTES };
    static const uint8_t low_bits[] = { 0u, 0u, 0u };
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
