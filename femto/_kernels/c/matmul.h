/* Matrix product: c (m x n) = op(A) (m x k) op(B) (k x n) + initial + bias, with GELU epilogues.
 *
 * Outer-product form: a tile of ROWS x VECTORS vector registers of c is held while k runs; each k loads VECTORS vectors of B,
 * broadcasts ROWS numbers of A and does ROWS*VECTORS FMAs. Every element of c is one accumulator, added in k order, so neither
 * the tile nor the split among threads changes a bit; blocks of k go through c itself, which keeps that order.
 * A factor multiplies in the store of the last block; GELU follows on the block while it is in cache.
 *
 * Loops: task (rows of c x columns of c) > block of k > panel of columns > tile of rows > k.
 * B is read in place when its rows are contiguous and short, else copied to panels of VECTORS*LANES columns (zero padded).
 */

/* ROWS for each VECTORS: as many accumulators as the registers hold beside VECTORS of B and one of A. */
#if VECTOR_REGISTERS == 32
#define MAX_VECTORS 5
#define ROWS_1 12
#define ROWS_2 12
#define ROWS_3 8
#define ROWS_4 6
#define ROWS_5 5
#define MAX_ROWS 12
static const int rows_of_tile[MAX_VECTORS + 1] = {0, ROWS_1, ROWS_2, ROWS_3, ROWS_4, ROWS_5};
#else
#define MAX_VECTORS 3
#define ROWS_1 8
#define ROWS_2 6
#define ROWS_3 4
#define MAX_ROWS 8
static const int rows_of_tile[MAX_VECTORS + 1] = {0, ROWS_1, ROWS_2, ROWS_3};
#endif
#define K_BLOCK 384

typedef struct {
    int64_t k;
    const float *a; int64_t lda;            /* distance of two rows (row form) or of two k (transposed form) */
    const float *b; int64_t ldb;            /* distance of two k */
    float *c; int64_t ldc;
    const float *initial; int64_t ld_initial;
    const float *bias;
    const float *factor; int64_t ld_factor;
    int64_t columns;                        /* valid columns, in ((VECTORS-1)*LANES, VECTORS*LANES]; b has all of them */
} tile_arguments;

INLINE void tile_body(const int rows, const int vectors, const int transposed, const tile_arguments *t) {
    vf acc[MAX_ROWS][MAX_VECTORS];
    const int64_t left = t->columns - (vectors - 1) * LANES; /* columns of the last vector */
    const int64_t row_step = transposed ? 1 : t->lda, k_step = transposed ? t->lda : 1;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) {
            vf x = v_set(0.0f);
            if (t->initial) {
                const float *p = t->initial + i * t->ld_initial + v * LANES;
                x = v < vectors - 1 ? v_load(p) : v_load_up_to(p, left);
            }
            if (t->bias) {
                const float *p = t->bias + v * LANES;
                x += v < vectors - 1 ? v_load(p) : v_load_up_to(p, left);
            }
            acc[i][v] = x;
        }
    const float *a = t->a, *b = t->b;
    const int64_t ldb = t->ldb;
    for (int64_t k = t->k; k > 0; k--, a += k_step, b += ldb) {
        vf bv[MAX_VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) bv[v] = v_load(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vf av = v_set(a[i * row_step]);
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++) acc[i][v] = v_fma(av, bv[v], acc[i][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) {
            float *p = t->c + i * t->ldc + v * LANES;
            if (t->factor) {
                const float *f = t->factor + i * t->ld_factor + v * LANES;
                acc[i][v] *= v < vectors - 1 ? v_load(f) : v_load_up_to(f, left);
            }
            if (v < vectors - 1) v_store(p, acc[i][v]);
            else v_store_up_to(p, acc[i][v], left);
        }
}

#define TILE(rows, vectors)                                                                                        \
    static __attribute__((noinline)) void tile_##rows##x##vectors(const tile_arguments *t) {                       \
        tile_body(rows, vectors, 0, t);                                                                            \
    }                                                                                                              \
    static __attribute__((noinline)) void tile_transposed_##rows##x##vectors(const tile_arguments *t) {            \
        tile_body(rows, vectors, 1, t);                                                                            \
    }
