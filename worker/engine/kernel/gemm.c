/* gemm.c - cuts a product into packed blocks and gives column blocks to threads.
 *
 * For each span of k and each chunk of rows: (1) A is packed once, by all threads; (2) items, each
 * a block of columns (and, when columns are few, a part of the rows), are taken by whoever is free.
 * The owner of an item packs its own B, so B never crosses cores, and walks k upward through the
 * item with the chains resting in C: no two threads write one element, and no sum is split.
 */
#include "worker/engine/kernel/gemm.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    A_FLOATS_MAX = 4 << 20,     /* packed A of one chunk: 16 MiB */
    A_ALONE_FLOATS = 128 << 10, /* the same for a product on one thread of many */
    DEPTH_MAX = 16384,          /* span of k packed at once */
    ALONE_PRODUCTS = 1 << 16,   /* m n k below this is not worth waking threads */
    PANELS_PER_ITEM = 4,        /* packing of A */
    STRIP_DEPTH = 256,          /* of a strip of B that is contiguous along k */
    CACHE_LINE = 64,
    LINES_AHEAD = 4, /* of a strip, fetched while one is decoded */
    STRIP_FLOATS = STRIP_DEPTH * GEMM_COLUMNS_MAX,
};
_Static_assert(STRIP_DEPTH % DTYPE_BLOCK_ELEMENTS_MAX == 0, "a strip is whole blocks");

struct gemm_space {
    const struct gemm_tile *tile;
    const struct rows *rows;
    unsigned threads;
    float *a;                   /* shared: A_FLOATS_MAX */
    float *threads_ab;          /* per thread: A_ALONE_FLOATS, a block of B, a strip of B */
    void *memory_a, *memory_ab; /* owned: the same, before alignment */
};

/* One span of k over one chunk of rows. */
struct stage {
    const struct gemm_tile *tile;
    struct gemm_space *space;
    const struct kernel_gemm *gemm;
    struct pool *pool; /* NULL: the calling thread alone, as number `thread` */
    unsigned thread;
    size_t row0, rows;    /* chunk of A and C */
    size_t depth0, depth; /* span of k */
    size_t panels;        /* of A */
    size_t n_block;       /* columns of an item */
    size_t column_blocks; /* items = column_blocks * row_parts */
    size_t row_parts;
    size_t unit_n, unit_k; /* columns and depth of blocks of B are multiples of these */
    float *a;              /* packed: panels * tile->rows * depth */
};

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static size_t thread_floats(const struct gemm_tile *tile)
{
    return A_ALONE_FLOATS + tile->k_block * tile->n_block + STRIP_FLOATS;
}

static float *align_64(void *pointer)
{
    return (float *)(((uintptr_t)pointer + 63) & ~(uintptr_t)63);
}

enum err gemm_space_create(const struct gemm_tile *tile, const struct rows *rows, unsigned threads,
                           struct gemm_space **out)
{
    ASSERT(tile->rows <= GEMM_ROWS_MAX && tile->columns <= GEMM_COLUMNS_MAX);
    ASSERT(tile->n_block % tile->columns == 0 && DEPTH_MAX * tile->rows <= A_FLOATS_MAX);
    ASSERT(tile->n_block >= DTYPE_BLOCK_ELEMENTS_MAX && tile->k_block >= DTYPE_BLOCK_ELEMENTS_MAX);
    struct gemm_space *space = mem_alloc(1, sizeof(*space));
    if (space == NULL)
        return ERR_OUT_OF_MEMORY;
    space->tile = tile;
    space->rows = rows;
    space->threads = threads;
    size_t per_thread = thread_floats(tile);
    space->memory_a = mem_alloc(A_FLOATS_MAX + 16, sizeof(float));
    space->memory_ab = mem_alloc(threads * per_thread + 16, sizeof(float));
    if (space->memory_a == NULL || space->memory_ab == NULL) {
        gemm_space_destroy(&space);
        return ERR_OUT_OF_MEMORY;
    }
    space->a = align_64(space->memory_a);
    space->threads_ab = align_64(space->memory_ab);
    *out = space;
    return ERR_OK;
}

