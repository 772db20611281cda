/* Sums of products of bytes: X stands for s8 and u8, the words in capitals for what KINDS says of either. Each piece is used by itself: `//! name` begins one. */

//! words_2x2_X
/* Two rows by two columns of sums of products of bytes; four k at a time, w: [k / 4][2][4]. */
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
}

//! words_1x2_X
TILE void words_1x2_X(const T *const x[1], const int8_t *w, int32_t k, int32_t sum[2])
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
}

//! vectors_2x2_X
/* Sixteen k at a time, w: [k / 16][2][16]. */
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
}

//! vectors_1x2_X
HELPER void vectors_1x2_X(const T *const x[1], const int8_t *w, int32_t k, int32_t sum[2])
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
}

//! bytes_4_X
/* Four neighbouring channels of a depthwise convolution. */
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
}