#define TILE_2(rows, vectors) TILE(rows, vectors)
#define TILES(full, vectors) TILE_2(full, vectors) TILE(4, vectors) TILE(2, vectors) TILE(1, vectors)
#define TILE_NAME(prefix, rows, vectors) prefix##rows##x##vectors
#define TILE_NAME_2(prefix, rows, vectors) TILE_NAME(prefix, rows, vectors)
#define TILE_ROW(prefix, full, vectors)                                                                            \
    {TILE_NAME_2(prefix, full, vectors), prefix##4x##vectors, prefix##2x##vectors, prefix##1x##vectors}

TILES(ROWS_1, 1)
TILES(ROWS_2, 2)
#if VECTOR_REGISTERS == 32
TILES(ROWS_3, 3)
TILES(ROWS_4, 4)
TILES(ROWS_5, 5)
#else
TILE(4, 3)
TILE(2, 3)
TILE(1, 3)
#endif

typedef void (*tile_function)(const tile_arguments *);
#define TILE_TABLE_2(prefix) {{0}, TILE_ROW(prefix, ROWS_1, 1), TILE_ROW(prefix, ROWS_2, 2)
#if VECTOR_REGISTERS == 32
#define TILE_TABLE(prefix)                                                                                         \
    TILE_TABLE_2(prefix), TILE_ROW(prefix, ROWS_3, 3), TILE_ROW(prefix, ROWS_4, 4), TILE_ROW(prefix, ROWS_5, 5)}
#else
#define TILE_TABLE(prefix) TILE_TABLE_2(prefix), TILE_ROW(prefix, ROWS_3, 3)}
#endif
static const tile_function tiles[2][MAX_VECTORS + 1][4] = {TILE_TABLE(tile_), TILE_TABLE(tile_transposed_)};

/* All rows of one panel of columns: t->c is m x t->columns. Row tiles of full height, then 4, 2 and 1. */
static void multiply_panel(int64_t m, int transposed, const tile_arguments *panel) {
    const int vectors = (int)((panel->columns + LANES - 1) / LANES);
    const int sizes[4] = {rows_of_tile[vectors], 4, 2, 1};
    const int64_t a_step = transposed ? 1 : panel->lda;
    tile_arguments t = *panel;
    for (int s = 0; s < 4; s++)
        for (; m >= sizes[s]; m -= sizes[s]) {
            tiles[transposed][vectors][s](&t);
            t.a += sizes[s] * a_step;
            t.c += sizes[s] * t.ldc;
            if (t.initial) t.initial += sizes[s] * t.ld_initial;
            if (t.factor) t.factor += sizes[s] * t.ld_factor;
        }
}

/* Columns are cut into panels of at most MAX_VECTORS vectors, as even as can be. */
static int64_t panel_count(int64_t n) {
    return (n + MAX_VECTORS * LANES - 1) / (MAX_VECTORS * LANES);
}
static int64_t panel_start(int64_t n, int64_t panels, int64_t panel) {
    int64_t vectors = (n + LANES - 1) / LANES;
    int64_t start = vectors * panel / panels * LANES;
    return start < n ? start : n;
}

typedef struct {
    femto_matmul_arguments *p;
    int64_t panels, row_chunk, column_tasks;
    float *packed;      /* all panels one after another, each k x its padded width; or NULL */
    int pack_all;       /* else only the last, ragged panel is packed */
} matmul_plan;

#define PACK_K 64 /* rows of B in one packing task */

static int64_t packed_offset(const matmul_plan *plan, int64_t panel) {
    return plan->pack_all ? panel_start(plan->p->n, plan->panels, panel) * plan->p->k : 0;
}

