/* Causal multi-head attention, one task a (sequence, head); forward, backward, and one step against a key/value cache.
 *
 * Scores are rows of queries by lanes of keys: S = Q K^T, P = softmax(S) over keys <= query, O = P V. A block of queries at a
 * time (QUERY_BLOCK, or all of them up to 128 tokens), so scratch grows with T, not with T^2, and stays in L2. Row strips of
 * STRIP queries skip the keys that the causal mask hides. The backward pass computes P again from the saved maximum and scale.
 * Queries and keys are rotated (rotary, half-split pairs as in GPT-NeoX) while they are copied to scratch, and gradients
 * rotated back while they are copied out. Dropout acts on P; its mask is drawn again in the backward pass.
 */
#define STRIP 12
#define QUERY_BLOCK 60
#define PANEL (2 * LANES)
#define ROUND_UP(x, to) (((x) + (to) - 1) / (to) * (to))

/* c (m x n) = or += op(A) B over whole vectors: n is a multiple of LANES and B and c have all those columns. */
static void multiply_scratch(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, int transposed, const float *b,
                             int64_t ldb, float *c, int64_t ldc, int accumulate) {
    for (int64_t j = 0; j < n; j += PANEL) {
        tile_arguments t = {.k = k, .a = a, .lda = lda, .b = b + j, .ldb = ldb, .c = c + j, .ldc = ldc,
                            .initial = accumulate ? c + j : NULL, .ld_initial = ldc, .columns = least(PANEL, n - j)};
        multiply_panel(m, transposed, &t);
    }
}

/* Rows of one head into scratch (T x padded, zero padded), rotated when tables are given, times scale. */
static void load_head(float *out, int64_t padded, const float *x, int64_t ldx, const femto_attention_arguments *p, int rotate,
                      float scale) {
    const int64_t hs = p->head_size, half = rotate && p->cosine ? hs / 2 : 0;
    const vf factor = v_set(scale);
    for (int64_t t = 0; t < p->tokens; t++) {
        const float *row = x + t * ldx;
        float *o = out + t * padded;
        for (int64_t c = 2 * half; c < padded; c += LANES)
            v_store_up_to(o + c, c < hs ? v_load_up_to(row + c, hs - c) * factor : v_set(0.0f), padded - c);
        for (int64_t c = 0; c < half; c += LANES) {
            const int64_t left = half - c;
            const vf cosine = v_load_up_to(p->cosine + t * half + c, left) * factor;
            const vf sine = v_load_up_to(p->sine + t * half + c, left) * factor;
            const vf first = v_load_up_to(row + c, left), second = v_load_up_to(row + c + half, left);
            v_store_up_to(o + c, first * cosine - second * sine, left);
            v_store_up_to(o + c + half, second * cosine + first * sine, left);
        }
    }
}

/* Rows t0..t1 of a head's gradient from scratch into place, rotated back, times scale. */
static void store_head(float *out, int64_t ld_out, const float *x, int64_t padded, int64_t t0, int64_t t1,
                       const femto_attention_arguments *p, int rotate, float scale) {
    const int64_t hs = p->head_size, half = rotate && p->cosine ? hs / 2 : 0;
    const vf factor = v_set(scale);
    for (int64_t t = t0; t < t1; t++) {
        const float *row = x + (t - t0) * padded;
        float *o = out + t * ld_out;
        for (int64_t c = 0; c < half; c += LANES) {
            const int64_t left = half - c;
            const vf cosine = v_load_up_to(p->cosine + t * half + c, left) * factor;
            const vf sine = v_load_up_to(p->sine + t * half + c, left) * factor;
            const vf first = v_load_up_to(row + c, left), second = v_load_up_to(row + c + half, left);
            v_store_up_to(o + c, first * cosine + second * sine, left);
            v_store_up_to(o + c + half, second * cosine - first * sine, left);
        }
        for (int64_t c = 2 * half; c < hs; c += LANES)
            v_store_up_to(o + c, v_load_up_to(row + c, hs - c) * factor, hs - c);
    }
}

/* out (columns x ld_out) = x^T, in 4 x 4 blocks; rows and columns beyond the multiples of four one by one. */
static void transpose(float *out, int64_t ld_out, const float *x, int64_t ldx, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r += 4)
        for (int64_t c = 0; c < columns; c += 4) {
            if (r + 4 > rows || c + 4 > columns) {
                for (int64_t i = r; i < least(r + 4, rows); i++)
                    for (int64_t j = c; j < least(c + 4, columns); j++) out[j * ld_out + i] = x[i * ldx + j];
                continue;
            }
            v4 a[4];
            for (int i = 0; i < 4; i++) __builtin_memcpy(&a[i], x + (r + i) * ldx + c, 16);
            const v4 s0 = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5), s1 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5);
            const v4 s2 = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7), s3 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
            a[0] = __builtin_shufflevector(s0, s1, 0, 1, 4, 5);
            a[1] = __builtin_shufflevector(s0, s1, 2, 3, 6, 7);
            a[2] = __builtin_shufflevector(s2, s3, 0, 1, 4, 5);
            a[3] = __builtin_shufflevector(s2, s3, 2, 3, 6, 7);
            for (int i = 0; i < 4; i++) __builtin_memcpy(out + (c + i) * ld_out + r, &a[i], 16);
        }
}

