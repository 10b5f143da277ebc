/* Causal multi-head attention, forward and backward, and one step of it against a key/value cache. */
#ifndef FEMTO_ATTENTION_H
#define FEMTO_ATTENTION_H
#include "femto.h"

/* out = softmax(Q K^T / sqrt(hs)) V for every head, keys no later than the query; dropout acts on the probabilities. */
typedef struct {
    const float *qkv; int64_t ld_qkv; /* (B*T, 3d): queries, keys, values, each H blocks of hs columns */
    float *out; int64_t ld_out;       /* (B*T, d) */
    float *row_max, *row_scale;       /* (B, H, T): largest q.k and 1/sum of each query's row, for the backward pass */
    int64_t batch, tokens, heads, head_size;
    int64_t first_sequence;           /* index in the whole batch of sequence 0, for the dropout counters */
    femto_dropout_settings dropout;
} femto_attention_forward_arguments;
FEMTO_KERNEL(attention_forward)

typedef struct {
    femto_attention_forward_arguments forward; /* as they were, with what the forward pass wrote */
    const float *dout; int64_t ld_dout;        /* (B*T, d) */
    float *dqkv; int64_t ld_dqkv;              /* (B*T, 3d) */
} femto_attention_backward_arguments;
FEMTO_KERNEL(attention_backward)

/* Keys and values of rows to their places in a cache. */
typedef struct {
    float *keys;                      /* (heads, head_size, capacity) */
    float *values;                    /* (heads, capacity, head_size rounded up to 16) */
    const float *qkv; int64_t ld_qkv; /* (rows, 3d) */
    int64_t rows, heads, head_size, capacity;
    int64_t first;                    /* token of row 0; first + rows is at most capacity */
} femto_cache_store_arguments;
FEMTO_KERNEL(cache_store)

/* Attention of one new query over a cache of its first `length` tokens. */
typedef struct {
    float *out;          /* (d) */
    const float *query;  /* (d) */
    const float *keys;   /* (heads, head_size, capacity) */
    const float *values; /* (heads, capacity, head_size rounded up to 16) */
    int64_t heads, head_size, length, capacity; /* capacity is a multiple of 16, length from 1 to capacity */
} femto_attention_decode_arguments;
FEMTO_KERNEL(attention_decode)

#endif

#ifdef FEMTO_ISA
/* One task a few heads of a sequence.
 *
 * Everything runs on transposed scores, rows of keys by lanes of queries: S^T = K Q^T, P^T = softmax over the keys <= query,
 * O^T = V^T P^T. So products work at full vector width for every head size, the softmax has no sums across lanes, and K and V
 * are read where they lie. Loops: head > block of 16 queries > keys that one of them may see. Sixteen on every instruction set,
 * one vector or several, with the diagonal block masked. Scores of a block stay in L1 up to about T=500; scratch grows with T,
 * not with T^2. The backward pass computes P^T again from the saved maximum and scale, for QUERY_BLOCK queries at a time (L2),
 * because the gradients of keys and values are sums over queries. Dropout acts on P; its mask is drawn again in the backward pass.
 */
#define QUERIES 16
#define QUERY_BLOCK 128
#define LOWEST_EXPONENT -100.0f /* 2^-100 beside 1 is nothing, and its products stay normal numbers */
#define FOR_PIECES(i) _Pragma("GCC unroll 4") for (int i = 0; i < PIECES; i++)

/* c (m x n) = or += op(A) B; reads whole vectors of B, writes n columns of c. */
static void multiply_scratch(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, int transposed, const float *b,
                             int64_t ldb, float *c, int64_t ldc, int accumulate) {
    const int64_t widest = (MAX_VECTORS >= 4 ? 4 : 2) * LANES; /* divides 16 lanes, or holds them */
    for (int64_t j = 0; j < n; j += widest) {
        tile_arguments t = {.k = k, .a = a, .lda = lda, .b = b + j, .ldb = ldb, .c = c + j, .ldc = ldc, .in_cache = 1,
                            .initial = accumulate ? c + j : NULL, .ld_initial = ldc, .columns = least(widest, n - j)};
        multiply_panel(m, transposed, &t, NULL);
    }
}

