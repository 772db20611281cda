/* test: CUDA kernels, built by mlcc. Compiled by NVRTC for GPUs, and, the same text, by a C++ compiler for the host with shim.h.
 *
 * Every output is one thread's, in the order that the definition of the model's arithmetic gives; blocks and tiles never change a bit.
 * A product and a sum are fused where FMA is written and nowhere else (--fmad=false).
 */
#if defined(__CUDACC_RTC__)
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
extern __shared__ __align__(16) unsigned char shared[];
#define SHARED_ARRAY(type, name, at) type *const name = (type *)(shared + (at))
#define SHARED_MEMORY(bytes)
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define HELPER static __device__ __forceinline__
#define QUICK static __device__ __forceinline__
#define SHARED static __device__
#define UNROLLED _Pragma("unroll")
#define UNROLLED_BY_4 _Pragma("unroll 4")
#define UNROLLED_BY_8 _Pragma("unroll 8")
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define FMA_64(a, b, c) __fma_rn(a, b, c)
#define root_of(x) __fsqrt_rn(x)
#define root_of_64(x) __dsqrt_rn(x)
#define remainder_of_64(x, y) fmod(x, y)
#define __builtin_clz(x) __clz((int32_t)(x))
#define __builtin_memcpy memcpy

/* Copies into shared memory that run beside the arithmetic; what is not valid becomes zero. */
#if __CUDA_ARCH__ >= 800
static __device__ __forceinline__ void copy_4(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" : : "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
static __device__ __forceinline__ void copy_16(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
#define COPY_4(to, from, valid) copy_4(to, from, valid)
#define COPY_16(to, from, valid) copy_16(to, from, valid)
#define COPY_COMMIT() asm volatile("cp.async.commit_group;" : : : "memory")
#define COPY_WAIT(n) asm volatile("cp.async.wait_group %0;" : : "n"(n) : "memory")
#else
#define COPY_4(to, from, valid) (*(to) = (valid) ? *(from) : 0)
#define COPY_16(to, from, valid) (*(float4 *)(to) = (valid) ? *(const float4 *)(from) : float4{0.0f, 0.0f, 0.0f, 0.0f})
#define COPY_COMMIT()
#define COPY_WAIT(n)
#endif

/* Four products of bytes and their sum: dp4a, whose operands' signs are each a choice. */
#define DOT_4(a, b, c) __dp4a(a, b, c)
static __device__ __forceinline__ int32_t dot_4_u(int32_t a, int32_t b, int32_t c)
{
    int32_t sum;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}
#define DOT_4_U(a, b, c) dot_4_u(a, b, c)

/* 16 × 8 sums of 32 products of bytes by a warp: exact, as integers are. Rows 0 to 7 and 8 to 15 are `upper` and `lower`. */
#if __CUDA_ARCH__ >= 800
#define MATRIX_AS(name, type) \
    static __device__ __forceinline__ void name(int32_t *upper, int32_t *lower, const int32_t *a, const int32_t *b) \
    { \
        asm("mma.sync.aligned.m16n8k32.row.col.s32." type ".s8.s32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};" \
            : "+r"(upper[0]), "+r"(upper[1]), "+r"(lower[0]), "+r"(lower[1]) \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    }
#else /* in quarters */
#define MATRIX_AS(name, type) \
    static __device__ __forceinline__ void name##_quarter(int32_t *sum, int32_t a, int32_t b) \
    { \
        asm("mma.sync.aligned.m8n8k16.row.col.s32." type ".s8.s32 { %0, %1}, { %2}, { %3}, { %0, %1};" : "+r"(sum[0]), "+r"(sum[1]) : "r"(a), "r"(b)); \
    } \
    static __device__ __forceinline__ void name(int32_t *upper, int32_t *lower, const int32_t *a, const int32_t *b) \
    { \
        name##_quarter(upper, a[0], b[0]); \
        name##_quarter(upper, a[2], b[1]); \
        name##_quarter(lower, a[1], b[0]); \
        name##_quarter(lower, a[3], b[1]); \
    }
#endif
MATRIX_AS(matrix, "s8")
MATRIX_AS(matrix_u, "u8")
#define MATRIX(upper, lower, a, b) matrix(upper, lower, a, b)
#define MATRIX_U(upper, lower, a, b) matrix_u(upper, lower, a, b)
#else
#include "shim.h"
#endif
#define HAS_FLOAT 1
#define HAS_FMA 1
#define HAS_DSP 0
#define HAS_VECTORS 0
#define HAS_RVV 0

#define GLOBAL /* spaces of memory, which CUDA leaves unsaid */
#define LOCAL
#define RESTRICT __restrict__

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

/* Dot: v4 */
KERNEL(128) dot_bcbbe2600f88b293(GLOBAL const float *RESTRICT p0, GLOBAL const float *RESTRICT p1, GLOBAL const float *RESTRICT p2, GLOBAL float *p3)
{
    SHARED_MEMORY(8704);
    SHARED_ARRAY(float, a_tile, 0);
    SHARED_ARRAY(float, b_tile, 4608);
    const int32_t thread = (int32_t)threadIdx.x;
    const int32_t tx = thread % 8, ty = thread / 8;
    const int32_t block = (int32_t)blockIdx.x;
    const int32_t column0 = block % 1 * 32, row0 = block / 1 % 1 * 32;
    const int32_t own_k = thread % 16, own_row = thread / 16;
    int32_t from[4];
    UNROLLED for (int32_t i1 = 0; i1 < 4; i1++) {
        const int32_t row2 = row0 + own_row + i1 * 8;
        from[i1] = (row2 < 2 ? row2 : 0) * 3;
    }
    const int32_t own_column = thread % 8 * 4, own_b = thread / 8;
    const int32_t b_pitch = 4;
    const int32_t b_valid = column0 + own_column < 4;
    GLOBAL const float *b_from = p1 + (b_valid ? 0 + (column0 + own_column) : 0);
    float sum[2][4];
    UNROLLED for (int32_t i3 = 0; i3 < 2; i3++) {
        UNROLLED for (int32_t i4 = 0; i4 < 4; i4++) {
            const int32_t c = column0 + tx * 4 + i4;
            sum[i3][i4] = c < 4 ? p2[c] : 0.0f;
        }
    }
     {
        const int32_t k = 0 * 16 + own_k;
        const int32_t inside = k < 3;
        const int32_t reach = (inside ? k : 0);
        UNROLLED for (int32_t i5 = 0; i5 < 4; i5++) {
             {
                COPY_4(&a_tile[0 * 576 + own_k * 36 + own_row + i5 * 8], p0 + from[i5] + reach, inside && row0 + own_row + i5 * 8 < 2);
            }
        }
         {
            const int32_t line = 0 * 16 + own_b + 0 * 16;
            COPY_16(&b_tile[0 * 512 + (own_b + 0 * 16) * 32 + own_column], b_from + line * b_pitch, b_valid && line < 3);
        }
    }
    COPY_COMMIT();
    COPY_WAIT(0);
    __syncthreads();
    UNROLLED_BY_8
    for (int32_t k = 0; k < 16; k++) {
        float a[2];
        UNROLLED for (int32_t i6 = 0; i6 < 2; i6++) {
            a[i6] = a_tile[k * 36 + ty * 2 + i6];
        }
        float b[4];
        const float4 b0 = *(LOCAL const float4 *)&b_tile[k * 32 + 0 + tx * 4];
        b[0] = b0.x;
        b[1] = b0.y;
        b[2] = b0.z;
        b[3] = b0.w;
        UNROLLED for (int32_t i7 = 0; i7 < 2; i7++) {
            UNROLLED for (int32_t i8 = 0; i8 < 4; i8++) {
                sum[i7][i8] = FMA(a[i7], b[i8], sum[i7][i8]);
            }
        }
    }
    UNROLLED for (int32_t i9 = 0; i9 < 2; i9++) {
        const int32_t r = row0 + ty * 2 + i9;
        if (r < 2) {
            UNROLLED for (int32_t i10 = 0; i10 < 4; i10++) {
                const int32_t c = column0 + tx * 4 + i10;
                if (c < 4) {
                    const float y11 = (sum[i9][i10] + 0.0f);
                    const float v12 = relu_float32(y11);
                    p3[r * 4 + c] = v12;
                }
            }
        }
    }
}

/* Reduce: v5 */
KERNEL(32) reduce_9d8b49f1658838b6(GLOBAL const float *RESTRICT p0, GLOBAL float *p1)
{
    const uint32_t thread = blockIdx.x * 32u + threadIdx.x;
    if (thread >= 2u) return;
    const int32_t i = (int32_t)thread;
    float lane[1];
    lane[0] = float_of(0xFF800000u);
    for (int32_t i1 = 0; i1 < 4; i1++) {
        const int32_t n2 = i1 * 1 + 0;
        lane[0] = reducemax_float32(lane[0], p0[i * 4 + n2]);
    }
    p1[i] = lane[0];
}

/* Map: v7 */
KERNEL(32) map_5772cd6e805ade39(GLOBAL float *p0, GLOBAL const float *RESTRICT p1)
{
    const uint32_t thread = blockIdx.x * 32u + threadIdx.x;
    if (thread >= 8u) return;
    const int32_t i = (int32_t)thread;
    const int32_t j1 = i / 4;
    const int32_t j2 = i % 4;
    const float v3 = p0[j1 * 4 + j2];
    const float v4 = p1[j1];
    const float v5 = v3 - v4;
    const float v6 = exp_of(v5);
    p0[j1 * 4 + j2] = v6;
}

/* Reduce: v8 */
KERNEL(32) reduce_ea55cdb47de10396(GLOBAL const float *RESTRICT p0, GLOBAL float *p1)
{
    const uint32_t thread = blockIdx.x * 32u + threadIdx.x;
    if (thread >= 2u) return;
    const int32_t i = (int32_t)thread;
    float lane[16];
    UNROLLED for (int32_t i1 = 0; i1 < 16; i1++) {
        lane[i1] = 0.0f;
    }
    UNROLLED for (int32_t i2 = 0; i2 < 4; i2++) {
        const int32_t n3 = 0 + i2;
        lane[i2] = lane[i2] + p0[i * 4 + n3];
    }
    UNROLLED for (int32_t i4 = 0; i4 < 8; i4++) {
        lane[i4] = lane[i4] + lane[i4 + 8];
    }
    UNROLLED for (int32_t i5 = 0; i5 < 4; i5++) {
        lane[i5] = lane[i5] + lane[i5 + 4];
    }
    UNROLLED for (int32_t i6 = 0; i6 < 2; i6++) {
        lane[i6] = lane[i6] + lane[i6 + 2];
    }
    lane[0] = lane[0] + lane[0 + 1];
    p1[i] = lane[0];
}

/* Map: y0 */
KERNEL(32) map_fc955c6502c7941d(GLOBAL const float *RESTRICT p0, GLOBAL const float *RESTRICT p1, GLOBAL float *p2)
{
    const uint32_t thread = blockIdx.x * 32u + threadIdx.x;
    if (thread >= 8u) return;
    const int32_t i = (int32_t)thread;
    const int32_t j1 = i / 4;
    const int32_t j2 = i % 4;
    const float v3 = p0[j1 * 4 + j2];
    const float v4 = p1[j1];
    const float v5 = v3 / v4;
    const float v6 = v5;
    p2[j1 * 4 + j2] = v6;
}

