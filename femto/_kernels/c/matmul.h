/* Matrix product with what is fused to it. */
#ifndef FEMTO_MATMUL_H
#define FEMTO_MATMUL_H
#include "femto.h"

/* c = (op(A) op(B) + bias + initial) * factor, or its GELU. */
typedef struct {
    int64_t m, n, k;
    const float *a; int64_t a_row, a_column; /* strides of op(A), (m, k); one of them is 1 */
    const float *b; int64_t b_row, b_column; /* strides of op(B), (k, n); one of them is 1 */
    float *c; int64_t ldc;                   /* (m, n) */
    const float *initial; int64_t ld_initial; /* (m, n), added to the product: a residual, or c itself to accumulate; or NULL */
    const float *bias;                       /* (n), or NULL */
    float *slope; int64_t ld_slope;          /* (m, n); not NULL: c = gelu(sum), and slope = gelu'(sum) */
    const float *factor; int64_t ld_factor;  /* (m, n); not NULL: the sum is multiplied by it, element by element */
    float *column_sums;                      /* (n); not NULL, with op(A) transposed: the sums of B's columns are added to it */
} femto_matmul_arguments;
FEMTO_KERNEL(matmul)

#endif

#ifdef FEMTO_ISA
/* In tiles (tile.h). Blocks of K_BLOCK or DEEP_K_BLOCK go through c itself, whatever the number of threads, so the split among
 * them changes no bit.
 *
 * Tall products (activations times weights) run over rows of c > blocks of k > panels of columns > tiles of rows > k, with B read
 * in place when its rows are contiguous and short, else copied once to panels of VECTORS*LANES columns (zero padded).
 * Deep products (gradients of weights: A transposed, k = B*T) run over parts of c > blocks of k > panels > tiles > k; a task
 * copies the panel of a block of B that it works on, where enough rows of A use it.
 */
#define K_BLOCK 384
#define DEEP_K_BLOCK 256
#define TALL_ROWS 80        /* of A in one task; twice that where B does not stay in L2 */
#define L2_FLOATS 262144    /* 1 MiB, which most cores have at least */

/* Columns are cut into panels of at most MAX_VECTORS vectors, as even as can be. */
static int64_t panel_count(int64_t n) {
    return (n + MAX_VECTORS * LANES - 1) / (MAX_VECTORS * LANES);
}
static int64_t panel_start(int64_t n, int64_t panels, int64_t panel) {
    int64_t vectors = (n + LANES - 1) / LANES;
    int64_t start = vectors * panel / panels * LANES;
    return start < n ? start : n;
}

/* Rows k0..k1 of columns j0..j1 of op(B) to out, rows of `width` floats, zero padded. */
static void pack_panel(float *out, int64_t width, const femto_matmul_arguments *p, int64_t k0, int64_t k1, int64_t j0,
                       int64_t j1) {
    const int64_t columns = j1 - j0;
    if (p->b_column == 1) {
        for (int64_t k = k0; k < k1; k++, out += width) {
            const float *b = p->b + k * p->b_row + j0;
            for (int64_t j = 0; j < width; j += LANES) v_store(out + j, v_load_up_to(b + j, columns - j));
        }
        return;
    }
    transpose(out, width, p->b + j0 * p->b_column + k0, p->b_column, columns, k1 - k0);
    for (int64_t k = 0; columns < width && k < k1 - k0; k++)
        for (int64_t j = columns; j < width; j++) out[k * width + j] = 0.0f;
}

/* sums[j] += the sum over `rows` rows of b[k, j]: the gradient of a bias, on a block that is in cache. */
static void add_columns(float *sums, const float *b, int64_t ldb, int64_t rows, int64_t columns) {
    for (int64_t j = 0; j < columns; j += LANES) {
        const int64_t left = columns - j;
        vf sum[4] = {v_set(0.0f), v_set(0.0f), v_set(0.0f), v_set(0.0f)};
        if (left >= LANES) {
            int64_t k = 0;
            for (; k + 4 <= rows; k += 4)
                for (int i = 0; i < 4; i++) sum[i] += v_load(b + (k + i) * ldb + j);
            for (; k < rows; k++) sum[k % 4] += v_load(b + k * ldb + j);
        } else {
            for (int64_t k = 0; k < rows; k++) sum[k % 4] += v_load_partial(b + k * ldb + j, left);
        }
        v_store_up_to(sums + j, v_load_up_to(sums + j, left) + ((sum[0] + sum[1]) + (sum[2] + sum[3])), left);
    }
}

typedef struct {
    const femto_matmul_arguments *p;
    int64_t panels, row_chunk, column_tasks;
    float *packed;      /* all panels one after another, each k x its padded width; or NULL */
    int pack_all;       /* else only the last, ragged panel is packed */
    int streams;        /* packed B does not stay in L2 */
} matmul_plan;

#define PACK_K 64 /* rows of B in one packing task */

static int64_t packed_offset(const matmul_plan *plan, int64_t panel) {
    return plan->pack_all ? panel_start(plan->p->n, plan->panels, panel) * plan->p->k : 0;
}

