/* fake_quant_grid.c - one row at a time, any of them by any thread. */
#include "worker/engine/train/fake_quant_grid.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_rows.h"

static size_t mask_stride(const struct fake_quant_grid *grid)
{
    return (grid->cells.columns + 7) / 8;
}

enum dtype fake_quant_grid_dtype(const struct grid_scheme *scheme, size_t columns)
{
    size_t width = scheme->strategy == GRID_GROUP ? scheme->group_size : columns;
    return model_rows_grid_dtype(scheme->bits, width);
}

enum err fake_quant_grid_init(struct fake_quant_grid *grid, const struct grid_scheme *scheme,
                              size_t rows, size_t columns, bool masks, unsigned threads,
                              struct err_text *et)
{
    struct fake_quant_grid g = {.mask = NULL};
    ASSERT(scheme->strategy == GRID_CHANNEL || scheme->strategy == GRID_GROUP);
    TRY(grid_init(&g.cells, scheme, rows, columns, "qat", et));
    g.codes = mem_alloc(threads, columns);
    g.mask = masks ? mem_alloc(rows, mask_stride(&g)) : NULL;
    if (g.codes == NULL || (masks && g.mask == NULL)) {
        fake_quant_grid_fini(&g);
        return ERR_OUT_OF_MEMORY;
    }
    *grid = g;
    return ERR_OK;
}

void fake_quant_grid_fini(struct fake_quant_grid *grid)
{
    grid_fini(&grid->cells);
    mem_free(grid->mask);
    mem_free(grid->codes);
    *grid = (struct fake_quant_grid){.mask = NULL};
}

size_t fake_quant_grid_estimate(const struct grid_scheme *scheme, size_t rows, size_t columns,
                                bool masks)
{
    struct fake_quant_grid grid = {.mask = NULL, .cells = {.columns = columns}};
    bool groups = scheme->strategy == GRID_GROUP && scheme->group_size > 0;
    size_t across = groups ? (columns + scheme->group_size - 1) / scheme->group_size : 1;
    size_t cell = sizeof *grid.cells.scales + sizeof *grid.cells.zeros;
    return rows * across * cell + (masks ? rows * mask_stride(&grid) : 0);
}

size_t fake_quant_grid_size_bytes(const struct fake_quant_grid *grid)
{
    const struct grid *cells = &grid->cells;
    size_t size = cells->down * cells->across * (sizeof *cells->scales + sizeof *cells->zeros);
    return size + (grid->mask != NULL ? cells->rows * mask_stride(grid) : 0);
}

static void mask_row(struct fake_quant_grid *grid, size_t row, const float *x)
{
    const struct grid *cells = &grid->cells;
    uint8_t *mask = grid->mask + row * mask_stride(grid);
    /* The highest code is odd and the lowest even: of the halves beyond them, which go to the even
     * number, the upper one leaves the grid. */
    float lowest = (float)grid_code_min(&cells->scheme) - 0.5f;
    float highest = (float)grid_code_max(&cells->scheme) + 0.5f;
    memset(mask, 0, mask_stride(grid));
    for (size_t i = 0; i < cells->columns; i++) {
        struct grid_cell cell = grid_at(cells, row, i);
        float at = x[i] / cell.scale + (float)cell.zero;
        if (!(at >= lowest && at < highest))
            mask[i / 8] |= (uint8_t)(1u << i % 8);
    }
}

void fake_quant_grid_encode(struct fake_quant_grid *grid, size_t row, const float *x,
                            unsigned thread, enum dtype dtype, void *to)
{
    struct grid *cells = &grid->cells;
    int8_t *codes = grid->codes + thread * cells->columns;
    for (size_t column = 0; column < cells->columns; column += cells->cell_columns) {
        struct grid_cell cell = grid_cell_find(&cells->scheme, 1, cells->cell_columns,
                                               cells->columns, x + column, NULL);
        grid_set(cells, row, column, cell);
    }
    grid_encode_row(cells, row, x, codes);
    if (grid->mask != NULL)
        mask_row(grid, row, x);
    const struct model_rows_grid coded = {.columns = cells->columns,
                                          .cell_columns = cells->cell_columns,
                                          .codes = codes,
                                          .scales = cells->scales + row * cells->across,
                                          .zeros = cells->zeros + row * cells->across};
    model_rows_put_grid(dtype, &coded, to);
}

void fake_quant_grid_mask(const struct fake_quant_grid *grid, bool turned, float *gradient)
{
    size_t rows = grid->cells.rows, columns = grid->cells.columns;
    for (size_t row = 0; row < rows; row++) {
        const uint8_t *mask = grid->mask + row * mask_stride(grid);
        for (size_t i = 0; i < columns; i++) {
            if ((mask[i / 8] >> i % 8 & 1) != 0)
                gradient[turned ? i * rows + row : row * columns + i] = 0;
        }
    }
}
