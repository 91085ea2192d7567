/* grid.h - matrices on integer grids: a scale and a zero point for each cell of a matrix.
 *
 *   value = scale * (code - zero)      codes and zeros in [-2^(bits-1), 2^(bits-1) - 1]
 *   code  = round(clamp(x / scale + zero)), halves to even
 *
 *   strategy   a cell is                              cells (down, across) of a (rows, columns)
 *   TENSOR     the matrix                             1, 1
 *   CHANNEL    a row                                  rows, 1
 *   GROUP      group_size columns of a row            rows, columns / group_size
 *   BLOCK      block_rows x group_size elements       rows / block_rows, columns / group_size
 *
 * The rules are those of compressed-tensors (calculate_qparams, fake_quantize): a range always
 * holds 0; symmetric scale = max|x| / ((2^bits - 1) / 2), affine scale = (max - min) / (2^bits - 1)
 * and zero = round(clamp(lowest - min / scale)); a scale of 0 becomes the epsilon of its type. Ours
 * alone: a scale is rounded to the type that the file stores before zero points, codes and errors
 * are taken from it, so that a file says exactly what was searched for.
 *
 * All arithmetic is f32 without fused operations in an order that depends on the cell alone: the
 * same bits on every machine, however rows are spread over tasks and threads. Inputs are finite:
 * whoever reads them has checked. Refuses to know: files, layers, threads.
 */
#ifndef WORKER_ENGINE_QUANT_GRID_H
#define WORKER_ENGINE_QUANT_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "schemas/quant_scheme.def"
#include "worker/engine/tensor/dtype.h"

enum grid_strategy { GRID_TENSOR, GRID_CHANNEL, GRID_GROUP, GRID_BLOCK };

/* How a cell's range is chosen from its values. Both searches try (1 - i / steps) of the full range
 * for i = 0, 1, ... and keep the first with the least error (llm-compressor's observers):
 *   MINMAX      the full range
 *   MSE         least sum of |value - x|^2.4 for i below 20 of 100: down to 0.81
 *   IMPORTANCE  least sum of importance * |value - x|^3 for i below 20 of 20: down to 0.05; without
 *               importance, of |value - x|^3
 * There is no early end ("patience" there ends the search of a whole tensor): a cell's choice would
 * depend on other cells. */
enum grid_range { GRID_MINMAX, GRID_MSE, GRID_IMPORTANCE };

enum { GRID_BITS_MIN = 2, GRID_BITS_MAX = 8 };

struct grid_scheme {
    unsigned bits; /* GRID_BITS_MIN..GRID_BITS_MAX */
    bool symmetric;
    enum grid_strategy strategy;
    size_t group_size; /* columns of a GROUP or BLOCK */
    size_t block_rows; /* rows of a BLOCK */
    enum grid_range range;
    enum dtype scale_dtype; /* F32, F16 or BF16: what files store */
};

/* The presets of quant_scheme.def, in its order; names are for formats and recipes. */
enum grid_preset {
#define GRID_PRESET_ENUM(id, bits, symmetric, strategy, group_size, input_bits, layout)            \
    GRID_PRESET_##id,
    QUANT_SCHEME_ROWS(GRID_PRESET_ENUM)
#undef GRID_PRESET_ENUM
        GRID_PRESET_COUNT
};

/* The preset's weights, with MINMAX and BF16 scales. */
struct grid_scheme grid_preset_scheme(enum grid_preset preset);

/* Whether the scheme can be used on matrices of this shape. ERR_UNSUPPORTED: bits, type of scales;
 * ERR_SHAPE: columns or rows are not whole groups or blocks (compressed-tensors' runtimes refuse
 * short last groups too), or the matrix is empty. `et` says so with `name`, the tensor's. */
MUST_CHECK enum err grid_check(const struct grid_scheme *scheme, size_t rows, size_t columns,
                               const char *name, struct err_text *et);

