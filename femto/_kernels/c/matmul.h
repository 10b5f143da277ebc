/* Matrix product: c (m x n) = (op(A) (m x k) op(B) (k x n) + bias + initial) * factor, or its GELU.
 *
 * Outer-product form: a tile of ROWS x VECTORS vector registers of c is held while k runs; each k loads VECTORS vectors of B,
 * broadcasts ROWS numbers of A and does ROWS*VECTORS FMAs. Every element of c is one accumulator, added in k order from zero;
 * bias, initial and factor come at the end. Blocks of K_BLOCK go through c itself. So neither the tile nor the split among
 * threads changes a bit.
 *
 * Tall products (activations times weights) run over rows of c > blocks of k > panels of columns > tiles of rows > k, with B read
 * in place when its rows are contiguous and short, else copied once to panels of VECTORS*LANES columns (zero padded).
 * Deep products (gradients of weights: A transposed, k = B*T) run over parts of c > blocks of k > panels > tiles > k; every task
 * copies the block of A and the panel of B that it works on, so that nothing larger than a block leaves the cache.
 */

/* Heights of the row tiles for each number of VECTORS, tallest first: as many accumulators as the registers hold beside VECTORS
 * of B and one of A; one vector alone takes what a head of attention has. */
#if VECTOR_REGISTERS == 32
#define MAX_VECTORS 5
#define TILE_SHAPES(TILE)                                                                                                     \
    TILE(24, 1) TILE(16, 1) TILE(8, 1) TILE(4, 1) TILE(2, 1) TILE(1, 1) TILE(12, 2) TILE(8, 2) TILE(4, 2) TILE(2, 2) TILE(1, 2) \
    TILE(8, 3) TILE(4, 3) TILE(2, 3) TILE(1, 3) TILE(6, 4) TILE(4, 4) TILE(2, 4) TILE(1, 4) TILE(5, 5) TILE(4, 5) TILE(2, 5)    \
    TILE(1, 5)
#define MAX_ROWS 24
static const int tile_heights[MAX_VECTORS + 1][7] = {{0}, {24, 16, 8, 4, 2, 1}, {12, 8, 4, 2, 1}, {8, 4, 2, 1}, {6, 4, 2, 1},
                                                     {5, 4, 2, 1}};
#else
#define MAX_VECTORS 3
#define TILE_SHAPES(TILE)                                                                                                     \
    TILE(8, 1) TILE(4, 1) TILE(2, 1) TILE(1, 1) TILE(6, 2) TILE(4, 2) TILE(2, 2) TILE(1, 2) TILE(4, 3) TILE(2, 3) TILE(1, 3)
#define MAX_ROWS 8
static const int tile_heights[MAX_VECTORS + 1][7] = {{0}, {8, 4, 2, 1}, {6, 4, 2, 1}, {4, 2, 1}};
#endif
#define K_BLOCK 384
#define DEEP_K_BLOCK 256
#define TALL_ROWS 80       /* of A in one task */
#define L2_FLOATS 262144    /* 1 MiB, which most cores have at least */

typedef struct {
    int64_t k;
    const float *a; int64_t lda;            /* distance of two rows (row form) or of two k (transposed form) */
    const float *b; int64_t ldb;            /* distance of two k */
    float *c; int64_t ldc;
    const float *initial; int64_t ld_initial;
    const float *bias;
    const float *factor; int64_t ld_factor;
    float *slope; int64_t ld_slope;
    int in_cache;                           /* nothing to fetch */
    int64_t columns;                        /* valid columns, in ((VECTORS-1)*LANES, VECTORS*LANES]; b has all of them */
} tile_arguments;

/* One row of what the end of a tile touches, fetched while k runs: a few lines at a time, as the core can wait for few. */
INLINE void fetch_row(const int vectors, const tile_arguments *t, int64_t i) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v += 16 / LANES) {
        __builtin_prefetch(t->c + i * t->ldc + v * LANES, 1, 3);
        if (t->factor) __builtin_prefetch(t->factor + i * t->ld_factor + v * LANES, 0, 3);
        if (t->initial && t->initial != t->c) __builtin_prefetch(t->initial + i * t->ld_initial + v * LANES, 0, 3);
        if (t->slope) __builtin_prefetch(t->slope + i * t->ld_slope + v * LANES, 1, 3);
    }
}

#define FOR_TILE(i, v)                    \
    _Pragma("GCC unroll 32")              \
    for (int i = 0; i < rows; i++)        \
        _Pragma("GCC unroll 8")           \
        for (int v = 0; v < vectors; v++)

