/* GELU, exp and dropout over flat buffers or rows, AdamW over the flat parameter buffer, the sum of squares for clipping, and the
 * machine's peak. */
#ifndef FEMTO_ELEMENTWISE_H
#define FEMTO_ELEMENTWISE_H
#include "femto.h"

/* out = gelu(x), the tanh form (vmath.h). */
typedef struct {
    float *out;     /* (count); may be x */
    const float *x; /* (count) */
    int64_t count;
} femto_gelu_forward_arguments;
FEMTO_KERNEL(gelu_forward)

/* dx = dout * gelu'(x). */
typedef struct {
    float *dx;             /* (count); may be dout or x */
    const float *dout, *x; /* (count) */
    int64_t count;
} femto_gelu_backward_arguments;
FEMTO_KERNEL(gelu_backward)

/* out = exp(x) (vmath.h). */
typedef struct {
    float *out;     /* (count); may be x */
    const float *x; /* (count) */
    int64_t count;
} femto_exponential_arguments;
FEMTO_KERNEL(exponential)

/* out = residual + x * mask / (1-p). */
typedef struct {
    float *out;            /* (rows, columns); may be x or residual */
    const float *x;        /* (rows, columns) */
    const float *residual; /* (rows, columns), or NULL */
    int64_t rows, columns;
    int64_t first_row;     /* index in the whole batch of row 0, for the dropout counters */
    femto_dropout_settings dropout;
} femto_dropout_arguments;
FEMTO_KERNEL(dropout)

/* total = the sum of x^2: float32 within blocks, double between them, in order. */
typedef struct {
    double *total;  /* (1) */
    const float *x; /* (count) */
    int64_t count;
} femto_sum_of_squares_arguments;
FEMTO_KERNEL(sum_of_squares)

/* Decoupled weight decay first, then the Adam update (Loshchilov and Hutter 2019); bias corrections 1 - beta^(step+1). */
typedef struct {
    float *parameters, *m, *v; /* (count) */
    const float *gradients;    /* (count) */
    int64_t count;
    int64_t step;              /* from 0 */
    double beta1, beta2;
    float gradient_scale, learning_rate, epsilon, weight_decay;
} femto_adamw_arguments;
FEMTO_KERNEL(adamw)

/* Independent multiply-adds that fit the registers, on every thread: the machine's peak, for `femto bench`. */
typedef struct {
    double *flops;      /* (1): how many floating-point operations that were, on all threads */
    int64_t iterations; /* of 24 or 12 vector FMAs a thread */
} femto_fma_burn_arguments;
FEMTO_KERNEL(fma_burn)

#endif

#ifdef FEMTO_ISA
#define CHUNK 16384 /* floats in one task */

static int gelu_forward_task(const void *arguments, int64_t index) {
    const femto_gelu_forward_arguments *p = arguments;
    const int64_t start = index * CHUNK;
    FOR_ROW(i, piece, left, least(CHUNK, p->count - start)) {
        vf derivative;
        v_store_up_to(p->out + start + i, v_gelu(v_load_up_to(p->x + start + i, left), &derivative), left);
    }
    return 0;
}

int FOR_ISA(gelu_forward)(const femto_gelu_forward_arguments *p) {
    return femto_parallel_for((p->count + CHUNK - 1) / CHUNK, 8.0 * (double)p->count, gelu_forward_task, p);
}

static int gelu_backward_task(const void *arguments, int64_t index) {
    const femto_gelu_backward_arguments *p = arguments;
    const int64_t start = index * CHUNK;
    FOR_ROW(i, piece, left, least(CHUNK, p->count - start)) {
        vf derivative;
        v_gelu(v_load_up_to(p->x + start + i, left), &derivative);
        v_store_up_to(p->dx + start + i, v_load_up_to(p->dout + start + i, left) * derivative, left);
    }
    return 0;
}