/* Lowest and highest code. */
static inline int grid_code_min(const struct grid_scheme *scheme)
{
    return -(1 << (scheme->bits - 1));
}

static inline int grid_code_max(const struct grid_scheme *scheme)
{
    return (1 << (scheme->bits - 1)) - 1;
}

/* The whole number nearest to v, halves to even, after clamping to [lowest, highest], which lie
 * within +-2^21. A NaN becomes some number of the range. */
static inline float grid_round(float v, float lowest, float highest)
{
    const float last = 0x1.8p23f; /* its last place is 1 */
    float inside = v > lowest ? v : lowest;
    inside = inside < highest ? inside : highest;
    return inside + last - last;
}

/* ---- one cell ---- */

struct grid_cell {
    float scale; /* > 0, exactly representable in scale_dtype */
    int zero;    /* 0 when symmetric */
};

/* The number of the type (F32, F16 or BF16) nearest to a scale >= 0, ties to even, never infinite;
 * where that is 0, the distance from 1 to the type's next number. */
float grid_stored_scale(enum dtype dtype, float scale);

/* The cell that covers [min, max] and 0. */
struct grid_cell grid_cell_of_range(const struct grid_scheme *scheme, float min, float max);

/* The cell of `rows` runs of `columns` values, `stride` elements from one run to the next, chosen
 * as scheme->range says. importance: (columns), each finite and >= 0, or NULL. */
struct grid_cell grid_cell_find(const struct grid_scheme *scheme, size_t rows, size_t columns,
                                size_t stride, const float *x, const float *importance);

/* The code of a value and the value of a code. */
int grid_cell_code(const struct grid_scheme *scheme, struct grid_cell cell, float x);

static inline float grid_cell_value(struct grid_cell cell, int code)
{
    return cell.scale * (float)(code - cell.zero);
}

/* codes[i] = code of x[i]; values[i] = value of codes[i]. */
void grid_cell_encode(const struct grid_scheme *scheme, struct grid_cell cell, size_t count,
                      const float *x, int8_t *codes);
void grid_cell_decode(struct grid_cell cell, size_t count, const int8_t *codes, float *values);

/* ---- a matrix ---- */

/* Cells of a matrix, (down, across) row-major. Codes are kept by the caller: (rows, columns). */
struct grid {
    struct grid_scheme scheme;
    size_t rows, columns;
    size_t down, across;
    size_t cell_rows, cell_columns;
    float *scales; /* owned */
    int8_t *zeros; /* owned; all 0 when symmetric */
};

/* All scales 0 until they are found or set. Errors as grid_check, or ERR_OUT_OF_MEMORY; *grid is
 * then untouched. */
MUST_CHECK enum err grid_init(struct grid *grid, const struct grid_scheme *scheme, size_t rows,
                              size_t columns, const char *name, struct err_text *et);
void grid_fini(struct grid *grid); /* a zeroed object is allowed */

static inline struct grid_cell grid_at(const struct grid *grid, size_t row, size_t column)
{
    size_t at = row / grid->cell_rows * grid->across + column / grid->cell_columns;
    return (struct grid_cell){grid->scales[at], grid->zeros[at]};
}

/* For the cell that holds (row, column). */
void grid_set(struct grid *grid, size_t row, size_t column, struct grid_cell cell);

/* Finds the cells of line `line` of `down` (rows line * cell_rows on) from w (rows, columns), or of
 * all lines. importance: (columns) or NULL. Lines are independent of each other. */
void grid_find_line(struct grid *grid, size_t line, const float *w, const float *importance);
void grid_find(struct grid *grid, const float *w, const float *importance);

/* One row: codes from x and values from codes, each (columns). x may be values. */
void grid_encode_row(const struct grid *grid, size_t row, const float *x, int8_t *codes);
void grid_decode_row(const struct grid *grid, size_t row, const int8_t *codes, float *values);

#endif
