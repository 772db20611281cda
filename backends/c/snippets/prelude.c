
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
