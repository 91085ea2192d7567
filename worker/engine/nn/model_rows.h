/* model_rows.h - rows of quantized layers in the engine's own blocks.
 *
 * 32 codes with their scale, 5 to 9.25 bits a weight, as quant/block_grid.inc draws them. A layer
 * whose cells or rows are not whole blocks of 32 is f32: the same values, more room.
 */
#ifndef WORKER_ENGINE_NN_MODEL_ROWS_H
#define WORKER_ENGINE_NN_MODEL_ROWS_H

#include "common/formats/bitsandbytes/bnb_linear.h"
#include "worker/engine/tensor/dtype.h"

/* The type of a layer with integer codes of so many bits in cells so many columns wide; of one in
 * four bits whose levels are `levels`. */
enum dtype model_rows_grid_dtype(unsigned bits, size_t cell_columns);
enum dtype model_rows_levels_dtype(enum bnb_code_type type, const float levels[BNB_CODE_LEVELS],
                                   size_t columns);

/* A row of integers with a scale and a zero for each cell. */
struct model_rows_grid {
    size_t columns, cell_columns;
    const int8_t *codes; /* (columns) */
    const float *scales; /* (columns / cell_columns) */
    const int8_t *zeros; /* the same */
};

/* Writes a row in `dtype`, of either function above. */
void model_rows_put_grid(enum dtype dtype, const struct model_rows_grid *row, void *to);
void model_rows_put_levels(enum dtype dtype, const struct bnb_linear_view *view, size_t row,
                           void *to);

#endif
