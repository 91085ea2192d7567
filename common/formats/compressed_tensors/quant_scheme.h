/* quant_scheme.h - how compressed-tensors files say what a linear layer's integers mean.
 *
 *   value of a weight = scale * (code - zero)    codes in [-2^(bits-1), 2^(bits-1) - 1]
 *
 * The presets are the rows of quant_scheme.def. Refuses to know: how scales are found.
 */
#ifndef COMMON_FORMATS_COMPRESSED_TENSORS_QUANT_SCHEME_H
#define COMMON_FORMATS_COMPRESSED_TENSORS_QUANT_SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

/* What shares a scale and a zero point: the matrix; a row; group_size columns of a row; block_rows
 * times group_size elements. */
enum quant_scheme_strategy {
    QUANT_SCHEME_TENSOR,
    QUANT_SCHEME_CHANNEL,
    QUANT_SCHEME_GROUP,
    QUANT_SCHEME_BLOCK,
};

/* "int-quantized": a weight a byte; "pack-quantized": weights dense in 32-bit words. */
enum quant_scheme_layout { QUANT_SCHEME_INT, QUANT_SCHEME_PACKED };

/* How a linear layer's input is rounded when it runs, to 8 bits and symmetric: not at all; by a
 * scale of each token's own, found then; by one scale that the file gives. */
enum quant_scheme_input {
    QUANT_SCHEME_INPUT_PLAIN,
    QUANT_SCHEME_INPUT_TOKEN,
    QUANT_SCHEME_INPUT_STATIC,
};

enum { QUANT_SCHEME_BITS_MIN = 2, QUANT_SCHEME_BITS_MAX = 8 };

struct quant_scheme {
    unsigned bits; /* QUANT_SCHEME_BITS_MIN..QUANT_SCHEME_BITS_MAX */
    bool symmetric;
    enum quant_scheme_strategy strategy;
    uint32_t group_size; /* columns of a GROUP or BLOCK, else 0 */
    uint32_t block_rows; /* rows of a BLOCK, else 0 */
    enum quant_scheme_layout layout;
    enum quant_scheme_input input;
};

/* The preset of that name, "W4A16", or "INT8" for W8A8; case does not matter. False: none. */
bool quant_scheme_named(struct text name, struct quant_scheme *out);

/* Names of the presets, in the table's order; NULL from their count on. Static strings. */
const char *quant_scheme_name(size_t index);

/* "int-quantized". Static string. */
const char *quant_scheme_layout_name(enum quant_scheme_layout layout);

/* Scales of a matrix, (down, across) row-major. False when rows or columns are not whole groups or
 * blocks, or there are none. */
bool quant_scheme_cells(const struct quant_scheme *scheme, uint64_t rows, uint64_t columns,
                        uint64_t *down, uint64_t *across);

#endif
