/* The two ends of the graph: token embedding with positions, rotary rotation of rows, and softmax cross entropy. */
#ifndef FEMTO_TOKENS_H
#define FEMTO_TOKENS_H
#include "femto.h"

/* out = table[token] + positions[(first + row) mod context]. */
typedef struct {
    float *out;             /* (rows, columns) */
    const float *table;     /* (vocabulary, columns) */
    const float *positions; /* (context, columns), or NULL */
    const int32_t *tokens;  /* (rows), each from 0 to vocabulary - 1 */
    int64_t rows, context, vocabulary, columns;
    int64_t first;          /* position of row 0, from 0 */
} femto_embedding_forward_arguments;
FEMTO_KERNEL(embedding_forward)

/* dtable[token] += dout, dpositions[row mod context] += dout, rows in order. */
typedef struct {
    float *dtable;         /* (vocabulary, columns) */
    float *dpositions;     /* (context, columns), or NULL */
    const float *dout;     /* (rows, columns) */
    const int32_t *tokens; /* (rows), each from 0 to vocabulary - 1 */
    int64_t rows, context, vocabulary, columns;
} femto_embedding_backward_arguments;
FEMTO_KERNEL(embedding_backward)

/* Turns every head of every row in place by the angles of its token, (first + row) mod tokens; `inverse` turns back (the gradient). */
typedef struct {
    float *x; int64_t ldx;       /* (rows, heads*head_size) */
    const float *cosine, *sine;  /* (tokens, head_size/2) */
    int64_t rows, tokens, heads, head_size;
    int64_t first;               /* token of row 0, from 0 */
    int inverse;
} femto_rotary_arguments;
FEMTO_KERNEL(rotary)

/* losses = logsumexp(logits) - logits[target]; dlogits = gradient_scale * (softmax - onehot). A negative target is left out: loss
 * 0, gradient 0. Stable: the row's maximum is subtracted first. */
typedef struct {
    float *losses;                           /* (rows) */
    float *dlogits; int64_t ld_dlogits;      /* (rows, vocabulary), or NULL; may be the logits */
    const float *logits; int64_t ld_logits;  /* (rows, vocabulary) */
    const int32_t *targets;                  /* (rows), each from -1 to vocabulary - 1 */
    float gradient_scale;
    int64_t rows, vocabulary;
} femto_cross_entropy_arguments;
FEMTO_KERNEL(cross_entropy)

#endif

#ifdef FEMTO_ISA
#define EMBEDDING_ROWS 64

static int embedding_forward_task(const void *arguments, int64_t index) {
    const femto_embedding_forward_arguments *p = arguments;
    const int64_t n = p->columns;
    for (int64_t r = index * EMBEDDING_ROWS; r < least((index + 1) * EMBEDDING_ROWS, p->rows); r++) {
        const float *row = p->table + (int64_t)p->tokens[r] * n;
        const float *position = p->positions ? p->positions + (p->first + r) % p->context * n : NULL;
        for (int64_t i = 0; i < n; i++) p->out[r * n + i] = position ? row[i] + position[i] : row[i];
    }
    return 0;
}

int FOR_ISA(embedding_forward)(const femto_embedding_forward_arguments *p) {
    return femto_parallel_for((p->rows + EMBEDDING_ROWS - 1) / EMBEDDING_ROWS, 2.0 * (double)p->rows * (double)p->columns,
                              embedding_forward_task, p);
}

#define EMBEDDING_STRIPE 16 /* columns in one task */

static int embedding_backward_task(const void *arguments, int64_t index) {
    const femto_embedding_backward_arguments *p = arguments;
    const int64_t n = p->columns, i0 = index * EMBEDDING_STRIPE, i1 = least(i0 + EMBEDDING_STRIPE, n);
    for (int64_t r = 0; r < p->rows; r++) {
        float *row = p->dtable + (int64_t)p->tokens[r] * n;
        for (int64_t i = i0; i < i1; i++) row[i] += p->dout[r * n + i];
        if (p->dpositions) {
            float *position = p->dpositions + r % p->context * n;
            for (int64_t i = i0; i < i1; i++) position[i] += p->dout[r * n + i];
        }
    }
    return 0;
}

int FOR_ISA(embedding_backward)(const femto_embedding_backward_arguments *p) {
    return femto_parallel_for((p->columns + EMBEDDING_STRIPE - 1) / EMBEDDING_STRIPE,
                              2.0 * (double)p->rows * (double)p->columns, embedding_backward_task, p);
}