/* What a head needs: `lanes` are hs x padded T, tiles keys x queries. */
typedef struct {
    int64_t padded_head, padded_tokens, ld_tile;
    float *lanes[2], *tile[2], *dout, *queries, *block, *dots;
} attention_scratch;

static int attention_layout(attention_scratch *s, const femto_attention_forward_arguments *p, int backward) {
    const int64_t T = p->tokens, hs = p->head_size;
    s->padded_head = ROUND_UP(hs, LANES);
    s->padded_tokens = ROUND_UP(T, QUERIES);
    /* an odd number of cache lines, so that the rows of a tile do not share sets of the cache */
    s->ld_tile = backward ? (least(s->padded_tokens, QUERY_BLOCK) / 16 | 1) * 16 : QUERIES;
    const int64_t lanes = hs * s->padded_tokens, tile = s->padded_tokens * s->ld_tile, dout = ROUND_UP(T * s->padded_head, 16);
    float *memory = femto_scratch(FEMTO_SCRATCH_TASK, (backward ? 2 * (lanes + tile + dout) : lanes + tile) + hs * QUERIES +
                                                          s->padded_tokens);
    if (!memory) return -1;
    s->block = memory;
    s->dots = s->block + hs * QUERIES;
    s->lanes[0] = s->dots + s->padded_tokens;
    s->tile[0] = s->lanes[0] + lanes;
    s->lanes[1] = s->tile[0] + tile;
    s->tile[1] = s->lanes[1] + lanes;
    s->dout = s->tile[1] + tile;
    s->queries = s->dout + dout;
    return 0;
}

/* out (hs x padded T) = x^T of the rows of a head, zero beyond T. */
static void to_lanes(float *out, const float *x, int64_t ldx, const attention_scratch *s,
                     const femto_attention_forward_arguments *p) {
    transpose(out, s->padded_tokens, x, ldx, p->tokens, p->head_size);
    for (int64_t c = 0; c < p->head_size; c++)
        for (int64_t t = p->tokens; t < s->padded_tokens; t++) out[c * s->padded_tokens + t] = 0.0f;
}

/* A block of 16 queries of the head that comes next, fetched while this one computes. */
static void fetch_rows(const float *x, int64_t ldx, int64_t q0, const femto_attention_forward_arguments *p) {
    for (int64_t t = q0; t < least(q0 + QUERIES, p->tokens); t++)
        for (int64_t c = 0; c < p->head_size + 15; c += 16)
            __builtin_prefetch(x + t * ldx + least(c, p->head_size - 1), 0, 2);
}

/* Lanes of the queries that see key `ahead` places after the first of them. */
INLINE vi visible(int64_t ahead, int piece) { return (vi)(lane_index() + piece * LANES >= (int32_t)ahead); }

/* Eight rows of keys at a time, as the dropout masks come; `diagonal` where not every query sees every key. */
typedef struct {
    const femto_dropout_settings *dropout;
    int64_t first_group, column_block; /* of the masks */
} attention_mask;

INLINE void softmax_rows(float *scores, int64_t k0, int64_t k1, int64_t q0, const int diagonal, float to_base_2,
                         const vf maximum[PIECES], vf sum[4][PIECES], const attention_mask *mask) {
    vf kept[DROPOUT_GROUP][PIECES];
    const int dropped = mask->dropout->threshold < 65536;
    for (int64_t k = k0; k < k1; k += DROPOUT_GROUP) {
        if (dropped) dropout_tile(kept, mask->dropout, mask->first_group + k / DROPOUT_GROUP, mask->column_block);
        for (int64_t r = 0; r < least(DROPOUT_GROUP, k1 - k); r++)
            FOR_PIECES(i) {
                float *s = scores + (k + r) * QUERIES + i * LANES;
                vf e = v_exp2(v_max(v_set(LOWEST_EXPONENT), (v_load(s) - maximum[i]) * to_base_2));
                if (diagonal) e = v_select(visible(k + r - q0, i), e, v_set(0.0f));
                sum[r % 4][i] += e;
                v_store(s, dropped ? e * kept[r][i] : e);
            }
    }
}