void gemm_space_destroy(struct gemm_space **space)
{
    if (*space == NULL)
        return;
    mem_free((*space)->memory_a);
    mem_free((*space)->memory_ab);
    mem_free(*space);
    *space = NULL;
}

static void pack_panel_a(const struct stage *s, size_t panel)
{
    const struct kernel_gemm *g = s->gemm;
    size_t first = panel * s->tile->rows;
    const float *from = g->a + (s->row0 + first) * g->a_row_stride + s->depth0 * g->a_col_stride;
    s->tile->pack_a(from, g->a_row_stride, g->a_col_stride, MIN(s->tile->rows, s->rows - first),
                    s->depth, s->a + first * s->depth);
}

static void pack_a_task(void *context, size_t index, unsigned thread)
{
    const struct stage *s = context;
    (void)thread;
    size_t end = MIN((index + 1) * PANELS_PER_ITEM, s->panels);
    for (size_t panel = index * PANELS_PER_ITEM; panel < end; panel++)
        pack_panel_a(s, panel);
}

/* A tile at the right edge: computed in full beside C, then cut. */
static void multiply_edge(const struct gemm_tile *tile, size_t count, size_t columns, size_t depth,
                          const float *a, const float *b, float *c, size_t c_row_stride,
                          bool accumulate)
{
    float edge[GEMM_ROWS_MAX * GEMM_COLUMNS_MAX] = {0};
    if (accumulate)
        for (size_t i = 0; i < count; i++)
            memcpy(edge + i * tile->columns, c + i * c_row_stride, columns * sizeof(float));
    tile->multiply(count, depth, a, b, edge, tile->columns, accumulate);
    for (size_t i = 0; i < count; i++)
        memcpy(c + i * c_row_stride, edge + i * tile->columns, columns * sizeof(float));
}

/* One block of B, `depth` deep from s->depth0 + p0, against panels [panel0, panel1) of A. */
static void multiply_block(const struct stage *s, size_t column0, size_t columns, size_t p0,
                           size_t depth, size_t panel0, size_t panel1, const float *b)
{
    const struct gemm_tile *tile = s->tile;
    const struct kernel_gemm *g = s->gemm;
    bool accumulate = g->accumulate || s->depth0 + p0 > 0;
    for (size_t panel = panel0; panel < panel1; panel++) {
        size_t first = panel * tile->rows, count = MIN(tile->rows, s->rows - first);
        const float *a = s->a + first * s->depth + p0 * tile->rows;
        float *c = g->c + (s->row0 + first) * g->c_row_stride + column0;
        for (size_t j = 0; j < columns; j += tile->columns) {
            if (columns - j >= tile->columns)
                tile->multiply(count, depth, a, b + j * depth, c + j, g->c_row_stride, accumulate);
            else
                multiply_edge(tile, count, columns - j, depth, a, b + j * depth, c + j,
                              g->c_row_stride, accumulate);
        }
    }
}

/* Bytes of B from (p, j) on. */
static const char *b_at(const struct stage *s, size_t p, size_t j)
{
    const struct kernel_gemm *g = s->gemm;
    size_t offset = g->b_row_stride == 1 ? p + kernel_pair_line(g->b_pairs, j) * g->b_col_stride
                                         : kernel_pair_line(g->b_pairs, p) * g->b_row_stride + j;
    return (const char *)g->b + dtype_span_bytes(g->b_dtype, offset);
}

/* `count` elements of B from (p, j) on, decoded. */
static void decode_b(const struct stage *s, size_t p, size_t j, size_t count, float *out)
{
    s->space->rows->decode(count, s->gemm->b_dtype, b_at(s, p, j), out);
}

/* The lines of a strip are short and far apart: the processor would not guess the next one. */
static void prefetch_b(const struct stage *s, size_t p, size_t j, size_t count)
{
    const char *from = b_at(s, p, j);
    size_t size = dtype_span_bytes(s->gemm->b_dtype, count);
    for (size_t at = 0; at < size; at += CACHE_LINE)
        __builtin_prefetch(from + at);
}

