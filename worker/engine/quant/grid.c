/* grid.c - ranges, codes and values of cells; the sums of the searches in fixed order. */
#include "worker/engine/quant/grid.h"

#include <float.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/grid_lanes.h"
#include "worker/engine/quant/grid_search.h"

struct grid_scheme grid_preset_scheme(enum grid_preset preset)
{
    static const struct grid_scheme schemes[] = {
#define GRID_PRESET_SCHEME(id, bits_, symmetric_, strategy_, group_size_, input_bits, layout)      \
    [GRID_PRESET_##id] = {.bits = bits_,                                                           \
                          .symmetric = symmetric_,                                                 \
                          .strategy = GRID_##strategy_,                                            \
                          .group_size = group_size_,                                               \
                          .scale_dtype = DTYPE_BF16},
        QUANT_SCHEME_ROWS(GRID_PRESET_SCHEME)
#undef GRID_PRESET_SCHEME
    };
    ASSERT(preset < GRID_PRESET_COUNT);
    return schemes[preset];
}

/* ---- shapes ---- */

static bool grouped(const struct grid_scheme *scheme)
{
    return scheme->strategy == GRID_GROUP || scheme->strategy == GRID_BLOCK;
}

enum err grid_check(const struct grid_scheme *scheme, size_t rows, size_t columns, const char *name,
                    struct err_text *et)
{
    enum dtype dtype = scheme->scale_dtype;
    if (scheme->bits < GRID_BITS_MIN || scheme->bits > GRID_BITS_MAX)
        return error_set(et, ERR_UNSUPPORTED, "%s: %u bits a weight; expected %d to %d", name,
                         scheme->bits, GRID_BITS_MIN, GRID_BITS_MAX);
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16)
        return error_set(et, ERR_UNSUPPORTED, "%s: scales of type %s; expected F32, F16 or BF16",
                         name, dtype_name(dtype));
    if (rows == 0 || columns == 0 || rows > SIZE_MAX / sizeof(float) / columns)
        return error_set(et, ERR_SHAPE, "%s: a matrix of %zu x %zu has no grid", name, rows,
                         columns);
    if (grouped(scheme) && (scheme->group_size == 0 || columns % scheme->group_size != 0))
        return error_set(et, ERR_SHAPE,
                         "%s: %zu columns are not whole groups of %zu; choose a group size that "
                         "divides them, or leave the tensor out (ignore)",
                         name, columns, scheme->group_size);
    if (scheme->strategy == GRID_BLOCK &&
        (scheme->block_rows == 0 || rows % scheme->block_rows != 0))
        return error_set(et, ERR_SHAPE,
                         "%s: %zu rows are not whole blocks of %zu; choose blocks that divide "
                         "them, or leave the tensor out (ignore)",
                         name, rows, scheme->block_rows);
    return ERR_OK;
}

enum err grid_init(struct grid *grid, const struct grid_scheme *scheme, size_t rows, size_t columns,
                   const char *name, struct err_text *et)
{
    TRY(grid_check(scheme, rows, columns, name, et));
    struct grid g = {.scheme = *scheme, .rows = rows, .columns = columns};
    g.cell_columns = grouped(scheme) ? scheme->group_size : columns;
    g.cell_rows = scheme->strategy == GRID_TENSOR  ? rows
                  : scheme->strategy == GRID_BLOCK ? scheme->block_rows
                                                   : 1;
    g.down = rows / g.cell_rows;
    g.across = columns / g.cell_columns;
    g.scales = mem_alloc(g.down * g.across, sizeof *g.scales);
    g.zeros = mem_alloc(g.down * g.across, sizeof *g.zeros);
    if (g.scales == NULL || g.zeros == NULL) {
        grid_fini(&g);
        return ERR_OUT_OF_MEMORY;
    }
    *grid = g;
    return ERR_OK;
}

void grid_fini(struct grid *grid)
{
    mem_free(grid->scales);
    mem_free(grid->zeros);
    *grid = (struct grid){0};
}

/* ---- one cell ---- */

/* Bits of f32 shifted out of the mantissa, ties to even; the type's largest number and the distance
 * from 1 to the next. */
float grid_stored_scale(enum dtype dtype, float scale)
{
    float most = dtype == DTYPE_F16 ? 65504.0f : dtype == DTYPE_BF16 ? 0x1.fep127f : FLT_MAX;
    float epsilon = dtype == DTYPE_F16 ? 0x1p-10f : dtype == DTYPE_BF16 ? 0x1p-7f : 0x1p-23f;
    float rounded = scale < most ? scale : most;
    if (dtype == DTYPE_BF16) {
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
        memcpy(&rounded, &bits, sizeof rounded);
    } else if (dtype == DTYPE_F16 && rounded < 0x1p-14f) {
        rounded = (rounded + 0.5f) - 0.5f; /* subnormal: steps of 2^-24, the last place of 0.5 */
    } else if (dtype == DTYPE_F16) {
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        bits = (bits + 0xfffu + (bits >> 13 & 1u)) & 0xffffe000u;
        memcpy(&rounded, &bits, sizeof rounded);
    }
    return rounded > 0 ? rounded : epsilon;
}