/* Scores of a block become e^((score - maximum) / sqrt(hs)), masked; maximum and 1/sum of every query. Sums run over four
 * virtual lanes of keys, as in attention_decode. */
static void softmax_block(float *scores, int64_t keys, int64_t q0, float to_base_2, vf maximum[PIECES], vf scale[PIECES],
                          const attention_mask *mask) {
    vf highest[4][PIECES], sum[4][PIECES];
    for (int r = 0; r < 4; r++)
        FOR_PIECES(i) {
            highest[r][i] = v_set(-__builtin_inff());
            sum[r][i] = v_set(0.0f);
        }
    for (int64_t k = 0; k < q0; k += 4)
        for (int r = 0; r < 4; r++)
            FOR_PIECES(i) highest[r][i] = v_max(highest[r][i], v_load(scores + (k + r) * QUERIES + i * LANES));
    for (int64_t k = q0; k < keys; k++)
        FOR_PIECES(i) {
            const vf s = v_select(visible(k - q0, i), v_load(scores + k * QUERIES + i * LANES), v_set(-__builtin_inff()));
            highest[0][i] = v_max(highest[0][i], s);
        }
    FOR_PIECES(i) maximum[i] = v_max(v_max(highest[0][i], highest[1][i]), v_max(highest[2][i], highest[3][i]));
    softmax_rows(scores, 0, q0, q0, 0, to_base_2, maximum, sum, mask);
    softmax_rows(scores, q0, keys, q0, 1, to_base_2, maximum, sum, mask);
    FOR_PIECES(i) scale[i] = v_set(1.0f) / ((sum[0][i] + sum[2][i]) + (sum[1][i] + sum[3][i]));
}

INLINE attention_mask mask_of(const femto_attention_forward_arguments *p, int64_t b, int64_t h) {
    const int64_t groups = (p->tokens + DROPOUT_GROUP - 1) / DROPOUT_GROUP;
    return (attention_mask){&p->dropout, ((p->first_sequence + b) * p->heads + h) * groups, 0};
}

/* What a product of query and key is multiplied by before the exponential. */
INLINE float score_scale(int64_t head_size) { return (float)(1.0 / __builtin_sqrt((double)head_size)); }
INLINE float score_scale_2(int64_t head_size) { return (float)(1.4426950408889634 / __builtin_sqrt((double)head_size)); }

static void forward_head(const femto_attention_forward_arguments *p, const attention_scratch *s, int64_t index, int64_t next) {
    const int64_t b = index / p->heads, h = index % p->heads, T = p->tokens, hs = p->head_size, d = p->heads * hs;
    const float *qkv = p->qkv + b * T * p->ld_qkv + h * hs, *keys = qkv + d, *values = qkv + 2 * d;
    const float *next_qkv = p->qkv + next / p->heads * T * p->ld_qkv + next % p->heads * hs;
    float *queries = s->lanes[0], *scores = s->tile[0], *out = s->block;
    to_lanes(queries, qkv, p->ld_qkv, s, p);
    attention_mask mask = mask_of(p, b, h);
    for (int64_t q0 = 0; q0 < T; q0 += QUERIES, mask.column_block++) {
        const int64_t count = least(QUERIES, T - q0), seen = q0 + count;
        vf maximum[PIECES], scale[PIECES];
        for (int part = 0; next > index && part < 3; part++) fetch_rows(next_qkv + part * d, p->ld_qkv, q0, p);
        multiply_scratch(seen, QUERIES, hs, keys, p->ld_qkv, 0, queries + q0, s->padded_tokens, scores, QUERIES, 0);
        softmax_block(scores, seen, q0, score_scale_2(hs), maximum, scale, &mask);
        multiply_scratch(hs, QUERIES, seen, values, p->ld_qkv, 1, scores, QUERIES, out, QUERIES, 0);
        for (int64_t c = 0; c < hs; c++)
            FOR_PIECES(i) v_store(out + c * QUERIES + i * LANES, v_load(out + c * QUERIES + i * LANES) * scale[i]);
        transpose(p->out + (b * T + q0) * p->ld_out + h * hs, p->ld_out, out, QUERIES, hs, count);
        FOR_PIECES(i) if (i * LANES < count) {
            v_store_up_to(p->row_max + index * T + q0 + i * LANES, maximum[i], count - i * LANES);
            v_store_up_to(p->row_scale + index * T + q0 + i * LANES, scale[i], count - i * LANES);
        }
    }
}

