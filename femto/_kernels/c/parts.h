/* What a batch that is computed in parts needs beside the other kernels: a gradient that begins at zero, and the sum of the parts'
 * gradients. */
#ifndef FEMTO_PARTS_H
#define FEMTO_PARTS_H
#include "femto.h"

/* x = 0. */
typedef struct {
    float *x; /* (count) */
    int64_t count;
} femto_set_zero_arguments;
FEMTO_KERNEL(set_zero)

/* Row 0 = the sum of all rows, as a binary tree: 0 with 1, 2 with 3 …, then these sums in pairs. The other rows are kept. */
typedef struct {
    float *x; int64_t ldx; /* (rows, columns) */
    int64_t rows, columns; /* rows: a power of two, at most FEMTO_MAX_PARTS */
} femto_tree_sum_arguments;
FEMTO_KERNEL(tree_sum)

#define FEMTO_MAX_PARTS 64
#endif

#ifdef FEMTO_ISA
#define PARTS_CHUNK 16384 /* numbers in one task */

static int set_zero_task(const void *arguments, int64_t index) {
    const femto_set_zero_arguments *p = arguments;
    const int64_t start = index * PARTS_CHUNK;
    __builtin_memset(p->x + start, 0, (size_t)least(PARTS_CHUNK, p->count - start) * sizeof(float));
    return 0;
}

int FOR_ISA(set_zero)(const femto_set_zero_arguments *p) {
    return femto_parallel_for((p->count + PARTS_CHUNK - 1) / PARTS_CHUNK, (double)p->count, set_zero_task, p);
}

/* The sum of `rows` vectors that lie `ld` apart; inlined for each number of rows. */
INLINE vf tree_of(const float *x, int64_t ld, const int rows, int64_t left) {
    vf sum[FEMTO_MAX_PARTS];
#pragma GCC unroll 64
    for (int r = 0; r < rows; r++) sum[r] = v_load_up_to(x + r * ld, left);
#pragma GCC unroll 6
    for (int step = 1; step < rows; step *= 2)
#pragma GCC unroll 64
        for (int r = 0; r < rows; r += 2 * step) sum[r] += sum[r + step];
    return sum[0];
}

static int tree_sum_task(const void *arguments, int64_t index) {
    const femto_tree_sum_arguments *p = arguments;
    const int64_t start = index * PARTS_CHUNK / 4, n = least(PARTS_CHUNK / 4, p->columns - start);
    float *x = p->x + start;
#define TREE(count) case count: FOR_ROW(i, piece, left, n) v_store_up_to(x + i, tree_of(x + i, p->ldx, count, left), left); break;
    switch (p->rows) { TREE(2) TREE(4) TREE(8) TREE(16) TREE(32) TREE(64) }
#undef TREE
    return 0;
}

int FOR_ISA(tree_sum)(const femto_tree_sum_arguments *p) {
    if (p->rows < 2) return 0;
    const int64_t chunk = PARTS_CHUNK / 4;
    return femto_parallel_for((p->columns + chunk - 1) / chunk, 2.0 * (double)p->rows * (double)p->columns, tree_sum_task, p);
}
#endif