int FOR_ISA(gelu_backward)(const femto_gelu_backward_arguments *p) {
    return femto_parallel_for((p->count + CHUNK - 1) / CHUNK, 8.0 * (double)p->count, gelu_backward_task, p);
}

static int exponential_task(const void *arguments, int64_t index) {
    const femto_exponential_arguments *p = arguments;
    const int64_t start = index * CHUNK;
    FOR_ROW(i, piece, left, least(CHUNK, p->count - start))
        v_store_up_to(p->out + start + i, v_exp(v_load_up_to(p->x + start + i, left)), left);
    return 0;
}

int FOR_ISA(exponential)(const femto_exponential_arguments *p) {
    return femto_parallel_for((p->count + CHUNK - 1) / CHUNK, 8.0 * (double)p->count, exponential_task, p);
}

/* One task a few groups of rows as the masks come; the first and the last group may be cut by the edges of x. */
#define DROPOUT_GROUPS 4

static int dropout_task(const void *arguments, int64_t index) {
    const femto_dropout_arguments *p = arguments;
    const int64_t ld = ROUND_UP(p->columns, 16), first = p->first_row / DROPOUT_GROUP + index * DROPOUT_GROUPS;
    float *masks = femto_scratch(FEMTO_SCRATCH_TASK, DROPOUT_GROUP * ld);
    if (!masks) return -1;
    for (int64_t group = first; group < first + DROPOUT_GROUPS; group++) {
        for (int64_t block = 0; block * 16 < p->columns; block++) {
            vf mask[DROPOUT_GROUP][PIECES];
            dropout_tile(mask, &p->dropout, group, block);
            for (int i = 0; i < DROPOUT_GROUP; i++)
                for (int piece = 0; piece < PIECES; piece++) v_store(masks + i * ld + block * 16 + piece * LANES, mask[i][piece]);
        }
        for (int64_t i = 0; i < DROPOUT_GROUP; i++) {
            const int64_t row = group * DROPOUT_GROUP + i - p->first_row;
            if (row < 0 || row >= p->rows) continue;
            FOR_ROW(j, piece, left, p->columns) {
                vf value = v_load_up_to(p->x + row * p->columns + j, left) * v_load(masks + i * ld + j);
                if (p->residual) value += v_load_up_to(p->residual + row * p->columns + j, left);
                v_store_up_to(p->out + row * p->columns + j, value, left);
            }
        }
    }
    return 0;
}

int FOR_ISA(dropout)(const femto_dropout_arguments *p) {
    const int64_t groups = (p->first_row + p->rows + DROPOUT_GROUP - 1) / DROPOUT_GROUP - p->first_row / DROPOUT_GROUP;
    return femto_parallel_for((groups + DROPOUT_GROUPS - 1) / DROPOUT_GROUPS, 4.0 * (double)p->rows * (double)p->columns,
                              dropout_task, p);
}

#define SQUARES_BLOCK 4096 /* floats in one partial sum */
#define SQUARES_GROUP 8    /* blocks in one task */
typedef struct {
    const femto_sum_of_squares_arguments *p;
    double *partials; /* one a block */
} squares_plan;

static int squares_task(const void *arguments, int64_t index) {
    const squares_plan *plan = arguments;
    for (int64_t block = index * SQUARES_GROUP; block < (index + 1) * SQUARES_GROUP; block++) {
        const int64_t start = block * SQUARES_BLOCK;
        if (start >= plan->p->count) break;
        lanes16 sum;
        for (int i = 0; i < PIECES; i++) sum.piece[i] = v_set(0.0f);
        FOR_ROW(i, piece, left, least(SQUARES_BLOCK, plan->p->count - start)) {
            vf value = v_load_up_to(plan->p->x + start + i, left);
            sum.piece[piece] = v_fma(value, value, sum.piece[piece]);
        }
        plan->partials[block] = (double)lanes16_sum(sum);
    }
    return 0;
}