/* Tasks are heads index*heads_per_task …, those of one sequence after another. */
typedef struct {
    const femto_attention_forward_arguments *forward;
    const femto_attention_backward_arguments *backward; /* NULL in the forward pass */
    int64_t heads_per_task;
} attention_plan;

static int attention_run(attention_plan plan, femto_task task, double flops_per_score) {
    const femto_attention_forward_arguments *p = plan.forward;
    const int64_t heads = p->batch * p->heads, most = 8 * femto_get_threads();
    plan.heads_per_task = heads > most ? (heads + most - 1) / most : 1;
    const double work = flops_per_score * (double)(heads * p->head_size) * (double)p->tokens * (double)p->tokens;
    return femto_parallel_for((heads + plan.heads_per_task - 1) / plan.heads_per_task, work, task, &plan);
}

static int attention_forward_task(const void *arguments, int64_t index) {
    const attention_plan *plan = arguments;
    const femto_attention_forward_arguments *p = plan->forward;
    attention_scratch s;
    if (attention_layout(&s, p, 0)) return -1;
    const int64_t end = least((index + 1) * plan->heads_per_task, p->batch * p->heads);
    for (int64_t i = index * plan->heads_per_task; i < end; i++) forward_head(p, &s, i, least(i + 1, end - 1));
    return 0;
}

int FOR_ISA(attention_forward)(const femto_attention_forward_arguments *p) {
    return attention_run((attention_plan){.forward = p}, attention_forward_task, 4.0);
}

/* With P the probabilities, M the scaled mask and O = (P*M) V:  dV = (P*M)^T dO,  dP = (dO V^T)*M,
 * dS = P*(dP - sum_j P dP)/sqrt(hs) where the sum is dO.O,  dQ = dS K,  dK = dS^T Q. Here scores become (P*M)^T and dscores
 * dS^T, in place. */
INLINE void softmax_backward_rows(float *scores, float *dscores, int64_t ld, int64_t k0, int64_t k1, int64_t q0,
                                  const int diagonal, int64_t head_size, const vf maximum[PIECES], const vf scale[PIECES],
                                  const vf dot[PIECES], const attention_mask *mask) { /* dot: the sum times 1/sqrt(hs) */
    const vf to_base_2 = v_set(score_scale_2(head_size)), to_score = v_set(score_scale(head_size));
    vf kept[DROPOUT_GROUP][PIECES];
    const int dropped = mask->dropout->threshold < 65536;
    for (int64_t k = k0; k < k1; k += DROPOUT_GROUP) {
        if (dropped) dropout_tile(kept, mask->dropout, mask->first_group + k / DROPOUT_GROUP, mask->column_block);
        for (int64_t r = 0; r < least(DROPOUT_GROUP, k1 - k); r++)
            FOR_PIECES(i) {
                float *s = scores + (k + r) * ld + i * LANES, *ds = dscores + (k + r) * ld + i * LANES;
                vf x = v_exp2(v_max(v_set(LOWEST_EXPONENT), (v_load(s) - maximum[i]) * to_base_2)) * scale[i], dx = v_load(ds);
                if (diagonal) x = v_select(visible(k + r - q0, i), x, v_set(0.0f));
                if (dropped) dx *= kept[r][i];
                v_store(ds, x * v_fma(dx, to_score, v_set(0.0f) - dot[i]));
                v_store(s, dropped ? x * kept[r][i] : x);
            }
    }
}

