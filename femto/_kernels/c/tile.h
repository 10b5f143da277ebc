/* The tile of a matrix product: c = op(A) B + bias + initial, times factor, or its GELU, for a few rows and vectors of columns.
 *
 * Outer-product form: ROWS x VECTORS vector registers of c are held while k runs; each k loads VECTORS vectors of B, broadcasts
 * ROWS numbers of A and does ROWS*VECTORS FMAs. Every element of c is one accumulator, added in k order from zero; bias, initial
 * and factor come at the end. So the shape of the tile changes no bit.
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
