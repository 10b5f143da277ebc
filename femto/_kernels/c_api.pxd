from libc.stdint cimport int32_t, int64_t, uint32_t

cdef extern from "femto.h" nogil:
    enum: FEMTO_SQUARES_BLOCK

    ctypedef struct femto_matmul_arguments:
        int64_t m, n, k
        const float *a
        int64_t a_row, a_column
        const float *b
        int64_t b_row, b_column
        float *c
        int64_t ldc
        const float *initial
        int64_t ld_initial
        const float *bias
        float *slope
        int64_t ld_slope
        const float *factor
        int64_t ld_factor
        float *column_sums

    ctypedef struct femto_dropout:
        uint32_t seed[2]
        uint32_t stream[2]
        uint32_t threshold
        float scale

    ctypedef struct femto_attention_arguments:
        int64_t batch, tokens, heads, head_size
        const float *qkv
        int64_t ld_qkv
        float *out
        int64_t ld_out
        float *row_max
        float *row_scale
        const float *d_out
        int64_t ld_d_out
        float *d_qkv
        int64_t ld_d_qkv
        int64_t first_sequence
        femto_dropout dropout

    ctypedef struct femto_kernels:
        const char *name
        int lanes
        int (*matmul)(femto_matmul_arguments *) noexcept nogil
        int (*layer_norm_forward)(float *, float *, float *, const float *, const float *, const float *, float, int64_t,
                                  int64_t) noexcept nogil
        int (*layer_norm_backward)(float *, float *, float *, const float *, const float *, const float *, const float *,
                                   const float *, const float *, int64_t, int64_t) noexcept nogil
        int (*gelu_forward)(float *, const float *, int64_t) noexcept nogil
        int (*gelu_backward)(float *, const float *, const float *, int64_t) noexcept nogil
        int (*attention_forward)(femto_attention_arguments *) noexcept nogil
        int (*attention_backward)(femto_attention_arguments *) noexcept nogil
        int (*attention_decode)(float *, const float *, const float *, const float *, int64_t, int64_t, int64_t, int64_t) noexcept nogil
        int (*rotary)(float *, int64_t, const float *, const float *, int64_t, int64_t, int64_t, int64_t, int) noexcept nogil
        int (*cross_entropy)(float *, float *, int64_t, const float *, int64_t, const int32_t *, float, int64_t, int64_t) noexcept nogil
        int (*embedding_forward)(float *, const float *, const float *, const int32_t *, int64_t, int64_t, int64_t) noexcept nogil
        int (*embedding_backward)(float *, float *, const float *, const int32_t *, int64_t, int64_t, int64_t) noexcept nogil
        int (*dropout)(float *, const float *, const float *, const femto_dropout *, int64_t, int64_t, int64_t) noexcept nogil
        int (*sum_of_squares)(double *, const float *, int64_t) noexcept nogil
        int (*adamw)(float *, float *, float *, const float *, int64_t, float, float, float, float, float, float, double,
                     double) noexcept nogil
        int (*exponential)(float *, const float *, int64_t) noexcept nogil
        double (*fma_burn)(int64_t) noexcept nogil

    ctypedef void (*femto_task)(void *, int64_t) noexcept nogil
    void femto_parallel_for(int64_t tasks, double work, femto_task task, void *arguments)
    void femto_initialize()
    void femto_set_threads(int threads)
    int femto_get_threads()
    int femto_has_openmp()
    const femto_kernels *femto_select(const char *name)
    int femto_supported(const char **names)
