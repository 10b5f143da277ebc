/* The C face of femto's kernels: argument structs, the table that each instruction set fills, threads and scratch memory.
 *
 * Legend, used in every kernel: B batch, T tokens of context, d embedding degree, H heads, hs = d/H head size, V vocabulary,
 * R rows (usually B*T). Matrices are row-major float32; `ld…` is the distance in floats between rows. Gradients are `d` + name.
 * Every kernel returns 0, or -1 when scratch memory cannot be had; nothing else can fail once the Cython layer has checked
 * shapes.
 *
 * Determinism: every output element is computed by one thread, in an order that depends on shapes alone. Sums over a row use
 * virtual lanes (16, or 4) and one fixed tree on every instruction set, matrix products add in k order with FMA. So results are the
 * same to the bit for any number of threads, and across AVX2, AVX-512 and NEON. The baseline has no FMA and rounds otherwise.
 */
#ifndef FEMTO_H
#define FEMTO_H

#include <stddef.h>
#include <stdint.h>

/* ---- threads and scratch memory (parallel.c) ---- */

typedef void (*femto_task)(void *arguments, int64_t index);

/* Run task(arguments, 0 … tasks-1). `work` is a rough count of operations: small work stays on the calling thread. */
void femto_parallel_for(int64_t tasks, double work, femto_task task, void *arguments);
void femto_initialize(void); /* once, before anything else */
void femto_set_threads(int threads);
int femto_get_threads(void);
int femto_has_openmp(void);

enum { FEMTO_SCRATCH_SHARED, FEMTO_SCRATCH_TASK, FEMTO_SCRATCH_SLOTS };
/* 64-byte aligned memory of the calling thread, kept and reused between calls; NULL when there is none to be had. */
float *femto_scratch(int slot, int64_t floats);

/* ---- kernels ---- */

typedef struct {
    int64_t m, n, k;
    const float *a; int64_t a_row, a_column; /* strides of op(A), m x k; one of them is 1 */
    const float *b; int64_t b_row, b_column; /* strides of op(B), k x n; one of them is 1 */
    float *c; int64_t ldc;                   /* m x n */
    const float *initial; int64_t ld_initial; /* added to the product: a residual, or c itself to accumulate; or NULL */
    const float *bias;                       /* n, or NULL */
    float *slope; int64_t ld_slope;          /* not NULL: c = gelu(sum), and slope (m x n) = gelu'(sum) */
    const float *factor; int64_t ld_factor;  /* not NULL: the sum is multiplied by factor (m x n), element by element */
    float *column_sums;                      /* not NULL, with op(A) transposed: n, the sums of B's columns are added to it */
} femto_matmul_arguments;

typedef struct {
    uint32_t seed[2];    /* key of the random numbers */
    uint32_t stream[2];  /* step and site: two counters that no two masks of a run share */
    uint32_t threshold;  /* keep where a number of 16 bits is below it; 65536: no dropout */
    float scale;         /* 1/(1-p) */
} femto_dropout;

typedef struct {
    int64_t batch, tokens, heads, head_size;
    const float *qkv; int64_t ld_qkv;       /* (B*T, 3d): queries, keys, values, each H blocks of hs columns */
    float *out; int64_t ld_out;             /* (B*T, d) */
    float *row_max, *row_scale;             /* (B, H, T): largest q.k and 1/sum of each query's row, for the backward pass */
    const float *d_out; int64_t ld_d_out;   /* backward only */
    float *d_qkv; int64_t ld_d_qkv;         /* backward only; overwritten */
    int64_t first_sequence;                 /* index in the whole batch of sequence 0, for the dropout counters */
    femto_dropout dropout;
    int64_t heads_per_task;                 /* set inside */
    int failed;
} femto_attention_arguments;

typedef struct {
    const char *name;
    int lanes; /* floats in a vector register */
    int (*matmul)(femto_matmul_arguments *);
    int (*layer_norm_forward)(float *out, float *mean, float *rstd, const float *x, const float *gain, const float *bias,
                              float epsilon, int64_t rows, int64_t columns);
    int (*layer_norm_backward)(float *dx, float *dgain, float *dbias, const float *dout, const float *x, const float *mean,
                               const float *rstd, const float *gain, const float *residual, int64_t rows, int64_t columns);
    int (*gelu_forward)(float *out, const float *x, int64_t count);
    int (*gelu_backward)(float *dx, const float *dout, const float *x, int64_t count);
    int (*attention_forward)(femto_attention_arguments *);
    int (*attention_backward)(femto_attention_arguments *);
    int (*attention_decode)(float *out, const float *query, const float *keys, const float *values, int64_t heads,
                            int64_t head_size, int64_t length, int64_t capacity);
    int (*rotary)(float *x, int64_t ldx, const float *cosine, const float *sine, int64_t rows, int64_t tokens, int64_t heads,
                  int64_t head_size, int inverse);
    int (*cross_entropy)(float *losses, float *dlogits, int64_t ld_dlogits, const float *logits, int64_t ld_logits,
                         const int32_t *targets, float gradient_scale, int64_t rows, int64_t vocabulary);
    int (*embedding_forward)(float *out, const float *table, const float *positions, const int32_t *tokens, int64_t rows,
                             int64_t context, int64_t columns);
    int (*embedding_backward)(float *dtable, float *dpositions, const float *dout, const int32_t *tokens, int64_t rows,
                              int64_t context, int64_t columns);
    int (*dropout)(float *out, const float *x, const float *residual, const femto_dropout *dropout, int64_t first_row,
                   int64_t rows, int64_t columns);
    int (*sum_of_squares)(double *partials, const float *x, int64_t count);
    int (*adamw)(float *parameters, float *m, float *v, const float *gradients, int64_t count, float gradient_scale,
                 float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, double correction1,
                 double correction2);
    int (*exponential)(float *out, const float *x, int64_t count);
    double (*fma_burn)(int64_t iterations); /* runs iterations of independent FMAs on one thread, returns the flops */
} femto_kernels;

#define FEMTO_NORM_BLOCK 64        /* rows in one partial sum of the LayerNorm gains' gradient */
#define FEMTO_SQUARES_BLOCK 4096   /* floats in one partial sum of sum_of_squares */

/* ---- choice of the instruction set (dispatch.c) ---- */

/* The table called `name`, or the best for this machine when name is NULL; NULL when the machine or the build lacks it. */
const femto_kernels *femto_select(const char *name);
/* Writes the names that this machine can run, best first (at most 4); returns how many. */
int femto_supported(const char **names);

#endif
