/* compressed_linear.h - the tensors that a quantized linear layer is in a compressed-tensors file.
 *
 *   int-quantized    M.weight             I8  (rows, columns)
 *   pack-quantized   M.weight_packed      I32 (rows, words of a row)    packed_int.h
 *                    M.weight_shape       I64 (2): rows, columns
 *   both             M.weight_scale       BF16, F16 or F32, (cells down, cells across); (1) TENSOR
 *   affine           M.weight_zero_point  I8, shape of the scales; packed along the rows, I32, with
 *                                         pack-quantized GROUP and CHANNEL
 *   static input     M.input_scale        (1), type of the scales
 *
 * M is the layer's name. A row is an output. Refuses to know: how codes are found, files.
 */
#ifndef COMMON_FORMATS_COMPRESSED_TENSORS_COMPRESSED_LINEAR_H
#define COMMON_FORMATS_COMPRESSED_TENSORS_COMPRESSED_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "common/formats/compressed_tensors/quant_scheme.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"

struct compressed_linear {
    struct quant_scheme scheme;
    uint64_t rows, columns;
    enum safetensors_dtype scale_dtype; /* BF16, F16 or F32 */
};

enum { COMPRESSED_LINEAR_TENSORS_MAX = 5 };

struct compressed_linear_tensors {
    struct safetensor tensors[COMPRESSED_LINEAR_TENSORS_MAX];
    size_t count;
};

/* Names, types, shapes and sizes of the tensors of layer `module`; data.data is NULL, names are in
 * the arena. ERR_SHAPE: the matrix is not whole groups or blocks; ERR_UNSUPPORTED: bits, type of
 * scales. `et` names the layer. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err compressed_linear_list(const struct compressed_linear *linear,
                                           const char *module, struct arena *arena,
                                           struct compressed_linear_tensors *out,
                                           struct err_text *et);

/* What was found for a matrix. */
struct compressed_linear_values {
    const int8_t *codes; /* (rows, columns), in the range of the bits */
    const float *scales; /* cells; each a number of scale_dtype (asserted) */
    const int8_t *zeros; /* cells, in the range of the bits; not looked at when symmetric */
    float input_scale;   /* of a static input */
};

/* As compressed_linear_list, with the data in the arena. */
MUST_CHECK enum err
compressed_linear_encode(const struct compressed_linear *linear, const char *module,
                         const struct compressed_linear_values *values, struct arena *arena,
                         struct compressed_linear_tensors *out, struct err_text *et);

/* A layer in an open file; spans are borrowed from it. */
struct compressed_linear_view {
    struct compressed_linear linear;
    struct span codes, scales, zeros; /* zeros.data NULL when symmetric */
    bool packed_zeros;
    float input_scale; /* finite and > 0 for a static input, else 0 */
};

/* Whether the file has a quantized form of layer `module`: weight_packed, or a weight in I8. */
bool compressed_linear_is(const struct safetensors *files, const char *module);

/* Finds the tensors of `module`, whose scheme the file's config gives, and checks them against
 * (rows, columns). ERR_NOT_FOUND: a tensor is missing; ERR_SHAPE, ERR_UNSUPPORTED (type, groups of
 * reordered columns),
 * ERR_FORMAT: scales that are not finite or not above 0. `et` names the tensor, what was expected
 * and what was found. On failure *view is untouched. */
MUST_CHECK enum err compressed_linear_find(const struct safetensors *files, const char *module,
                                           const struct quant_scheme *scheme, uint64_t rows,
                                           uint64_t columns, struct compressed_linear_view *view,
                                           struct err_text *et);

/* Codes of a row, (columns), as the file has them. */
void compressed_linear_codes(const struct compressed_linear_view *view, uint64_t row,
                             int8_t *codes);

/* Scale and zero point of each cell of the line of cells that holds `row`, (across). */
void compressed_linear_cells(const struct compressed_linear_view *view, uint64_t row, float *scales,
                             int8_t *zeros);

#endif