int FOR_ISA(sum_of_squares)(const femto_sum_of_squares_arguments *p) {
    const int64_t blocks = (p->count + SQUARES_BLOCK - 1) / SQUARES_BLOCK;
    const squares_plan plan = {p, (double *)(void *)femto_scratch(FEMTO_SCRATCH_SHARED, 2 * blocks + 1)};
    if (!plan.partials) return -1;
    femto_parallel_for((blocks + SQUARES_GROUP - 1) / SQUARES_GROUP, 2.0 * (double)p->count, squares_task, &plan);
    *p->total = 0.0;
    for (int64_t block = 0; block < blocks; block++) *p->total += plan.partials[block];
    return 0;
}

typedef struct {
    const femto_adamw_arguments *p;
    float inverse1, inverse2; /* of the bias corrections */
} adamw_plan;

/* By squaring: the pow of one C library rounds otherwise than that of another. */
static double power(double base, int64_t exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

static int adamw_task(const void *arguments, int64_t index) {
    const adamw_plan *plan = arguments;
    const femto_adamw_arguments *p = plan->p;
    const int64_t start = index * CHUNK, n = least(CHUNK, p->count - start);
    const vf scale = v_set(p->gradient_scale), rate = v_set(p->learning_rate), epsilon = v_set(p->epsilon);
    const float b1 = (float)p->beta1, b2 = (float)p->beta2;
    const vf beta1 = v_set(b1), beta2 = v_set(b2);
    const vf rest1 = v_set((float)(1.0 - (double)b1)), rest2 = v_set((float)(1.0 - (double)b2));
    const vf inverse1 = v_set(plan->inverse1), inverse2 = v_set(plan->inverse2);
    const vf keep = v_set((float)(1.0 - (double)p->learning_rate * (double)p->weight_decay));
    FOR_ROW(i, piece, left, n) {
        const int64_t at = start + i;
        vf g = v_load_up_to(p->gradients + at, left) * scale;
        vf m = v_fma(beta1, v_load_up_to(p->m + at, left), rest1 * g);
        vf v = v_fma(beta2, v_load_up_to(p->v + at, left), rest2 * g * g);
        vf x = v_load_up_to(p->parameters + at, left) * keep;
        x -= rate * (m * inverse1) / (v_sqrt(v * inverse2) + epsilon);
        v_store_up_to(p->m + at, m, left);
        v_store_up_to(p->v + at, v, left);
        v_store_up_to(p->parameters + at, x, left);
    }
    return 0;
}

int FOR_ISA(adamw)(const femto_adamw_arguments *p) {
    const double correction1 = 1.0 - power(p->beta1, p->step + 1), correction2 = 1.0 - power(p->beta2, p->step + 1);
    const adamw_plan plan = {p, (float)(1.0 / correction1), (float)(1.0 / correction2)};
    return femto_parallel_for((p->count + CHUNK - 1) / CHUNK, 10.0 * (double)p->count, adamw_task, &plan);
}

static int fma_burn_task(const void *arguments, int64_t index) {
    const femto_fma_burn_arguments *p = arguments;
    enum { CHAINS = VECTOR_REGISTERS == 32 ? 24 : 12 };
    vf acc[CHAINS];
    volatile float factor = 0.999f, term = 0.001f;
    const vf x = v_set(factor), y = v_set(term);
    for (int i = 0; i < CHAINS; i++) acc[i] = v_set((float)i);
    for (int64_t it = 0; it < p->iterations; it++)
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) acc[i] = v_fma(acc[i], x, y);
    vf sum = v_set(0.0f);
    for (int i = 0; i < CHAINS; i++) sum += acc[i];
    volatile float sink = sum[0];
    (void)sink;
    if (index == 0) *p->flops = 2.0 * LANES * CHAINS * (double)p->iterations;
    return 0;
}

int FOR_ISA(fma_burn)(const femto_fma_burn_arguments *p) {
    const int threads = femto_get_threads();
    const int status = femto_parallel_for(threads, 1e9, fma_burn_task, p);
    *p->flops *= threads;
    return status;
}
#endif