static void pack_task(void *arguments, int64_t index) {
    const matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t panels_packed = plan->pack_all ? plan->panels : 1;
    const int64_t panel = plan->pack_all ? index % panels_packed : plan->panels - 1;
    const int64_t k0 = index / panels_packed * PACK_K, k1 = k0 + PACK_K < p->k ? k0 + PACK_K : p->k;
    const int64_t j0 = panel_start(p->n, plan->panels, panel), j1 = panel_start(p->n, plan->panels, panel + 1);
    const int64_t width = (j1 - j0 + LANES - 1) / LANES * LANES;
    float *out = plan->packed + packed_offset(plan, panel);
    if (p->b_column == 1) {
        for (int64_t k = k0; k < k1; k++)
            for (int64_t j = 0; j < width; j += LANES) {
                int64_t left = j1 - j0 - j;
                v_store(out + k * width + j, v_load_up_to(p->b + k * p->b_row + j0 + j, left));
            }
    } else { /* transposed: 4 x LANES blocks keep both sides in cache lines */
        for (int64_t k = k0; k < k1; k += 4) {
            const int64_t depth = k1 - k < 4 ? k1 - k : 4;
            for (int64_t j = 0; j < width; j++) {
                const float *b = p->b + (j0 + j) * p->b_column + k;
                for (int64_t i = 0; i < depth; i++) out[(k + i) * width + j] = j < j1 - j0 ? b[i] : 0.0f;
            }
        }
    }
}

/* c = gelu(c) and its derivative, while the block is in cache. */
static void apply_gelu(const femto_matmul_arguments *p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    for (int64_t i = i0; i < i1; i++) {
        float *c = p->c + i * p->ldc, *slope = p->slope + i * p->ld_slope;
        for (int64_t j = j0; j < j1; j += LANES) {
            const int64_t left = j1 - j;
            vf derivative, value = v_gelu(v_load_up_to(c + j, left), &derivative);
            v_store_up_to(c + j, value, left);
            v_store_up_to(slope + j, derivative, left);
        }
    }
}

static void matmul_task(void *arguments, int64_t index) {
    const matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t i0 = index / plan->column_tasks * plan->row_chunk;
    const int64_t i1 = i0 + plan->row_chunk < p->m ? i0 + plan->row_chunk : p->m;
    const int64_t q0 = plan->panels * (index % plan->column_tasks) / plan->column_tasks;
    const int64_t q1 = plan->panels * (index % plan->column_tasks + 1) / plan->column_tasks;
    const int transposed = p->a_column != 1;
    const int64_t lda = transposed ? p->a_column : p->a_row;
    for (int64_t k0 = 0; k0 < p->k || k0 == 0; k0 += K_BLOCK) {
        const int64_t depth = p->k - k0 < K_BLOCK ? p->k - k0 : K_BLOCK;
        for (int64_t q = q0; q < q1; q++) {
            const int64_t j0 = panel_start(p->n, plan->panels, q), j1 = panel_start(p->n, plan->panels, q + 1);
            const int64_t width = (j1 - j0 + LANES - 1) / LANES * LANES;
            const int packed = plan->packed && (plan->pack_all || q == plan->panels - 1);
            tile_arguments t = {
                .k = depth, .a = p->a + i0 * p->a_row + k0 * p->a_column, .lda = lda,
                .b = packed ? plan->packed + packed_offset(plan, q) + k0 * width : p->b + k0 * p->b_row + j0,
                .ldb = packed ? width : p->b_row,
                .c = p->c + i0 * p->ldc + j0, .ldc = p->ldc, .columns = j1 - j0,
            };
            const int last = k0 + K_BLOCK >= p->k;
            if (p->factor && last) t.factor = p->factor + i0 * p->ld_factor + j0;
            t.ld_factor = p->ld_factor;
            if (k0 > 0) {
                t.initial = t.c;
                t.ld_initial = t.ldc;
            } else {
                if (p->initial) t.initial = p->initial + i0 * p->ld_initial + j0;
                t.ld_initial = p->ld_initial;
                if (p->bias) t.bias = p->bias + j0;
            }
            multiply_panel(i1 - i0, transposed, &t);
            if (p->slope && last) apply_gelu(p, i0, i1, j0, j1);
        }
    }
}

