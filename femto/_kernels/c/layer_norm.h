/* LayerNorm over rows of `columns` floats, forward and backward. */
#ifndef FEMTO_LAYER_NORM_H
#define FEMTO_LAYER_NORM_H
#include "femto.h"

/* out = (x - mean) * rstd * gain + bias over every row; mean and rstd are kept for the backward pass. */
typedef struct {
    float *out;               /* (rows, columns); may be x */
    float *mean, *rstd;       /* (rows) */
    const float *x;           /* (rows, columns) */
    const float *gain, *bias; /* (columns) */
    float epsilon;            /* added to the variance */
    int64_t rows, columns;
} femto_layer_norm_forward_arguments;
FEMTO_KERNEL(layer_norm_forward)

/* With y' = dout * gain and n = (x - mean) * rstd:  dx = residual + rstd * (y' - avg(y') - n avg(y' n)),
 * dgain += sum_rows dout n,  dbias += sum_rows dout. */
typedef struct {
    float *dx;                 /* (rows, columns); may be dout or residual */
    float *dgain, *dbias;      /* (columns); added to */
    const float *dout, *x;     /* (rows, columns) */
    const float *mean, *rstd;  /* (rows), of the forward pass */
    const float *gain;         /* (columns) */
    const float *residual;     /* (rows, columns), or NULL */
    int64_t rows, columns;
} femto_layer_norm_backward_arguments;
FEMTO_KERNEL(layer_norm_backward)

#endif

#ifdef FEMTO_ISA
/* The row stays in L1, so mean, variance and result are three sweeps over cache, one over memory. */
#define NORM_BLOCK 64 /* rows in one task, and in one partial sum of the gains' gradient */

static int layer_norm_forward_task(const void *arguments, int64_t index) {
    const femto_layer_norm_forward_arguments *p = arguments;
    const int64_t n = p->columns, end = least((index + 1) * NORM_BLOCK, p->rows);
    for (int64_t r = index * NORM_BLOCK; r < end; r++) {
        const float *x = p->x + r * n;
        float *out = p->out + r * n;
        lanes16 sum, squares;
        for (int i = 0; i < PIECES; i++) sum.piece[i] = squares.piece[i] = v_set(0.0f);
        FOR_ROW(i, piece, left, n) sum.piece[piece] += v_load_up_to(x + i, left);
        const vf mean = v_set(lanes16_sum(sum) / (float)n);
        FOR_ROW(i, piece, left, n) {
            vf centred = keep_lanes(v_load_up_to(x + i, left) - mean, left, 0.0f);
            squares.piece[piece] = v_fma(centred, centred, squares.piece[piece]);
        }
        const vf rstd = v_set(1.0f / __builtin_sqrtf(lanes16_sum(squares) / (float)n + p->epsilon));
        FOR_ROW(i, piece, left, n) {
            vf normalised = (v_load_up_to(x + i, left) - mean) * rstd;
            v_store_up_to(out + i, v_fma(normalised, v_load_up_to(p->gain + i, left), v_load_up_to(p->bias + i, left)), left);
        }
        p->mean[r] = mean[0];
        p->rstd[r] = rstd[0];
    }
    return 0;
}

int FOR_ISA(layer_norm_forward)(const femto_layer_norm_forward_arguments *p) {
    return femto_parallel_for((p->rows + NORM_BLOCK - 1) / NORM_BLOCK, 4.0 * (double)p->rows * (double)p->columns,
                              layer_norm_forward_task, p);
}

/* The gradients of gains and biases go to one partial sum a block of rows; added up in order at the end. */
typedef struct {
    const femto_layer_norm_backward_arguments *p;
    float *dgain, *dbias; /* (blocks, columns) */
} layer_norm_backward_plan;

static int layer_norm_backward_task(const void *arguments, int64_t index) {
    const layer_norm_backward_plan *plan = arguments;
    const femto_layer_norm_backward_arguments *p = plan->p;
    const int64_t n = p->columns, end = least((index + 1) * NORM_BLOCK, p->rows);
    float *dgain = plan->dgain + index * n, *dbias = plan->dbias + index * n;
    for (int64_t i = 0; i < n; i++) dgain[i] = dbias[i] = 0.0f;
    for (int64_t r = index * NORM_BLOCK; r < end; r++) {
        const float *x = p->x + r * n, *dout = p->dout + r * n;
        float *dx = p->dx + r * n;
        const vf mean = v_set(p->mean[r]), rstd = v_set(p->rstd[r]);
        lanes16 sum, dot;
        for (int i = 0; i < PIECES; i++) sum.piece[i] = dot.piece[i] = v_set(0.0f);
        FOR_ROW(i, piece, left, n) {
            vf dy = v_load_up_to(dout + i, left), scaled = dy * v_load_up_to(p->gain + i, left);
            vf normalised = (v_load_up_to(x + i, left) - mean) * rstd;
            sum.piece[piece] += scaled;
            dot.piece[piece] = v_fma(scaled, normalised, dot.piece[piece]);
            v_store_up_to(dgain + i, v_fma(dy, normalised, v_load_up_to(dgain + i, left)), left);
            v_store_up_to(dbias + i, v_load_up_to(dbias + i, left) + dy, left);
        }
        const vf average = v_set(lanes16_sum(sum) / (float)n), average_dot = v_set(lanes16_sum(dot) / (float)n);
        FOR_ROW(i, piece, left, n) {
            vf scaled = v_load_up_to(dout + i, left) * v_load_up_to(p->gain + i, left);
            vf normalised = (v_load_up_to(x + i, left) - mean) * rstd;
            vf result = rstd * (scaled - average - normalised * average_dot);
            if (p->residual) result += v_load_up_to(p->residual + r * n + i, left);
            v_store_up_to(dx + i, result, left);
        }
    }
    return 0;
}

int FOR_ISA(layer_norm_backward)(const femto_layer_norm_backward_arguments *p) {
    const int64_t blocks = (p->rows + NORM_BLOCK - 1) / NORM_BLOCK, columns = p->columns;
    float *partial = femto_scratch(FEMTO_SCRATCH_SHARED, 2 * blocks * columns + 1);
    if (!partial) return -1;
    const layer_norm_backward_plan plan = {p, partial, partial + blocks * columns};
    femto_parallel_for(blocks, 10.0 * (double)p->rows * (double)columns, layer_norm_backward_task, &plan);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t i = 0; i < columns; i++) {
            p->dgain[i] += plan.dgain[block * columns + i];
            p->dbias[i] += plan.dbias[block * columns + i];
        }
    return 0;
}
#endif