/* Columns of B are contiguous: those of a panel are decoded a piece of their depth at a time. */
static void pack_along_k(const struct stage *s, size_t p0, size_t depth, size_t column,
                         size_t count, float *strip, float *panel)
{
    for (size_t p = 0; p < depth; p += STRIP_DEPTH) {
        size_t piece = MIN((size_t)STRIP_DEPTH, depth - p);
        for (size_t i = 0; i < count; i++) {
            if (i + LINES_AHEAD < count)
                prefetch_b(s, p0 + p, column + i + LINES_AHEAD, piece);
            decode_b(s, p0 + p, column + i, piece, strip + i * piece);
        }
        s->tile->pack_b(strip, 1, piece, count, piece, panel + p * s->tile->columns);
    }
}

/* Rows of B are contiguous: some are decoded over the width of the block, and cut into panels. */
static void pack_along_n(const struct stage *s, size_t p0, size_t depth, size_t column0,
                         size_t columns, float *strip, float *b)
{
    size_t lines = STRIP_FLOATS / columns, width = s->tile->columns;
    for (size_t p = 0; p < depth; p += lines) {
        size_t piece = MIN(lines, depth - p);
        for (size_t i = 0; i < piece; i++)
            decode_b(s, p0 + p + i, column0, columns, strip + i * columns);
        for (size_t j = 0; j < columns; j += width)
            s->tile->pack_b(strip + j, columns, 1, MIN(width, columns - j), piece,
                            b + j * depth + p * width);
    }
}

/* Panels of B (depth, columns) from (p0, column0) on. */
static void pack_b(const struct stage *s, size_t p0, size_t depth, size_t column0, size_t columns,
                   float *b, float *strip)
{
    const struct gemm_tile *tile = s->tile;
    const struct kernel_gemm *g = s->gemm;
    bool as_is = g->b_dtype == DTYPE_F32 && g->b_pairs == 0;
    if (!as_is && g->b_row_stride != 1) {
        pack_along_n(s, p0, depth, column0, columns, strip, b);
        return;
    }
    for (size_t j = 0; j < columns; j += tile->columns) {
        size_t count = MIN(tile->columns, columns - j);
        if (as_is)
            tile->pack_b((const float *)g->b + p0 * g->b_row_stride +
                             (column0 + j) * g->b_col_stride,
                         g->b_row_stride, g->b_col_stride, count, depth, b + j * depth);
        else
            pack_along_k(s, p0, depth, column0 + j, count, strip, b + j * depth);
    }
}

static void multiply_task(void *context, size_t index, unsigned thread)
{
    const struct stage *s = context;
    const struct gemm_tile *tile = s->tile;
    const struct kernel_gemm *g = s->gemm;
    size_t column0 = index / s->row_parts * s->n_block, part = index % s->row_parts;
    size_t columns = MIN(s->n_block, g->n - column0);
    size_t panel0 = s->panels * part / s->row_parts, panel1 = s->panels * (part + 1) / s->row_parts;
    float *b = s->space->threads_ab + thread * thread_floats(tile) + A_ALONE_FLOATS;
    size_t k_block = tile->k_block / s->unit_k * s->unit_k;
    for (size_t p0 = 0; p0 < s->depth; p0 += k_block) {
        size_t depth = MIN(k_block, s->depth - p0);
        pack_b(s, s->depth0 + p0, depth, column0, columns, b, b + tile->k_block * tile->n_block);
        multiply_block(s, column0, columns, p0, depth, panel0, panel1, b);
    }
}

/* Chooses items: column blocks as wide as L2 allows, a multiple of the threads where there are
 * enough, and parts of the rows where there are not. */
static void plan_items(struct stage *s, unsigned threads)
{
    const struct gemm_tile *tile = s->tile;
    size_t n = s->gemm->n, units = (n + s->unit_n - 1) / s->unit_n;
    size_t widest = tile->n_block / s->unit_n * s->unit_n;
    size_t blocks = (n + widest - 1) / widest;
    blocks = MIN(round_up(blocks, threads), units);
    s->n_block = (units + blocks - 1) / blocks * s->unit_n;
    s->column_blocks = (n + s->n_block - 1) / s->n_block;
    s->row_parts = 1;
    if (s->column_blocks < threads)
        s->row_parts = MIN(s->panels, (2 * threads + s->column_blocks - 1) / s->column_blocks);
}