struct grid_cell grid_cell_of_range(const struct grid_scheme *scheme, float min, float max)
{
    float low = MIN(min, 0.0f), high = MAX(max, 0.0f);
    float steps = (float)((1 << scheme->bits) - 1);
    if (scheme->symmetric) {
        float most = MAX(-low, high);
        return (struct grid_cell){grid_stored_scale(scheme->scale_dtype, most / (steps / 2)), 0};
    }
    float lowest = (float)grid_code_min(scheme);
    float half = high / 2 - low / 2; /* their difference may be beyond f32 */
    float scale = grid_stored_scale(scheme->scale_dtype, half / (steps / 2));
    if (!(half > 0))
        return (struct grid_cell){scale, 0};
    return (struct grid_cell){scale, (int)grid_round(lowest - low / scale, lowest, lowest + steps)};
}

int grid_cell_code(const struct grid_scheme *scheme, struct grid_cell cell, float x)
{
    float lowest = (float)grid_code_min(scheme), highest = (float)grid_code_max(scheme);
    return (int)grid_round(x / cell.scale + (float)cell.zero, lowest, highest);
}

void grid_cell_encode(const struct grid_scheme *scheme, struct grid_cell cell, size_t count,
                      const float *x, int8_t *codes)
{
    const struct grid_measure measure = {cell.scale, (float)cell.zero, (float)grid_code_min(scheme),
                                         (float)grid_code_max(scheme), 1};
    grid_lanes_best()->encode(&measure, count, x, codes);
}

void grid_cell_decode(struct grid_cell cell, size_t count, const int8_t *codes, float *values)
{
    for (size_t i = 0; i < count; i++)
        values[i] = grid_cell_value(cell, codes[i]);
}

/* The range of the values, 0 in it. */
static void full_range(size_t rows, size_t columns, size_t stride, const float *x, float *min,
                       float *max)
{
    const struct grid_lanes *lanes = grid_lanes_best();
    float low = 0, high = 0;
    for (size_t row = 0; row < rows; row++)
        lanes->range(columns, x + row * stride, &low, &high);
    *min = low;
    *max = high;
}

struct grid_cell grid_cell_find(const struct grid_scheme *scheme, size_t rows, size_t columns,
                                size_t stride, const float *x, const float *importance)
{
    float min, max;
    full_range(rows, columns, stride, x, &min, &max);
    if (scheme->range == GRID_MINMAX)
        return grid_cell_of_range(scheme, min, max);
    struct grid_search search = {scheme, rows, columns, stride, x, importance};
    return grid_search_range(&search, min, max);
}

/* ---- a matrix ---- */

void grid_set(struct grid *grid, size_t row, size_t column, struct grid_cell cell)
{
    size_t at = row / grid->cell_rows * grid->across + column / grid->cell_columns;
    grid->scales[at] = cell.scale;
    grid->zeros[at] = (int8_t)cell.zero;
}

void grid_find_line(struct grid *grid, size_t line, const float *w, const float *importance)
{
    size_t row = line * grid->cell_rows;
    for (size_t column = 0; column < grid->columns; column += grid->cell_columns) {
        const float *weights = importance != NULL ? importance + column : NULL;
        grid_set(grid, row, column,
                 grid_cell_find(&grid->scheme, grid->cell_rows, grid->cell_columns, grid->columns,
                                w + row * grid->columns + column, weights));
    }
}

void grid_find(struct grid *grid, const float *w, const float *importance)
{
    for (size_t line = 0; line < grid->down; line++)
        grid_find_line(grid, line, w, importance);
}

void grid_encode_row(const struct grid *grid, size_t row, const float *x, int8_t *codes)
{
    for (size_t column = 0; column < grid->columns; column += grid->cell_columns)
        grid_cell_encode(&grid->scheme, grid_at(grid, row, column), grid->cell_columns, x + column,
                         codes + column);
}

void grid_decode_row(const struct grid *grid, size_t row, const int8_t *codes, float *values)
{
    for (size_t column = 0; column < grid->columns; column += grid->cell_columns)
        grid_cell_decode(grid_at(grid, row, column), grid->cell_columns, codes + column,
                         values + column);
}