INLINE void tile_body(const int rows, const int vectors, const int transposed, const tile_arguments *t) {
    vf acc[MAX_ROWS][MAX_VECTORS];
    const int64_t left = t->columns - (vectors - 1) * LANES; /* columns of the last vector */
    const int64_t row_step = transposed ? 1 : t->lda, k_step = transposed ? t->lda : 1, ldb = t->ldb, ldc = t->ldc;
    const float *a = t->a, *b = t->b, *bias = t->bias, *initial = t->initial, *factor = t->factor;
    float *c = t->c;
    FOR_TILE(i, v) acc[i][v] = v_set(0.0f);
    int64_t k = t->k;
    for (int part = t->in_cache ? 1 : rows; part > 0; part--) {
        if (!t->in_cache) fetch_row(vectors, t, part - 1);
        for (const int64_t end = k - k / part; k > end; k--, a += k_step, b += ldb) {
            vf bv[MAX_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) bv[v] = v_load(b + v * LANES);
#pragma GCC unroll 32
            for (int i = 0; i < rows; i++) {
                vf av = v_set(a[i * row_step]);
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) acc[i][v] = v_fma(av, bv[v], acc[i][v]);
            }
        }
    }
    if (bias)
        FOR_TILE(i, v) acc[i][v] += v < vectors - 1 ? v_load(bias + v * LANES) : v_load_up_to(bias + v * LANES, left);
    if (initial) {
        const int64_t ld = t->ld_initial;
        FOR_TILE(i, v) {
            const float *p = initial + i * ld + v * LANES;
            acc[i][v] += v < vectors - 1 ? v_load(p) : v_load_up_to(p, left);
        }
    }
    if (factor) {
        const int64_t ld = t->ld_factor;
        FOR_TILE(i, v) {
            const float *p = factor + i * ld + v * LANES;
            acc[i][v] *= v < vectors - 1 ? v_load(p) : v_load_up_to(p, left);
        }
    }
    if (left >= LANES) {
        FOR_TILE(i, v) v_store(c + i * ldc + v * LANES, acc[i][v]);
    } else {
        FOR_TILE(i, v) {
            if (v < vectors - 1) v_store(c + i * ldc + v * LANES, acc[i][v]);
            else v_store_partial(c + i * ldc + v * LANES, acc[i][v], left);
        }
    }
}

#define TILE(rows, vectors)                                                                                        \
    static __attribute__((noinline)) void tile_##rows##x##vectors(const tile_arguments *t) {                       \
        tile_body(rows, vectors, 0, t);                                                                            \
    }                                                                                                              \
    static __attribute__((noinline)) void tile_transposed_##rows##x##vectors(const tile_arguments *t) {            \
        tile_body(rows, vectors, 1, t);                                                                            \
    }
TILE_SHAPES(TILE)
#undef TILE

/* Height and width of a tile to its function. */
typedef void (*tile_function)(const tile_arguments *);
static const tile_function tiles[2][MAX_VECTORS + 1][MAX_ROWS + 1] = {
#define TILE(rows, vectors) [vectors][rows] = tile_##rows##x##vectors,
    {TILE_SHAPES(TILE)},
#undef TILE
#define TILE(rows, vectors) [vectors][rows] = tile_transposed_##rows##x##vectors,
    {TILE_SHAPES(TILE)},
#undef TILE
};

/* c = gelu(c) and its derivative, on the tile that was just stored. */
static void apply_gelu(const tile_arguments *t, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        float *c = t->c + i * t->ldc, *slope = t->slope + i * t->ld_slope;
        for (int64_t j = 0; j < t->columns; j += LANES) {
            const int64_t left = t->columns - j;
            vf derivative, value = v_gelu(v_load_up_to(c + j, left), &derivative);
            v_store_up_to(c + j, value, left);
            v_store_up_to(slope + j, derivative, left);
        }
    }
}

/* Memory that a later tile will read, fetched a few rows a tile so that it arrives while others compute. No rows: nothing. */
typedef struct {
    const float *next; int64_t ld;
    int64_t rows, columns;  /* left to fetch */
    int64_t rows_per_tile;
} upcoming_rows;
typedef struct {
    upcoming_rows a, b;
} upcoming;

INLINE void fetch_upcoming(upcoming_rows *u) {
    for (int64_t r = 0; r < u->rows_per_tile && u->rows > 0; r++, u->rows--, u->next += u->ld)
        for (int64_t j = 0; j < u->columns; j += 16) __builtin_prefetch(u->next + j, 0, 2);
}

