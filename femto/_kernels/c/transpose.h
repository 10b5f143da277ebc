/* out (columns x ld_out) = x^T of x (rows x columns): a vector of rows by four columns at a time, then blocks of 4 x 4, then what
 * is left one by one. The four rows of a block of four are interleaved inside each 128 bits of a vector. */
#if LANES == 16
#define IN_EACH_4(a, b, i, j, k, l)                                                                                      \
    __builtin_shufflevector(a, b, i, j, k, l, 4 + i, 4 + j, 4 + k, 4 + l, 8 + i, 8 + j, 8 + k, 8 + l, 12 + i, 12 + j,    \
                            12 + k, 12 + l)
#elif LANES == 8
#define IN_EACH_4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, 4 + i, 4 + j, 4 + k, 4 + l)
#else
#define IN_EACH_4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif
#define TRANSPOSE_4(shuffle, n, a)                                                                                        \
    do {                                                                                                                  \
        const __typeof__((a)[0]) low0 = shuffle((a)[0], (a)[1], 0, (n), 1, (n) + 1);                                      \
        const __typeof__((a)[0]) low1 = shuffle((a)[2], (a)[3], 0, (n), 1, (n) + 1);                                      \
        const __typeof__((a)[0]) high0 = shuffle((a)[0], (a)[1], 2, (n) + 2, 3, (n) + 3);                                 \
        const __typeof__((a)[0]) high1 = shuffle((a)[2], (a)[3], 2, (n) + 2, 3, (n) + 3);                                 \
        (a)[0] = shuffle(low0, low1, 0, 1, (n), (n) + 1);                                                                 \
        (a)[1] = shuffle(low0, low1, 2, 3, (n) + 2, (n) + 3);                                                             \
        (a)[2] = shuffle(high0, high1, 0, 1, (n), (n) + 1);                                                               \
        (a)[3] = shuffle(high0, high1, 2, 3, (n) + 2, (n) + 3);                                                           \
    } while (0)
#define SHUFFLE_4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)

INLINE v4 v4_load(const float *p) {
    v4 x;
    __builtin_memcpy(&x, p, 16);
    return x;
}

/* Four floats of each of LANES / 4 rows that lie four rows apart. */
INLINE vf load_every_fourth(const float *p, int64_t ld) {
#if LANES == 16
    typedef float v8 __attribute__((vector_size(32)));
    const v8 low = __builtin_shufflevector(v4_load(p), v4_load(p + 4 * ld), 0, 1, 2, 3, 4, 5, 6, 7);
    const v8 high = __builtin_shufflevector(v4_load(p + 8 * ld), v4_load(p + 12 * ld), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
    return __builtin_shufflevector(v4_load(p), v4_load(p + 4 * ld), 0, 1, 2, 3, 4, 5, 6, 7);
#else
    (void)ld;
    return v4_load(p);
#endif
}

static void transpose(float *out, int64_t ld_out, const float *x, int64_t ldx, int64_t rows, int64_t columns) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += r + LANES <= rows ? LANES : 4) {
        const float *from = x + r * ldx;
        int64_t c = 0;
        if (r + LANES <= rows)
            for (; c + 4 <= columns; c += 4) {
                vf a[4];
                for (int i = 0; i < 4; i++) a[i] = load_every_fourth(from + i * ldx + c, ldx);
                TRANSPOSE_4(IN_EACH_4, LANES, a);
                for (int i = 0; i < 4; i++) v_store(out + (c + i) * ld_out + r, a[i]);
            }
        else
            for (; c + 4 <= columns; c += 4) {
                v4 a[4];
                for (int i = 0; i < 4; i++) a[i] = v4_load(from + i * ldx + c);
                TRANSPOSE_4(SHUFFLE_4, 4, a);
                for (int i = 0; i < 4; i++) __builtin_memcpy(out + (c + i) * ld_out + r, &a[i], 16);
            }
        for (; c < columns; c++)
            for (int64_t i = 0; i < (r + LANES <= rows ? LANES : 4); i++) out[c * ld_out + r + i] = from[i * ldx + c];
    }
    for (; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) out[c * ld_out + r] = x[r * ldx + c];
}