/* The first n of a row of scores become probabilities, in place. */
INLINE void softmax_row(float *s, int64_t n, float *maximum, float *scale) {
    lanes16 m, sum;
    for (int p = 0; p < PIECES; p++) {
        m.piece[p] = v_set(-__builtin_inff());
        sum.piece[p] = v_set(0.0f);
    }
    FOR_ROW(i, piece, left, n) m.piece[piece] = v_max(m.piece[piece], keep_lanes(v_load(s + i), left, -__builtin_inff()));
    *maximum = lanes16_max(m);
    FOR_ROW(i, piece, left, n) {
        vf e = keep_lanes(v_exp(v_load(s + i) - v_set(*maximum)), left, 0.0f);
        v_store(s + i, e);
        sum.piece[piece] += e;
    }
    *scale = 1.0f / lanes16_sum(sum);
    FOR_ROW(i, piece, left, n) v_store(s + i, v_load(s + i) * v_set(*scale));
}

/* Scratch of one task: `rows` is T x padded head, `lanes` is hs x padded T, `tile` is a block of queries x padded T. */
typedef struct {
    int64_t padded_head, padded_tokens, block;
    float *rows[4], *lanes[4], *tile[2], *block_rows, *mask;
} attention_scratch;

static int attention_layout(attention_scratch *s, const femto_attention_arguments *p, int backward) {
    const int64_t T = p->tokens, hs = p->head_size;
    s->padded_head = ROUND_UP(hs, 16);
    s->padded_tokens = ROUND_UP(T, 32);
    s->block = T <= 128 ? ROUND_UP(T, STRIP) : QUERY_BLOCK;
    const int64_t rows = T * s->padded_head, lanes = hs * s->padded_tokens, tile = s->block * s->padded_tokens;
    const int64_t mask = ROUND_UP(T, 64), block_rows = s->block * s->padded_head;
    const int row_count = backward ? 4 : 3, lane_count = backward ? 4 : 1, tile_count = backward ? 2 : 1;
    float *memory = femto_scratch(FEMTO_SCRATCH_TASK,
                                  row_count * rows + lane_count * lanes + tile_count * tile + mask + block_rows);
    if (!memory) return -1;
    for (int i = 0; i < row_count; i++, memory += rows) s->rows[i] = memory;
    for (int i = 0; i < lane_count; i++, memory += lanes) s->lanes[i] = memory;
    for (int i = 0; i < tile_count; i++, memory += tile) s->tile[i] = memory;
    s->block_rows = memory;
    s->mask = memory + block_rows;
    return 0;
}

/* Scores of queries [q0, q1) against all keys that one of them may see. */
static void score_block(float *scores, const attention_scratch *s, const float *queries, int64_t head_size,
                        const float *keys_transposed, int64_t q0, int64_t q1) {
    for (int64_t q = q0; q < q1; q += STRIP) {
        const int64_t rows = least(STRIP, q1 - q);
        multiply_scratch(rows, ROUND_UP(q + rows, LANES), head_size, queries + q * s->padded_head, s->padded_head, 0,
                         keys_transposed, s->padded_tokens, scores + (q - q0) * s->padded_tokens, s->padded_tokens, 0);
    }
}

/* out (rows of queries x padded head) = P (block x keys) X (keys x padded head), keys <= query. */
static void weigh_block(float *out, const attention_scratch *s, const float *p, const float *x, int64_t q0, int64_t q1) {
    for (int64_t q = q0; q < q1; q += STRIP) {
        const int64_t rows = least(STRIP, q1 - q);
        multiply_scratch(rows, s->padded_head, q + rows, p + (q - q0) * s->padded_tokens, s->padded_tokens, 0, x,
                         s->padded_head, out + (q - q0) * s->padded_head, s->padded_head, 0);
    }
}

/* out (hs x keys) += X^T (hs x block of queries) P (block x keys): each panel of keys starts at the first query that sees it. */
static void collect_block(float *out, const attention_scratch *s, const float *x, int64_t head_size, const float *p, int64_t q0,
                          int64_t q1) {
    for (int64_t j = 0; j < q1; j += PANEL) {
        const int64_t q = j > q0 ? j : q0;
        multiply_scratch(head_size, PANEL, q1 - q, x + q * s->padded_head, s->padded_head, 1,
                         p + (q - q0) * s->padded_tokens + j, s->padded_tokens, out + j, s->padded_tokens, 1);
    }
}