static int matmul(femto_matmul_arguments *p) {
    if (p->m == 0 || p->n == 0) return 0;
    matmul_plan plan = {.p = p, .panels = panel_count(p->n)};
    const int64_t threads = femto_get_threads();
    const double work = 2.0 * (double)p->m * (double)p->n * (double)p->k;

    /* B in place: rows contiguous, and either few rows of A to amortise a copy or rows of B short enough for the cache. */
    const int contiguous = p->b_column == 1;
    plan.pack_all = !contiguous || (p->m >= 32 && p->n > 128);
    if (plan.pack_all || p->n % LANES) {
        const int64_t last = panel_start(p->n, plan.panels, plan.panels - 1);
        const int64_t padded = (p->n + LANES - 1) / LANES * LANES;
        plan.packed = femto_scratch(FEMTO_SCRATCH_SHARED, (plan.pack_all ? padded : padded - last) * p->k + 16);
        if (!plan.packed) return -1;
        const int64_t tasks = (p->k + PACK_K - 1) / PACK_K * (plan.pack_all ? plan.panels : 1);
        femto_parallel_for(tasks, (plan.pack_all ? 4.0 * (double)p->n : 64.0) * (double)p->k, pack_task, &plan);
    }

    /* Tall products are cut by rows, so that a block of A serves all panels. Short ones (gradients of weights: m = d, k = B*T) by
     * panels of columns, and by rows only as far as the threads need it: each panel of B streams through once a chunk of rows. */
    plan.column_tasks = p->m >= 512 ? 1 : plan.panels;
    int64_t chunks = (8 * threads + plan.column_tasks - 1) / plan.column_tasks;
    if (p->m < 512) {
        double least_waste = 1e9;
        for (int64_t candidate = 1; candidate <= chunks; candidate++) {
            const int64_t tasks = candidate * plan.column_tasks, rounds = (tasks + threads - 1) / threads;
            const double waste = (double)(rounds * threads) / (double)tasks + 0.02 * (double)candidate;
            if (waste < least_waste - 1e-9) {
                least_waste = waste;
                plan.row_chunk = (p->m + candidate - 1) / candidate;
            }
        }
    } else {
        plan.row_chunk = least((p->m + chunks - 1) / chunks, 120);
    }
    plan.row_chunk = (plan.row_chunk + 3) / 4 * 4;
    if (plan.row_chunk < 12) plan.row_chunk = 12;
    femto_parallel_for((p->m + plan.row_chunk - 1) / plan.row_chunk * plan.column_tasks, work, matmul_task, &plan);
    return 0;
}

/* out[j] += sum over rows of x[i, j]: the gradient of a bias. One task a stripe of columns, rows in order. */
#define SUM_STRIPE 64
typedef struct {
    float *out;
    const float *x;
    int64_t ldx, rows, columns;
} column_sum_arguments;

static void column_sum_task(void *arguments, int64_t index) {
    const column_sum_arguments *p = arguments;
    const int64_t j1 = (index + 1) * SUM_STRIPE < p->columns ? (index + 1) * SUM_STRIPE : p->columns;
    for (int64_t j = index * SUM_STRIPE; j < j1; j += LANES) {
        const int64_t left = j1 - j;
        vf sum = v_load_up_to(p->out + j, left);
        for (int64_t block = 0; block < p->rows; block += 64) { /* partial sums keep the rounding error small */
            const int64_t end = block + 64 < p->rows ? block + 64 : p->rows;
            vf partial = v_set(0.0f);
            if (left >= LANES)
                for (int64_t i = block; i < end; i++) partial += v_load(p->x + i * p->ldx + j);
            else
                for (int64_t i = block; i < end; i++) partial += v_load_partial(p->x + i * p->ldx + j, left);
            sum += partial;
        }
        v_store_up_to(p->out + j, sum, left);
    }
}

static int column_sum(float *out, const float *x, int64_t ldx, int64_t rows, int64_t columns) {
    column_sum_arguments p = {out, x, ldx, rows, columns};
    femto_parallel_for((columns + SUM_STRIPE - 1) / SUM_STRIPE, 2.0 * (double)rows * (double)columns, column_sum_task, &p);
    return 0;
}
