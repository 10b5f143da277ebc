/* One vector type and the few operations that GNU vector extensions lack, for the instruction set in FEMTO_ISA_*.
 *
 * vf is LANES floats, vi LANES int32. + - * / and integer operators are the compiler's own; contraction is off
 * (-ffp-contract=off), so a multiply-add is fused exactly where v_fma says so, on every compiler.
 */
#if defined(FEMTO_ISA_AVX512)
#define LANES 16
#define VECTOR_REGISTERS 32
#elif defined(FEMTO_ISA_AVX2)
#define LANES 8
#define VECTOR_REGISTERS 16
#elif defined(FEMTO_ISA_NEON)
#define LANES 4
#define VECTOR_REGISTERS 32
#else
#define LANES 4
#define VECTOR_REGISTERS 16
#endif
#define PIECES (16 / LANES) /* vectors that make up the 16 virtual lanes of a row sum */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint64_t vul __attribute__((vector_size(LANES * 4)));

/* ThreadSanitizer sees no access of more than 16 bytes and no masked one, so a build for it tells it of each. */
#ifdef FEMTO_THREAD_SANITIZER
extern void __tsan_read_range(void *p, unsigned long bytes), __tsan_write_range(void *p, unsigned long bytes);
#define WILL_READ(p, count) __tsan_read_range((void *)(p), 4 * (unsigned long)(count))
#define WILL_WRITE(p, count) __tsan_write_range((void *)(p), 4 * (unsigned long)(count))
#else
#define WILL_READ(p, count) (void)0
#define WILL_WRITE(p, count) (void)0
#endif

INLINE vf v_load(const float *p) {
    WILL_READ(p, LANES);
    return *(const vf_unaligned *)p;
}
INLINE void v_store(float *p, vf x) {
    WILL_WRITE(p, LANES);
    *(vf_unaligned *)p = x;
}
INLINE vf v_set(float x) { return x - (vf){0}; }
INLINE vf v_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

/* v_max and v_min return the second operand when either is NaN, so v_max(bound, x) keeps a NaN of x.
 * v_load_partial reads `count` < LANES floats and fills with zero; v_store_partial writes `count` floats. */
#if defined(FEMTO_ISA_AVX512)
INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf v_sqrt(vf x) { return _mm512_sqrt_ps(x); }
INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf v_load_partial(const float *p, int64_t count) {
    WILL_READ(p, count);
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}
INLINE void v_store_partial(float *p, vf x, int64_t count) {
    WILL_WRITE(p, count);
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), x);
}
#elif defined(FEMTO_ISA_AVX2)
INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf v_sqrt(vf x) { return _mm256_sqrt_ps(x); }
INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE __m256i v_mask(int64_t count) {
    return (__m256i)((int32_t)count > (vi){0, 1, 2, 3, 4, 5, 6, 7});
}
INLINE vf v_load_partial(const float *p, int64_t count) {
    WILL_READ(p, count);
    return _mm256_maskload_ps(p, v_mask(count));
}
INLINE void v_store_partial(float *p, vf x, int64_t count) {
    WILL_WRITE(p, count);
    _mm256_maskstore_ps(p, v_mask(count), x);
}
#else
#if defined(FEMTO_ISA_NEON)
INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf v_sqrt(vf x) { return vsqrtq_f32(x); }
#else
INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf v_sqrt(vf x) {
    return (vf){__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]), __builtin_sqrtf(x[3])};
}
#endif
INLINE vf v_max(vf a, vf b) { return v_select((vi)(a > b), a, b); }
INLINE vf v_min(vf a, vf b) { return v_select((vi)(a < b), a, b); }
INLINE vf v_load_partial(const float *p, int64_t count) {
    vf x = {0};
    for (int64_t i = 0; i < count; i++) x[i] = p[i];
    return x;
}
INLINE void v_store_partial(float *p, vf x, int64_t count) {
    for (int64_t i = 0; i < count; i++) p[i] = x[i];
}
#endif