static void run_items(struct stage *s, size_t count, pool_task_f task)
{
    if (s->pool != NULL) {
        pool_run(s->pool, count, task, s);
        return;
    }
    for (size_t i = 0; i < count; i++)
        task(s, i, s->thread);
}

static void empty_product(const struct kernel_gemm *g)
{
    for (size_t i = 0; i < g->m && !g->accumulate; i++)
        memset(g->c + i * g->c_row_stride, 0, g->n * sizeof(float));
}

/* Rows of a chunk so that its packed panels fit in `floats`. */
static size_t chunk_rows(const struct gemm_tile *tile, size_t m, size_t depth, size_t floats)
{
    size_t panels = MAX(floats / (depth * tile->rows), 1u);
    return MIN(m, panels * tile->rows);
}

/* Where B may be cut: at panels and, along the axis on which its blocks lie, at blocks. */
static void plan_units(struct stage *s)
{
    const struct kernel_gemm *g = s->gemm;
    size_t elements = dtype_block_elements(g->b_dtype);
    bool along_k = g->b_row_stride == 1;
    bool plain = g->b_dtype == DTYPE_F32 && g->b_pairs == 0;
    ASSERT(plain || along_k || g->b_col_stride == 1);
    ASSERT(g->b_pairs == 0 || (along_k ? g->n : g->k) % g->b_pairs == 0);
    ASSERT((along_k ? g->k : g->n) % elements == 0);
    s->unit_k = along_k ? elements : 1;
    s->unit_n = along_k ? s->tile->columns : MAX(s->tile->columns, elements);
}

/* Packs and multiplies span by span and chunk by chunk; `threads` says how far items are split. */
static void walk(struct stage *s, size_t depth_max, size_t a_floats, unsigned threads)
{
    const struct gemm_tile *tile = s->tile;
    const struct kernel_gemm *g = s->gemm;
    plan_units(s);
    for (s->depth0 = 0; s->depth0 < g->k; s->depth0 += s->depth) {
        s->depth = MIN(depth_max, g->k - s->depth0);
        size_t chunk = chunk_rows(tile, g->m, s->depth, a_floats);
        for (s->row0 = 0; s->row0 < g->m; s->row0 += s->rows) {
            s->rows = MIN(chunk, g->m - s->row0);
            s->panels = (s->rows + tile->rows - 1) / tile->rows;
            plan_items(s, threads);
            run_items(s, (s->panels + PANELS_PER_ITEM - 1) / PANELS_PER_ITEM, pack_a_task);
            run_items(s, s->column_blocks * s->row_parts, multiply_task);
        }
    }
}

void gemm_run_on(struct gemm_space *space, unsigned thread, const struct kernel_gemm *gemm)
{
    ASSERT(thread < space->threads);
    if (gemm->m == 0 || gemm->n == 0 || gemm->k == 0) {
        empty_product(gemm);
        return;
    }
    struct stage s = {.tile = space->tile, .space = space, .gemm = gemm, .thread = thread};
    s.a = space->threads_ab + thread * thread_floats(space->tile);
    walk(&s, A_ALONE_FLOATS / GEMM_ROWS_MAX, A_ALONE_FLOATS, 1);
}

struct alone {
    struct gemm_space *space;
    const struct kernel_gemm *gemm;
};

static void alone_task(void *context, size_t index, unsigned thread)
{
    struct alone *alone = context;
    (void)index;
    gemm_run_on(alone->space, thread, alone->gemm);
}

void gemm_run(struct pool *pool, struct gemm_space *space, const struct kernel_gemm *gemm)
{
    size_t m = gemm->m, n = gemm->n, k = gemm->k;
    if (m == 0 || n == 0 || k == 0 || (double)m * (double)n * (double)k < ALONE_PRODUCTS) {
        struct alone alone = {space, gemm};
        pool_run(pool, 1, alone_task, &alone);
        return;
    }
    struct stage s = {
        .tile = space->tile, .space = space, .gemm = gemm, .pool = pool, .a = space->a};
    walk(&s, DEPTH_MAX, A_FLOATS_MAX, pool_threads(pool));
}