static void backward_head(const femto_attention_backward_arguments *backward, const attention_scratch *s, int64_t index,
                          int64_t next) {
    const femto_attention_forward_arguments *p = &backward->forward;
    const int64_t b = index / p->heads, h = index % p->heads, T = p->tokens, hs = p->head_size, d = p->heads * hs;
    const float *qkv = p->qkv + b * T * p->ld_qkv + h * hs, *keys = qkv + d, *values = qkv + 2 * d;
    const float *out = p->out + b * T * p->ld_out + h * hs, *dout = backward->dout + b * T * backward->ld_dout + h * hs;
    float *dqkv = backward->dqkv + b * T * backward->ld_dqkv + h * hs;
    const int64_t next_row = next / p->heads * T, next_column = next % p->heads * hs;
    float *queries_lanes = s->lanes[0], *dout_lanes = s->lanes[1];
    to_lanes(queries_lanes, qkv, p->ld_qkv, s, p);
    to_lanes(dout_lanes, dout, backward->ld_dout, s, p);
    for (int64_t q = 0; q < T; q++) {
        const float *o = out + q * p->ld_out, *dout_row = dout + q * backward->ld_dout;
        lanes16 sum;
        FOR_PIECES(i) sum.piece[i] = v_set(0.0f);
        FOR_ROW(i, piece, left, hs) {
            const vf x = v_load_up_to(dout_row + i, left);
            v_store(s->dout + q * s->padded_head + i, x);
            sum.piece[piece] = v_fma(x, v_load_up_to(o + i, left), sum.piece[piece]);
        }
        s->dots[q] = lanes16_sum(sum) * score_scale(hs);
    }
    const float *queries = qkv;
    int64_t ld_queries = p->ld_qkv;
    if (3 * d - h * hs < s->padded_head) {
        queries = s->queries;
        ld_queries = s->padded_head;
        for (int64_t q = 0; q < T; q++)
            for (int64_t c = 0; c < s->padded_head; c++)
                s->queries[q * s->padded_head + c] = c < hs ? qkv[q * p->ld_qkv + c] : 0.0f;
    }
    attention_mask mask = mask_of(p, b, h);
    for (int64_t block = 0; block < T; block += QUERY_BLOCK) {
        const int64_t end = least(block + QUERY_BLOCK, T);
        for (int64_t q0 = block; q0 < end; q0 += QUERIES, mask.column_block++) {
            const int64_t count = least(QUERIES, T - q0), seen = q0 + count;
            float *scores = s->tile[0] + (q0 - block), *dscores = s->tile[1] + (q0 - block);
            if (next > index) {
                for (int part = 0; part < 3; part++)
                    fetch_rows(p->qkv + next_row * p->ld_qkv + part * d + next_column, p->ld_qkv, q0, p);
                fetch_rows(p->out + next_row * p->ld_out + next_column, p->ld_out, q0, p);
                fetch_rows(backward->dout + next_row * backward->ld_dout + next_column, backward->ld_dout, q0, p);
            }
            multiply_scratch(seen, QUERIES, hs, keys, p->ld_qkv, 0, queries_lanes + q0, s->padded_tokens, scores, s->ld_tile, 0);
            multiply_scratch(seen, QUERIES, hs, values, p->ld_qkv, 0, dout_lanes + q0, s->padded_tokens, dscores, s->ld_tile,
                             0);
            vf maximum[PIECES], row_scale[PIECES], dot[PIECES];
            FOR_PIECES(i) {
                const int64_t at = index * T + q0 + i * LANES, left = count - i * LANES;
                maximum[i] = left > 0 ? v_load_up_to(p->row_max + at, left) : v_set(0.0f);
                row_scale[i] = left > 0 ? v_load_up_to(p->row_scale + at, left) : v_set(0.0f);
                dot[i] = left > 0 ? v_load_up_to(s->dots + q0 + i * LANES, left) : v_set(0.0f);
            }
            softmax_backward_rows(scores, dscores, s->ld_tile, 0, q0, q0, 0, hs, maximum, row_scale, dot, &mask);
            softmax_backward_rows(scores, dscores, s->ld_tile, q0, seen, q0, 1, hs, maximum, row_scale, dot, &mask);
            multiply_scratch(hs, QUERIES, seen, keys, p->ld_qkv, 1, dscores, s->ld_tile, s->block, QUERIES, 0);
            transpose(dqkv + q0 * backward->ld_dqkv, backward->ld_dqkv, s->block, QUERIES, hs, count);
        }
        for (int64_t k = 0; k < end; k += QUERIES) { /* queries before the block of these keys do not see them */
            const int64_t q = k > block ? k : block, count = least(QUERIES, end - k), at = k * s->ld_tile + q - block;
            /* queries are read in place, whole vectors, where what follows a head in its row is long enough */
            multiply_scratch(count, hs, end - q, s->tile[1] + at, s->ld_tile, 0, queries + q * ld_queries, ld_queries,
                             dqkv + d + k * backward->ld_dqkv, backward->ld_dqkv, k < block);
            multiply_scratch(count, hs, end - q, s->tile[0] + at, s->ld_tile, 0, s->dout + q * s->padded_head, s->padded_head,
                             dqkv + 2 * d + k * backward->ld_dqkv, backward->ld_dqkv, k < block);
        }
    }
}