/* The 64-bit products of the even 32-bit lanes. */
#if defined(FEMTO_ISA_AVX512)
INLINE vul v_multiply_even(vul a, vul b) { return (vul)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
#elif defined(FEMTO_ISA_AVX2)
INLINE vul v_multiply_even(vul a, vul b) { return (vul)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
#elif defined(FEMTO_ISA_NEON)
INLINE vul v_multiply_even(vul a, vul b) {
    return (vul)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}
#elif defined(__SSE2__)
INLINE vul v_multiply_even(vul a, vul b) { return (vul)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
INLINE vul v_multiply_even(vul a, vul b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
#endif

/* Load or store up to LANES floats, `count` of them left in the row. */
INLINE vf v_load_up_to(const float *p, int64_t count) {
    return count >= LANES ? v_load(p) : v_load_partial(p, count);
}
INLINE void v_store_up_to(float *p, vf x, int64_t count) {
    if (count >= LANES) v_store(p, x);
    else v_store_partial(p, x, count);
}

/* A sum or maximum over a row: 16 virtual lanes, whatever LANES is, so that every instruction set adds in the same order. */
typedef struct { vf piece[PIECES]; } lanes16;

/* The tree: lane i with lane i + 8, then + 4, + 2, + 1. */
#define SHUFFLE4(x, i, j, k, l) __builtin_shufflevector(x, x, i, j, k, l)
typedef float v4 __attribute__((vector_size(16)));
#define LANES16_REDUCE(x, combine, combine4)                                       \
    v4 lower, upper;                                                               \
    LANES16_HALVES(x, combine, lower, upper)                                       \
    lower = combine4(lower, upper);                                                \
    lower = combine4(lower, SHUFFLE4(lower, 2, 3, 2, 3));                          \
    return combine4(lower, SHUFFLE4(lower, 1, 1, 1, 1))[0];
#if LANES == 16
#define LANES16_HALVES(x, combine, lower, upper)                                                                      \
    vf folded = combine((x).piece[0], __builtin_shufflevector((x).piece[0], (x).piece[0], 8, 9, 10, 11, 12, 13, 14, 15, \
                                                              8, 9, 10, 11, 12, 13, 14, 15));                         \
    lower = __builtin_shufflevector(folded, folded, 0, 1, 2, 3);                                                      \
    upper = __builtin_shufflevector(folded, folded, 4, 5, 6, 7);
#elif LANES == 8
#define LANES16_HALVES(x, combine, lower, upper)                                   \
    vf folded = combine((x).piece[0], (x).piece[1]);                               \
    lower = __builtin_shufflevector(folded, folded, 0, 1, 2, 3);                   \
    upper = __builtin_shufflevector(folded, folded, 4, 5, 6, 7);
#else
#define LANES16_HALVES(x, combine, lower, upper)                                   \
    lower = combine((x).piece[0], (x).piece[2]);                                   \
    upper = combine((x).piece[1], (x).piece[3]);
#endif
INLINE vf v_add(vf a, vf b) { return a + b; }
INLINE v4 v4_add(v4 a, v4 b) { return a + b; }
INLINE v4 v4_max(v4 a, v4 b) {
    typedef int32_t i4 __attribute__((vector_size(16)));
    i4 mask = (i4)(a > b);
    return (v4)((mask & (i4)a) | (~mask & (i4)b));
}
INLINE float lanes16_sum(lanes16 x) { LANES16_REDUCE(x, v_add, v4_add) }
INLINE float lanes16_max(lanes16 x) { LANES16_REDUCE(x, v_max, v4_max) }

/* Loops over a row of `n` floats: for each vector, `i` is its first index, `piece` its place in the virtual lanes and
 * `left` the number of floats from i to the end. The body runs at full width except for the last vector of a row. */
#define FOR_ROW(i, piece, left, n)                                                                   \
    for (int64_t i = 0, piece = 0, left = (n); left > 0; i += LANES, left -= LANES, piece = (piece + 1) % PIECES)

#define ROUND_UP(x, to) (((x) + (to) - 1) / (to) * (to))
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE vi lane_index(void) {
    vi index;
    for (int l = 0; l < LANES; l++) index[l] = l;
    return index;
}

/* x where the lane is below `left`, else `other`. */
INLINE vf keep_lanes(vf x, int64_t left, float other) {
    return left >= LANES ? x : v_select((vi)(lane_index() < (int32_t)left), x, v_set(other));
}
