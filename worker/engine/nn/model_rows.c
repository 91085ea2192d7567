/* model_rows.c - blocks of codes and scales. */
#include "worker/engine/nn/model_rows.h"

#include <string.h>

enum { BLOCK = 32, HALF = BLOCK / 2, GRID4_CODES_MAX = 8, GRID4_BITS = 4 };

enum dtype model_rows_grid_dtype(unsigned bits, size_t cell_columns)
{
    if (cell_columns % BLOCK != 0)
        return DTYPE_F32;
    return bits <= GRID4_BITS ? DTYPE_GRID4 : DTYPE_GRID8;
}

enum dtype model_rows_levels_dtype(enum bnb_code_type type, const float levels[BNB_CODE_LEVELS],
                                   size_t columns)
{
    size_t size = BNB_CODE_LEVELS * sizeof *levels;
    if (columns % BLOCK != 0 || memcmp(levels, bnb_code_levels(type), size) != 0)
        return DTYPE_F32;
    return type == BNB_CODE_NF4 ? DTYPE_NF4 : DTYPE_FP4;
}

static uint8_t *put_f32(uint8_t *to, float value)
{
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

/* 32 codes of four bits, `offset` added. */
static void put_nibbles(uint8_t *to, const int8_t *codes, int offset)
{
    for (size_t j = 0; j < HALF; j++)
        to[j] = (uint8_t)((codes[j] + offset) | (codes[j + HALF] + offset) << 4);
}

static void put_grid_block(enum dtype dtype, const int8_t *codes, float scale, int8_t zero,
                           uint8_t *to)
{
    to = put_f32(to, scale);
    *to++ = (uint8_t)zero;
    if (dtype == DTYPE_GRID4)
        put_nibbles(to, codes, GRID4_CODES_MAX);
    else
        memcpy(to, codes, BLOCK);
}

void model_rows_put_grid(enum dtype dtype, const struct model_rows_grid *row, void *to)
{
    uint8_t *at = to;
    size_t width = row->cell_columns;
    for (size_t i = 0; dtype == DTYPE_F32 && i < row->columns; i++)
        at = put_f32(at, row->scales[i / width] * (float)(row->codes[i] - row->zeros[i / width]));
    for (size_t i = 0; dtype != DTYPE_F32 && i < row->columns; i += BLOCK) {
        put_grid_block(dtype, row->codes + i, row->scales[i / width], row->zeros[i / width], at);
        at += dtype_block_bytes(dtype);
    }
}

void model_rows_put_levels(enum dtype dtype, const struct bnb_linear_view *view, size_t row,
                           void *to)
{
    uint8_t *at = to;
    size_t columns = (size_t)view->linear.columns, block = view->linear.block_size;
    size_t first = row * columns;
    for (size_t i = first; dtype == DTYPE_F32 && i < first + columns; i++)
        at = put_f32(at,
                     view->levels[bnb_linear_code(view, i)] * bnb_linear_absmax(view, i / block));
    for (size_t i = first; dtype != DTYPE_F32 && i < first + columns; i += BLOCK) {
        int8_t codes[BLOCK];
        for (size_t j = 0; j < BLOCK; j++)
            codes[j] = (int8_t)bnb_linear_code(view, i + j);
        put_nibbles(put_f32(at, bnb_linear_absmax(view, i / block)), codes, 0);
        at += dtype_block_bytes(dtype);
    }
}
