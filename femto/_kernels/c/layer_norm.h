/* LayerNorm over rows of C columns: out = (x - mean) * rstd * gain + bias; mean and rstd (R) are kept for the backward pass.
 * The row stays in L1, so mean, variance and result are three sweeps over cache, one over memory. */
typedef struct {
    float *out, *mean, *rstd, *dgain, *dbias;
    const float *x, *dout, *gain, *bias, *residual;
    float epsilon;
    int64_t rows, columns;
} layer_norm_arguments;

static void layer_norm_forward_task(void *arguments, int64_t index) {
    const layer_norm_arguments *p = arguments;
    const int64_t n = p->columns, end = least((index + 1) * FEMTO_NORM_BLOCK, p->rows);
    for (int64_t r = index * FEMTO_NORM_BLOCK; r < end; r++) {
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
}

static int layer_norm_forward(float *out, float *mean, float *rstd, const float *x, const float *gain, const float *bias,
                              float epsilon, int64_t rows, int64_t columns) {
    layer_norm_arguments p = {.out = out, .mean = mean, .rstd = rstd, .x = x, .gain = gain, .bias = bias, .epsilon = epsilon,
                              .rows = rows, .columns = columns};
    femto_parallel_for((rows + FEMTO_NORM_BLOCK - 1) / FEMTO_NORM_BLOCK, 4.0 * (double)rows * (double)columns,
                       layer_norm_forward_task, &p);
    return 0;
}

/* With y' = dout * gain and n = (x - mean) * rstd:  dx = residual + rstd * (y' - avg(y') - n avg(y' n)),
 * dgain += sum_rows dout n,  dbias += sum_rows dout. Here dgain and dbias point to one partial sum a block of rows. */
static void layer_norm_backward_task(void *arguments, int64_t index) {
    const layer_norm_arguments *p = arguments;
    const int64_t n = p->columns, end = least((index + 1) * FEMTO_NORM_BLOCK, p->rows);
    float *dgain = p->dgain + index * n, *dbias = p->dbias + index * n;
    for (int64_t i = 0; i < n; i++) dgain[i] = dbias[i] = 0.0f;
    for (int64_t r = index * FEMTO_NORM_BLOCK; r < end; r++) {
        const float *x = p->x + r * n, *dout = p->dout + r * n;
        float *dx = p->out + r * n;
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
}

static int layer_norm_backward(float *dx, float *dgain, float *dbias, const float *dout, const float *x, const float *mean,
                               const float *rstd, const float *gain, const float *residual, int64_t rows, int64_t columns) {
    const int64_t blocks = (rows + FEMTO_NORM_BLOCK - 1) / FEMTO_NORM_BLOCK;
    float *partial = femto_scratch(FEMTO_SCRATCH_SHARED, 2 * blocks * columns + 1);
    if (!partial) return -1;
    layer_norm_arguments p = {.out = dx, .mean = (float *)mean, .rstd = (float *)rstd, .x = x, .dout = dout, .gain = gain,
                              .residual = residual, .dgain = partial, .dbias = partial + blocks * columns, .rows = rows,
                              .columns = columns};
    femto_parallel_for(blocks, 10.0 * (double)rows * (double)columns, layer_norm_backward_task, &p);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t i = 0; i < columns; i++) {
            dgain[i] += p.dgain[block * columns + i];
            dbias[i] += p.dbias[block * columns + i];
        }
    return 0;
}