#define ROTARY_ROWS 32

static int rotary_task(const void *arguments, int64_t index) {
    const femto_rotary_arguments *p = arguments;
    const int64_t half = p->head_size / 2;
    const float sign = p->inverse ? -1.0f : 1.0f;
    for (int64_t r = index * ROTARY_ROWS; r < least((index + 1) * ROTARY_ROWS, p->rows); r++) {
        const float *cosine = p->cosine + (p->first + r) % p->tokens * half, *sine = p->sine + (p->first + r) % p->tokens * half;
        for (int64_t h = 0; h < p->heads; h++) {
            float *x = p->x + r * p->ldx + h * p->head_size;
            int64_t c = 0;
            for (; c + 4 <= half; c += 4) { /* halves are short, and what a masked store leaves out would hold up the next load */
                v4 cos, sin, first, second;
                __builtin_memcpy(&cos, cosine + c, 16);
                __builtin_memcpy(&sin, sine + c, 16);
                __builtin_memcpy(&first, x + c, 16);
                __builtin_memcpy(&second, x + c + half, 16);
                const v4 turned = first * cos - second * (sin * sign), turned_second = second * cos + first * (sin * sign);
                __builtin_memcpy(x + c, &turned, 16);
                __builtin_memcpy(x + c + half, &turned_second, 16);
            }
            for (; c < half; c++) {
                const float s = sine[c] * sign, first = x[c], second = x[c + half];
                x[c] = first * cosine[c] - second * s;
                x[c + half] = second * cosine[c] + first * s;
            }
        }
    }
    return 0;
}

int FOR_ISA(rotary)(const femto_rotary_arguments *p) {
    return femto_parallel_for((p->rows + ROTARY_ROWS - 1) / ROTARY_ROWS, 3.0 * (double)(p->rows * p->heads * p->head_size),
                              rotary_task, p);
}

#define CROSS_ENTROPY_ROWS 16

static int cross_entropy_task(const void *arguments, int64_t index) {
    const femto_cross_entropy_arguments *p = arguments;
    const int64_t n = p->vocabulary;
    for (int64_t r = index * CROSS_ENTROPY_ROWS; r < least((index + 1) * CROSS_ENTROPY_ROWS, p->rows); r++) {
        const float *x = p->logits + r * p->ld_logits;
        float *dx = p->dlogits ? p->dlogits + r * p->ld_dlogits : NULL;
        const int32_t target = p->targets[r];
        if (target < 0) {
            p->losses[r] = 0.0f;
            for (int64_t i = 0; dx && i < n; i++) dx[i] = 0.0f;
            continue;
        }
        lanes16 m, sum;
        for (int i = 0; i < PIECES; i++) {
            m.piece[i] = v_set(-__builtin_inff());
            sum.piece[i] = v_set(0.0f);
        }
        FOR_ROW(i, piece, left, n)
            m.piece[piece] = v_max(m.piece[piece], keep_lanes(v_load_up_to(x + i, left), left, -__builtin_inff()));
        const float maximum = lanes16_max(m), chosen = x[target];
        FOR_ROW(i, piece, left, n) {
            vf e = keep_lanes(v_exp(v_load_up_to(x + i, left) - v_set(maximum)), left, 0.0f);
            if (dx) v_store_up_to(dx + i, e, left);
            sum.piece[piece] += e;
        }
        const float total = lanes16_sum(sum);
        const double loss = scalar_log((double)total) + (double)maximum - (double)chosen;
        p->losses[r] = total > 0.0f && total < __builtin_inff() ? (float)loss : __builtin_nanf("");
        if (!dx) continue;
        const vf scale = v_set(p->gradient_scale / total);
        FOR_ROW(i, piece, left, n) v_store_up_to(dx + i, v_load_up_to(dx + i, left) * scale, left);
        dx[target] -= p->gradient_scale;
    }
    return 0;
}

int FOR_ISA(cross_entropy)(const femto_cross_entropy_arguments *p) {
    return femto_parallel_for((p->rows + CROSS_ENTROPY_ROWS - 1) / CROSS_ENTROPY_ROWS,
                              12.0 * (double)p->rows * (double)p->vocabulary, cross_entropy_task, p);
}
#endif