static int attention_backward_task(const void *arguments, int64_t index) {
    const attention_plan *plan = arguments;
    attention_scratch s;
    if (attention_layout(&s, plan->forward, 1)) return -1;
    const int64_t end = least((index + 1) * plan->heads_per_task, plan->forward->batch * plan->forward->heads);
    for (int64_t i = index * plan->heads_per_task; i < end; i++) backward_head(plan->backward, &s, i, least(i + 1, end - 1));
    return 0;
}

int FOR_ISA(attention_backward)(const femto_attention_backward_arguments *p) {
    return attention_run((attention_plan){.forward = &p->forward, .backward = p}, attention_backward_task, 10.0);
}

/* A head of all rows. */
static int cache_store_task(const void *arguments, int64_t h) {
    const femto_cache_store_arguments *p = arguments;
    const int64_t hs = p->head_size, d = p->heads * hs, padded = ROUND_UP(hs, 16);
    for (int64_t r = 0; r < p->rows; r++) {
        const float *key = p->qkv + r * p->ld_qkv + d + h * hs, *value = key + d;
        float *keys = p->keys + h * hs * p->capacity + p->first + r, *values = p->values + (h * p->capacity + p->first + r) * padded;
        for (int64_t c = 0; c < hs; c++) {
            keys[c * p->capacity] = key[c];
            values[c] = value[c];
        }
    }
    return 0;
}

int FOR_ISA(cache_store)(const femto_cache_store_arguments *p) {
    return femto_parallel_for(p->heads, 4.0 * (double)(p->rows * p->heads * p->head_size), cache_store_task, p);
}

/* On the calling thread; the same bits as the last row of attention_forward. */
int FOR_ISA(attention_decode)(const femto_attention_decode_arguments *p) {
    const int64_t head_size = p->head_size, length = p->length, capacity = p->capacity;
    const int64_t padded = ROUND_UP(head_size, 16), wide = ROUND_UP(length, 16);
    float *scores = femto_scratch(FEMTO_SCRATCH_TASK, capacity + padded);
    if (!scores) return -1;
    float *weighed = scores + capacity;
    const vf to_base_2 = v_set(score_scale_2(head_size));
    for (int64_t h = 0; h < p->heads; h++) {
        const float *query = p->query + h * head_size, *keys = p->keys + h * head_size * capacity;
        const float *values = p->values + h * capacity * padded;
        multiply_scratch(1, wide, head_size, query, head_size, 0, keys, capacity, scores, capacity, 0);
        lanes16 highest;
        FOR_PIECES(i) highest.piece[i] = v_set(-__builtin_inff());
        FOR_ROW(i, piece, left, length)
            highest.piece[piece] = v_max(highest.piece[piece], keep_lanes(v_load(scores + i), left, -__builtin_inff()));
        const vf maximum = v_set(lanes16_max(highest));
        FOR_ROW(i, piece, left, length) {
            const vf exponent = v_max(v_set(LOWEST_EXPONENT), (v_load(scores + i) - maximum) * to_base_2);
            v_store(scores + i, keep_lanes(v_exp2(exponent), left, 0.0f));
        }
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int64_t k = 0; k < length; k++) sum[k % 4] += scores[k];
        const float row_scale = 1.0f / ((sum[0] + sum[2]) + (sum[1] + sum[3]));
        multiply_scratch(1, head_size, length, scores, capacity, 0, values, padded, weighed, padded, 0);
        for (int64_t c = 0; c < head_size; c++) p->out[h * head_size + c] = weighed[c] * row_scale;
    }
    return 0;
}
#endif