/* All rows of one panel of columns: c is m x columns. Row tiles of full height, then lower ones. */
static void multiply_panel(int64_t m, int transposed, const tile_arguments *panel, upcoming *next) {
    const int vectors = (int)((panel->columns + LANES - 1) / LANES);
    tile_arguments t = *panel;
    for (const int *height = tile_heights[vectors]; *height; height++) {
        const int64_t rows = *height;
        const tile_function tile = tiles[transposed][vectors][rows];
        for (; m >= rows; m -= rows) {
            if (next) {
                fetch_upcoming(&next->a);
                fetch_upcoming(&next->b);
            }
            tile(&t);
            if (t.slope) {
                apply_gelu(&t, rows);
                t.slope += rows * t.ld_slope;
            }
            t.a += transposed ? rows : rows * t.lda;
            t.c += rows * t.ldc;
            if (t.initial) t.initial += rows * t.ld_initial;
            if (t.factor) t.factor += rows * t.ld_factor;
        }
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

/* Rows k0..k1 of columns j0..j1 of op(B) to out, rows of `width` floats, zero padded. */
static void pack_panel(float *out, int64_t width, const femto_matmul_arguments *p, int64_t k0, int64_t k1, int64_t j0, int64_t j1) {
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
            for (; k < rows; k++) sum[0] += v_load(b + k * ldb + j);
        } else {
            for (int64_t k = 0; k < rows; k++) sum[k % 4] += v_load_partial(b + k * ldb + j, left);
        }
        v_store_up_to(sums + j, v_load_up_to(sums + j, left) + ((sum[0] + sum[1]) + (sum[2] + sum[3])), left);
    }
}

typedef struct {
    femto_matmul_arguments *p;
    int64_t panels, row_chunk, column_tasks;
    float *packed;      /* all panels one after another, each k x its padded width; or NULL */
    int pack_all;       /* else only the last, ragged panel is packed */
    int streams;        /* packed B does not stay in L2 */
    int failed;
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
    const int64_t k0 = index / panels_packed * PACK_K, k1 = least(k0 + PACK_K, p->k);
    const int64_t j0 = panel_start(p->n, plan->panels, panel), j1 = panel_start(p->n, plan->panels, panel + 1);
    const int64_t width = ROUND_UP(j1 - j0, LANES);
    pack_panel(plan->packed + packed_offset(plan, panel) + k0 * width, width, p, k0, k1, j0, j1);
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

static void tall_task(void *arguments, int64_t index) {
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
}

/* One part of a deep product: rows by a range of panels, over all of k. The next block of both is fetched meanwhile. */
static void deep_task(void *arguments, int64_t index) {
    matmul_plan *plan = arguments;
    const femto_matmul_arguments *p = plan->p;
    const int64_t i0 = index / plan->column_tasks * plan->row_chunk, i1 = least(i0 + plan->row_chunk, p->m);
    const int64_t q0 = plan->panels * (index % plan->column_tasks) / plan->column_tasks;
    const int64_t q1 = plan->panels * (index % plan->column_tasks + 1) / plan->column_tasks;
    float *panel = femto_scratch(FEMTO_SCRATCH_TASK, DEEP_K_BLOCK * MAX_VECTORS * LANES);
    if (!panel) {
        __atomic_store_n(&plan->failed, 1, __ATOMIC_RELAXED);
        return;
    }
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
            const int64_t to_come = least(p->k - k0 - depth, DEEP_K_BLOCK), rows_a_tile = DEEP_K_BLOCK / ((i1 - i0) / height + 1) + 1;
            upcoming next = {0};
            if (q == q0) next.a = (upcoming_rows){t.a + depth * t.lda, t.lda, to_come, i1 - i0, rows_a_tile};
            if (p->b_column == 1) next.b = (upcoming_rows){b + depth * p->b_row, p->b_row, to_come, j1 - j0, rows_a_tile};
            multiply_panel(i1 - i0, 1, &t, &next);
        }
    }
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

static int matmul(femto_matmul_arguments *p) {
    if (p->n == 0 || (p->m == 0 && !p->column_sums)) return 0;
    matmul_plan plan = {.p = p, .panels = panel_count(p->n)};
    const int64_t threads = femto_get_threads();
    const double work = 2.0 * (double)p->m * (double)p->n * (double)p->k;

    if (p->a_column != 1 || p->column_sums) {
        cut_deep(&plan, threads);
        const int64_t chunks = p->m ? (p->m + plan.row_chunk - 1) / plan.row_chunk : 1; /* without rows, the column sums */
        femto_parallel_for(chunks * plan.column_tasks, work, deep_task, &plan);
        return plan.failed ? -1 : 0;
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
    const int64_t height = tile_heights[ROUND_UP(panel_start(p->n, plan.panels, 1), LANES) / LANES][0];
    plan.row_chunk = ROUND_UP((p->m + chunks - 1) / chunks, height);
    if (plan.row_chunk < 12) plan.row_chunk = 12;
    femto_parallel_for((p->m + plan.row_chunk - 1) / plan.row_chunk * plan.column_tasks, work, tall_task, &plan);
    return 0;
}