/* Zero what follows the n probabilities of a row, as far as weigh_block and collect_block read. */
INLINE void clear_tail(float *row, int64_t n, int64_t q, int64_t padded) {
    const int64_t end = least(ROUND_UP(q / STRIP * STRIP + STRIP, 32), padded);
    for (int64_t i = n; i < end; i++) row[i] = 0.0f;
}

INLINE int64_t mask_row(const femto_attention_arguments *p, int64_t b, int64_t h, int64_t q) {
    return ((p->first_sequence + b) * p->heads + h) * p->tokens + q;
}

static void attention_forward_task(void *arguments, int64_t index) {
    femto_attention_arguments *p = arguments;
    const int64_t b = index / p->heads, h = index % p->heads, T = p->tokens, hs = p->head_size, d = p->heads * hs;
    attention_scratch s;
    if (attention_layout(&s, p, 0)) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const float *qkv = p->qkv + b * T * p->ld_qkv + h * hs;
    float *queries = s.rows[0], *values = s.rows[1], *keys = s.rows[2], *keys_transposed = s.lanes[0], *scores = s.tile[0];
    load_head(queries, s.padded_head, qkv, p->ld_qkv, p, 1, (float)(1.0 / __builtin_sqrt((double)hs)));
    load_head(keys, s.padded_head, qkv + d, p->ld_qkv, p, 1, 1.0f);
    load_head(values, s.padded_head, qkv + 2 * d, p->ld_qkv, p, 0, 1.0f);
    for (int64_t c = 0; c < hs; c++)
        for (int64_t t = T; t < s.padded_tokens; t++) keys_transposed[c * s.padded_tokens + t] = 0.0f;
    transpose(keys_transposed, s.padded_tokens, keys, s.padded_head, T, hs);
    for (int64_t q0 = 0; q0 < T; q0 += s.block) {
        const int64_t q1 = least(q0 + s.block, T);
        score_block(scores, &s, queries, hs, keys_transposed, q0, q1);
        for (int64_t q = q0; q < q1; q++) {
            float *row = scores + (q - q0) * s.padded_tokens;
            softmax_row(row, q + 1, &p->row_max[index * T + q], &p->row_scale[index * T + q]);
            if (p->dropout.threshold) {
                dropout_mask(s.mask, &p->dropout, mask_row(p, b, h, q), q + 1);
                FOR_ROW(i, piece, left, q + 1) v_store(row + i, v_load(row + i) * v_load(s.mask + i));
            }
            clear_tail(row, q + 1, q, s.padded_tokens);
        }
        weigh_block(s.block_rows, &s, scores, values, q0, q1);
        store_head(p->out + b * T * p->ld_out + h * hs, p->ld_out, s.block_rows, s.padded_head, q0, q1, p, 0, 1.0f);
    }
}

static int attention_forward(femto_attention_arguments *p) {
    p->failed = 0;
    femto_parallel_for(p->batch * p->heads,
                       4.0 * (double)(p->batch * p->heads * p->head_size) * (double)p->tokens * (double)p->tokens,
                       attention_forward_task, p);
    return p->failed ? -1 : 0;
}

/* With P the probabilities, M the scaled mask and O = (P*M) V:  dV = (P*M)^T dO,  dP = (dO V^T)*M,
 * dS = P*(dP - sum_j P dP) where the sum is dO.O,  dQ = scale dS K,  dK = dS^T (scale Q). */
