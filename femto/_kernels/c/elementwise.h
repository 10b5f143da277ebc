/* GELU, exp and dropout over flat buffers or rows, AdamW over the flat parameter buffer, and the sum of squares for clipping. */
#define CHUNK 16384 /* floats in one task */

typedef struct {
    float *out;
    const float *x, *dout;
    int64_t count;
    int operation;
} elementwise_arguments;

static void elementwise_task(void *arguments, int64_t index) {
    const elementwise_arguments *p = arguments;
    const int64_t start = index * CHUNK, n = least(CHUNK, p->count - start);
    float *out = p->out + start;
    const float *x = p->x + start, *dout = p->dout ? p->dout + start : NULL;
    FOR_ROW(i, piece, left, n) {
        vf value = v_load_up_to(x + i, left), derivative;
        if (p->operation == 0) {
            value = v_gelu(value, &derivative);
        } else if (p->operation == 1) {
            v_gelu(value, &derivative);
            value = v_load_up_to(dout + i, left) * derivative;
        } else {
            value = v_exp(value);
        }
        v_store_up_to(out + i, value, left);
    }
}

static int elementwise(float *out, const float *x, const float *dout, int64_t count, int operation) {
    elementwise_arguments p = {out, x, dout, count, operation};
    femto_parallel_for((count + CHUNK - 1) / CHUNK, 8.0 * (double)count, elementwise_task, &p);
    return 0;
}

static int gelu_forward(float *out, const float *x, int64_t count) { return elementwise(out, x, NULL, count, 0); }
static int gelu_backward(float *dx, const float *dout, const float *x, int64_t count) {
    return elementwise(dx, x, dout, count, 1);
}
static int exponential(float *out, const float *x, int64_t count) { return elementwise(out, x, NULL, count, 2); }

/* out = residual + x * mask: rows of `columns` floats; `first_row` places row 0 in the whole batch, for the counters. One task a
 * few groups of rows as the masks come; the first and the last group may be cut by the edges of x. */
typedef struct {
    float *out;
    const float *x, *residual;
    const femto_dropout *dropout;
    int64_t first_row, rows, columns;
    int failed;
} dropout_arguments;
#define DROPOUT_GROUPS 4

static void dropout_task(void *arguments, int64_t index) {
    dropout_arguments *p = arguments;
    const int64_t ld = ROUND_UP(p->columns, 16), first = p->first_row / DROPOUT_GROUP + index * DROPOUT_GROUPS;
    float *masks = femto_scratch(FEMTO_SCRATCH_TASK, DROPOUT_GROUP * ld);
    if (!masks) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t group = first; group < first + DROPOUT_GROUPS; group++) {
        for (int64_t block = 0; block * 16 < p->columns; block++) {
            vf mask[DROPOUT_GROUP][PIECES];
            dropout_tile(mask, p->dropout, group, block);
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
}

static int dropout(float *out, const float *x, const float *residual, const femto_dropout *settings, int64_t first_row,
                   int64_t rows, int64_t columns) {
    dropout_arguments p = {out, x, residual, settings, first_row, rows, columns, 0};
    const int64_t groups = (first_row + rows + DROPOUT_GROUP - 1) / DROPOUT_GROUP - first_row / DROPOUT_GROUP;
    femto_parallel_for((groups + DROPOUT_GROUPS - 1) / DROPOUT_GROUPS, 4.0 * (double)rows * (double)columns, dropout_task, &p);
    return p.failed ? -1 : 0;
}

/* partials[i] = sum of squares of the i-th FEMTO_SQUARES_BLOCK floats; the caller adds them in order. */
typedef struct {
    double *partials;
    const float *x;
    int64_t count;
} squares_arguments;
#define SQUARES_GROUP 8 /* blocks in one task */

static void squares_task(void *arguments, int64_t index) {
    const squares_arguments *p = arguments;
    for (int64_t block = index * SQUARES_GROUP; block < (index + 1) * SQUARES_GROUP; block++) {
        const int64_t start = block * FEMTO_SQUARES_BLOCK;
        if (start >= p->count) return;
        lanes16 sum;
        for (int i = 0; i < PIECES; i++) sum.piece[i] = v_set(0.0f);
        FOR_ROW(i, piece, left, least(FEMTO_SQUARES_BLOCK, p->count - start)) {
            vf value = v_load_up_to(p->x + start + i, left);
            sum.piece[piece] = v_fma(value, value, sum.piece[piece]);
        }
        p->partials[block] = (double)lanes16_sum(sum);
    }
}

static int sum_of_squares(double *partials, const float *x, int64_t count) {
    squares_arguments p = {partials, x, count};
    const int64_t group = SQUARES_GROUP * FEMTO_SQUARES_BLOCK;
    femto_parallel_for((count + group - 1) / group, 2.0 * (double)count, squares_task, &p);
    return 0;
}

/* Decoupled weight decay first, then the Adam update (Loshchilov and Hutter 2019); bias corrections 1 - beta^(step+1). */
typedef struct {
    float *parameters, *m, *v;
    const float *gradients;
    int64_t count;
    float gradient_scale, learning_rate, beta1, beta2, epsilon, weight_decay, inverse1, inverse2;
} adamw_arguments;

static void adamw_task(void *arguments, int64_t index) {
    const adamw_arguments *p = arguments;
    const int64_t start = index * CHUNK, n = least(CHUNK, p->count - start);
    const vf scale = v_set(p->gradient_scale), rate = v_set(p->learning_rate), epsilon = v_set(p->epsilon);
    const vf beta1 = v_set(p->beta1), beta2 = v_set(p->beta2);
    const vf rest1 = v_set((float)(1.0 - (double)p->beta1)), rest2 = v_set((float)(1.0 - (double)p->beta2));
    const vf inverse1 = v_set(p->inverse1), inverse2 = v_set(p->inverse2);
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
}

static int adamw(float *parameters, float *m, float *v, const float *gradients, int64_t count, float gradient_scale,
                 float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, double correction1,
                 double correction2) {
    adamw_arguments p = {parameters, m, v, gradients, count, gradient_scale, learning_rate, beta1, beta2, epsilon,
                         weight_decay, (float)(1.0 / correction1), (float)(1.0 / correction2)};
    femto_parallel_for((count + CHUNK - 1) / CHUNK, 10.0 * (double)count, adamw_task, &p);
    return 0;
}

/* Independent FMAs that fit the registers: the machine's peak, for `femto bench`. Iterations of 24 (or 12) vector FMAs. */
static double fma_burn(int64_t iterations) {
    enum { CHAINS = VECTOR_REGISTERS == 32 ? 24 : 12 };
    vf acc[CHAINS];
    volatile float factor = 0.999f, term = 0.001f;
    const vf x = v_set(factor), y = v_set(term);
    for (int i = 0; i < CHAINS; i++) acc[i] = v_set((float)i);
    for (int64_t it = 0; it < iterations; it++)
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) acc[i] = v_fma(acc[i], x, y);
    vf sum = v_set(0.0f);
    for (int i = 0; i < CHAINS; i++) sum += acc[i];
    volatile float sink = sum[0];
    (void)sink;
    return 2.0 * LANES * CHAINS * (double)iterations;
}
