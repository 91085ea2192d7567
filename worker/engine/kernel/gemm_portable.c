/* gemm_portable.c - the tile in plain C: fmaf chains, the oracle of the other instruction sets. */
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/kernel/gemm.h"

enum { ROWS = 4, COLUMNS = 16 };

static void pack_a(const float *a, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel)
{
    for (size_t p = 0; p < depth; p++)
        for (size_t i = 0; i < ROWS; i++)
            panel[p * ROWS + i] = i < count ? a[i * row_stride + p * column_stride] : 0.0f;
}

static void pack_b(const float *b, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel)
{
    for (size_t p = 0; p < depth; p++)
        for (size_t j = 0; j < COLUMNS; j++)
            panel[p * COLUMNS + j] = j < count ? b[p * row_stride + j * column_stride] : 0.0f;
}

static void multiply(size_t count, size_t depth, const float *panel_a, const float *panel_b,
                     float *c, size_t c_row_stride, bool accumulate)
{
    float chain[ROWS][COLUMNS] = {{0}};
    for (size_t i = 0; i < count && accumulate; i++)
        memcpy(chain[i], c + i * c_row_stride, sizeof(chain[i]));
    for (size_t p = 0; p < depth; p++)
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < COLUMNS; j++)
                chain[i][j] =
                    __builtin_fmaf(panel_a[p * ROWS + i], panel_b[p * COLUMNS + j], chain[i][j]);
    for (size_t i = 0; i < count; i++)
        memcpy(c + i * c_row_stride, chain[i], sizeof(chain[i]));
}

const struct gemm_tile gemm_portable = {
    .rows = ROWS,
    .columns = COLUMNS,
    .k_block = 256,
    .n_block = 256,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .multiply = multiply,
};