static int pack_task(const void *arguments, int64_t index) {
    const matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t panels_packed = plan->pack_all ? plan->panels : 1;
    const int64_t panel = plan->pack_all ? index % panels_packed : plan->panels - 1;
    const int64_t k0 = index / panels_packed * PACK_K, k1 = least(k0 + PACK_K, p->k);
    const int64_t j0 = panel_start(p->n, plan->panels, panel), j1 = panel_start(p->n, plan->panels, panel + 1);
    const int64_t width = ROUND_UP(j1 - j0, LANES);
    pack_panel(plan->packed + packed_offset(plan, panel) + k0 * width, width, p, k0, k1, j0, j1);
    return 0;
}

/* The tile of row i0 and column j0 in the block of k that starts at k0; what comes before and after the sum over k. */
static tile_arguments tile_at(const femto_matmul_arguments *p, int64_t i0, int64_t j0, int64_t j1, int64_t k0, int64_t depth) {
    tile_arguments t = {.k = depth, .c = p->c + i0 * p->ldc + j0, .ldc = p->ldc, .columns = j1 - j0, .ld_factor = p->ld_factor,
                        .ld_slope = p->ld_slope};
    if (k0 > 0) {
        t.initial = t.c;
        t.ld_initial = t.ldc;
    } else {
        if (p->initial) t.initial = p->initial + i0 * p->ld_initial + j0;
        t.ld_initial = p->ld_initial;
        if (p->bias) t.bias = p->bias + j0;
    }
    if (k0 + depth == p->k) {
        if (p->factor) t.factor = p->factor + i0 * p->ld_factor + j0;
        if (p->slope) t.slope = p->slope + i0 * p->ld_slope + j0;
    }
    return t;
}

static int tall_task(const void *arguments, int64_t index) {
    const matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t i0 = index / plan->column_tasks * plan->row_chunk, i1 = least(i0 + plan->row_chunk, p->m);
    const int64_t q0 = plan->panels * (index % plan->column_tasks) / plan->column_tasks;
    const int64_t q1 = plan->panels * (index % plan->column_tasks + 1) / plan->column_tasks;
    for (int64_t k0 = 0; k0 < p->k || k0 == 0; k0 += K_BLOCK)
        for (int64_t q = q0; q < q1; q++) {
            const int64_t j0 = panel_start(p->n, plan->panels, q), j1 = panel_start(p->n, plan->panels, q + 1);
            const int64_t width = ROUND_UP(j1 - j0, LANES);
            const int packed = plan->packed && (plan->pack_all || q == plan->panels - 1);
            tile_arguments t = tile_at(p, i0, j0, j1, k0, least(p->k - k0, K_BLOCK));
            t.a = p->a + i0 * p->a_row + k0;
            t.lda = p->a_row;
            t.b = packed ? plan->packed + packed_offset(plan, q) + k0 * width : p->b + k0 * p->b_row + j0;
            t.ldb = packed ? width : p->b_row;
            const int64_t height = tile_heights[width / LANES][0], tiles_ahead = (i1 - i0) / height + 1;
            upcoming next = {0};
            if (q == q0) next.a = (upcoming_rows){t.a + height * t.lda, t.lda, i1 - i0 - height, t.k, height};
            if (plan->streams) { /* the panel after this one, or the first again */
                const int64_t after = q + 1 < q1 ? q + 1 : q0;
                const int64_t from = panel_start(p->n, plan->panels, after), to = panel_start(p->n, plan->panels, after + 1);
                const int64_t width_after = ROUND_UP(to - from, LANES), lines = width_after * t.k / 16;
                next.b = (upcoming_rows){plan->packed + packed_offset(plan, after) + k0 * width_after, 16, lines, 16,
                                         lines / tiles_ahead + 1};
            }
            multiply_panel(i1 - i0, 0, &t, &next);
        }
    return 0;
}