static void attention_backward_task(void *arguments, int64_t index) {
    femto_attention_arguments *p = arguments;
    const int64_t b = index / p->heads, h = index % p->heads, T = p->tokens, hs = p->head_size, d = p->heads * hs;
    attention_scratch s;
    if (attention_layout(&s, p, 1)) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    const float scale = (float)(1.0 / __builtin_sqrt((double)hs));
    const float *qkv = p->qkv + b * T * p->ld_qkv + h * hs;
    float *d_qkv = p->d_qkv + b * T * p->ld_d_qkv + h * hs;
    float *queries = s.rows[0], *keys = s.rows[1], *d_out = s.rows[2], *values = s.rows[3];
    float *keys_transposed = s.lanes[0], *values_transposed = s.lanes[1], *d_keys = s.lanes[2], *d_values = s.lanes[3];
    float *probabilities = s.tile[0], *d_scores = s.tile[1];
    load_head(queries, s.padded_head, qkv, p->ld_qkv, p, 1, scale);
    load_head(keys, s.padded_head, qkv + d, p->ld_qkv, p, 1, 1.0f);
    load_head(values, s.padded_head, qkv + 2 * d, p->ld_qkv, p, 0, 1.0f);
    load_head(d_out, s.padded_head, p->d_out + b * T * p->ld_d_out + h * hs, p->ld_d_out, p, 0, 1.0f);
    for (int i = 0; i < 4; i++)
        for (int64_t x = 0; x < hs * s.padded_tokens; x++) s.lanes[i][x] = 0.0f;
    transpose(keys_transposed, s.padded_tokens, keys, s.padded_head, T, hs);
    transpose(values_transposed, s.padded_tokens, values, s.padded_head, T, hs);
    for (int64_t q0 = 0; q0 < T; q0 += s.block) {
        const int64_t q1 = least(q0 + s.block, T);
        score_block(probabilities, &s, queries, hs, keys_transposed, q0, q1);
        score_block(d_scores, &s, d_out, hs, values_transposed, q0, q1);
        for (int64_t q = q0; q < q1; q++) {
            float *row = probabilities + (q - q0) * s.padded_tokens, *d_row = d_scores + (q - q0) * s.padded_tokens;
            const float *out = p->out + (b * T + q) * p->ld_out + h * hs, *d_o = d_out + q * s.padded_head;
            const vf maximum = v_set(p->row_max[index * T + q]), row_scale = v_set(p->row_scale[index * T + q]);
            lanes16 sum;
            for (int i = 0; i < PIECES; i++) sum.piece[i] = v_set(0.0f);
            FOR_ROW(i, piece, left, hs)
                sum.piece[piece] = v_fma(v_load_up_to(d_o + i, left), v_load_up_to(out + i, left), sum.piece[piece]);
            const vf dot = v_set(lanes16_sum(sum));
            if (p->dropout.threshold) dropout_mask(s.mask, &p->dropout, mask_row(p, b, h, q), q + 1);
            FOR_ROW(i, piece, left, q + 1) {
                vf x = keep_lanes(v_exp(v_load(row + i) - maximum) * row_scale, left, 0.0f), dx = v_load(d_row + i);
                if (p->dropout.threshold) {
                    vf mask = v_load(s.mask + i);
                    v_store(d_row + i, x * (dx * mask - dot));
                    v_store(row + i, x * mask);
                } else {
                    v_store(d_row + i, x * (dx - dot));
                    v_store(row + i, x);
                }
            }
            clear_tail(row, q + 1, q, s.padded_tokens);
            clear_tail(d_row, q + 1, q, s.padded_tokens);
        }
        collect_block(d_values, &s, d_out, hs, probabilities, q0, q1);
        collect_block(d_keys, &s, queries, hs, d_scores, q0, q1);
        weigh_block(s.block_rows, &s, d_scores, keys, q0, q1);
        store_head(d_qkv, p->ld_d_qkv, s.block_rows, s.padded_head, q0, q1, p, 1, scale);
    }
    transpose(keys, s.padded_head, d_keys, s.padded_tokens, hs, T); /* keys and values are done with */
    store_head(d_qkv + d, p->ld_d_qkv, keys, s.padded_head, 0, T, p, 1, 1.0f);
    transpose(values, s.padded_head, d_values, s.padded_tokens, hs, T);
    store_head(d_qkv + 2 * d, p->ld_d_qkv, values, s.padded_head, 0, T, p, 0, 1.0f);
}

static int attention_backward(femto_attention_arguments *p) {
    p->failed = 0;
    femto_parallel_for(p->batch * p->heads,
                       10.0 * (double)(p->batch * p->heads * p->head_size) * (double)p->tokens * (double)p->tokens,
                       attention_backward_task, p);
    return p->failed ? -1 : 0;
}

/* One new query (d) against a cache of `length` tokens: keys (H, hs, capacity), values (H, capacity, hs padded to 16);
 * capacity is a multiple of 16. */
static int attention_decode(float *out, const float *query, const float *keys, const float *values, int64_t heads,
                            int64_t head_size, int64_t length, int64_t capacity) {
    const int64_t padded = ROUND_UP(head_size, 16);
    float *scores = femto_scratch(FEMTO_SCRATCH_TASK, capacity + 2 * padded);
    if (!scores) return -1;
    float *scaled = scores + capacity, *weighed = scaled + padded, maximum, row_scale;
    const float scale = (float)(1.0 / __builtin_sqrt((double)head_size));
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t c = 0; c < head_size; c++) scaled[c] = query[h * head_size + c] * scale;
        multiply_scratch(1, ROUND_UP(length, LANES), head_size, scaled, head_size, 0, keys + h * head_size * capacity, capacity,
                         scores, capacity, 0);
        softmax_row(scores, length, &maximum, &row_scale);
        multiply_scratch(1, padded, length, scores, capacity, 0, values + h * capacity * padded, padded, weighed, padded, 0);
        for (int64_t c = 0; c < head_size; c++) out[h * head_size + c] = weighed[c];
    }
    return 0;
}
