/* Sums of products. Each piece is used by itself: `//! name` begins one. */

//! dot_2x4
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

//! dot_1x4
SHARED void dot_1x4(const float *const x[1], const float *w, int32_t k, float sum[4])
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
}

//! dot_4x4_bytes
/* Four rows by four columns; the weights are bytes times their column's scale: the very floats that the model has. */
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
}

//! dot_1x4_bytes
SHARED void dot_1x4_bytes(const float *const x[1], const int8_t *w, const float *scale, int32_t k, float sum[4])
{
    const float *x0 = x[0];
    for (; k > 0; k--, x0++, w += 4)
        for (int32_t i = 0; i < 4; i++) sum[i] = FMA(*x0, (float)w[i] * scale[i], sum[i]);
}

//! lanes_4
QUICK void lanes_4(const float *x, const float *w, float sum[4])
{
    sum[0] = FMA(x[0], w[0], sum[0]);
    sum[1] = FMA(x[1], w[1], sum[1]);
    sum[2] = FMA(x[2], w[2], sum[2]);
    sum[3] = FMA(x[3], w[3], sum[3]);
}

//! lanes_8
QUICK void lanes_8(const float *x, const float *w, float sum[8])
{
    lanes_4(x, w, sum);
    lanes_4(x + 4, w + 4, sum + 4);
}

//! word_at
#if HAS_DSP
QUICK uint32_t word_at(const void *p)
{
    uint32_t w;
    __builtin_memcpy(&w, p, 4);
    return w;
}
#endif

//! all_of
#if HAS_RVV
QUICK int32_t all_of(int32_t start, vint32m4_t parts)
{
    return __riscv_vmv_x_s_i32m1_i32(__riscv_vredsum_vs_i32m4_i32m1(parts, __riscv_vmv_v_x_i32m1(start, 1), 16));
}
#endif