/* One part of a deep product: rows by a range of panels, over all of k. The next block of both is fetched meanwhile. */
static int deep_task(const void *arguments, int64_t index) {
    const matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t i0 = index / plan->column_tasks * plan->row_chunk, i1 = least(i0 + plan->row_chunk, p->m);
    const int64_t q0 = plan->panels * (index % plan->column_tasks) / plan->column_tasks;
    const int64_t q1 = plan->panels * (index % plan->column_tasks + 1) / plan->column_tasks;
    float *panel = femto_scratch(FEMTO_SCRATCH_TASK, DEEP_K_BLOCK * MAX_VECTORS * LANES);
    if (!panel) return -1;
    for (int64_t k0 = 0; k0 < p->k || k0 == 0; k0 += DEEP_K_BLOCK) {
        const int64_t depth = least(p->k - k0, DEEP_K_BLOCK);
        for (int64_t q = q0; q < q1; q++) {
            const int64_t j0 = panel_start(p->n, plan->panels, q), j1 = panel_start(p->n, plan->panels, q + 1);
            const int64_t width = ROUND_UP(j1 - j0, LANES), height = tile_heights[width / LANES][0];
            const int copy = width != j1 - j0 || p->b_column != 1 || (p->n > 128 && p->m > 160);
            const float *b = p->b + k0 * p->b_row + j0 * p->b_column;
            tile_arguments t = tile_at(p, i0, j0, j1, k0, depth);
            t.a = p->a + i0 + k0 * p->a_column;
            t.lda = p->a_column;
            t.b = copy ? panel : b;
            t.ldb = copy ? width : p->b_row;
            if (copy) pack_panel(panel, width, p, k0, k0 + depth, j0, j1);
            if (p->column_sums && i0 == 0) add_columns(p->column_sums + j0, t.b, t.ldb, depth, j1 - j0);
            const int64_t to_come = least(p->k - k0 - depth, DEEP_K_BLOCK);
            const int64_t rows_a_tile = DEEP_K_BLOCK / ((i1 - i0) / height + 1) + 1;
            upcoming next = {0};
            if (q == q0) next.a = (upcoming_rows){t.a + depth * t.lda, t.lda, to_come, i1 - i0, rows_a_tile};
            if (p->b_column == 1) next.b = (upcoming_rows){b + depth * p->b_row, p->b_row, to_come, j1 - j0, rows_a_tile};
            multiply_panel(i1 - i0, 1, &t, &next);
        }
    }
    return 0;
}

/* How to cut c into parts of a deep product: little idling of threads, few rows at a tile's lower heights, and rows that are
 * many enough to pay for reading B but whose block of A stays in L2. */
static void cut_deep(matmul_plan *plan, int64_t threads) {
    const int64_t m = plan->p->m;
    double least_cost = 1e300;
    plan->row_chunk = plan->column_tasks = 1;
    for (int64_t chunks = 1; m > 0 && chunks <= 8 * threads; chunks++) {
        const int64_t rows = ROUND_UP((m + chunks - 1) / chunks, chunks > 1 ? 4 : 1);
        if (chunks > 1 && rows < 8) break;
        if (rows > 512 && chunks < 8 * threads) continue;
        for (int64_t columns = 1; columns <= plan->panels; columns++) {
            const int64_t tasks = (m + rows - 1) / rows * columns, rounds = (tasks + threads - 1) / threads;
            const int64_t widest = (plan->panels + columns - 1) / columns;
            const double cost = (double)(rounds * rows * widest) * (1.0 + 2.0 / (double)rows);
            if (cost < least_cost * 0.999) {
                least_cost = cost;
                plan->row_chunk = rows;
                plan->column_tasks = columns;
            }
        }
    }
}

int FOR_ISA(matmul)(const femto_matmul_arguments *p) {
    if (p->n == 0 || (p->m == 0 && !p->column_sums)) return 0;
    matmul_plan plan = {.p = p, .panels = panel_count(p->n)};
    const int64_t threads = femto_get_threads();
    const double work = 2.0 * (double)p->m * (double)p->n * (double)p->k;

    if (p->a_column != 1 || p->column_sums) {
        cut_deep(&plan, threads);
        const int64_t chunks = p->m ? (p->m + plan.row_chunk - 1) / plan.row_chunk : 1; /* without rows, the column sums */
        return femto_parallel_for(chunks * plan.column_tasks, work, deep_task, &plan);
    }

    /* B in place: rows contiguous, and either few rows of A to amortise a copy or rows of B short enough for the cache. */
    const int contiguous = p->b_column == 1;
    plan.pack_all = !contiguous || (p->m >= 32 && p->n > 128);
    if (plan.pack_all || p->n % LANES) {
        const int64_t last = panel_start(p->n, plan.panels, plan.panels - 1);
        const int64_t padded = ROUND_UP(p->n, LANES);
        plan.packed = femto_scratch(FEMTO_SCRATCH_SHARED, (plan.pack_all ? padded : padded - last) * p->k + 16);
        if (!plan.packed) return -1;
        const int64_t tasks = (p->k + PACK_K - 1) / PACK_K * (plan.pack_all ? plan.panels : 1);
        femto_parallel_for(tasks, (plan.pack_all ? (double)padded : 16.0) * (double)p->k, pack_task, &plan);
    }

    /* Cut by rows, so that a block of A serves all panels, into as many parts for every thread; short ones by panels of columns
     * too. */
    plan.streams = plan.pack_all && p->n * p->k > L2_FLOATS / 2;
    plan.column_tasks = p->m >= 512 ? 1 : plan.panels;
    const int64_t most_rows = plan.streams ? 2 * TALL_ROWS : TALL_ROWS; /* fewer parts read B less often */
    int64_t chunks = (p->m + most_rows * threads - 1) / (most_rows * threads) * threads;
    if (p->m < 512) chunks = (8 * threads + plan.panels - 1) / plan.panels;
    plan.row_chunk = (p->m + chunks - 1) / chunks; /* whole tiles would leave a thread idle at the end */
    if (plan.row_chunk < 12) plan.row_chunk = 12;
    return femto_parallel_for((p->m + plan.row_chunk - 1) / plan.row_chunk * plan.column_tasks, work, tall_task, &plan);
}
#endif
