/* bnb_linear.h - the tensors that a linear layer is in a file of bitsandbytes' four-bit types.
 *
 *   M.weight                                 U8 ((elements + 1) / 2, 1): bnb_code.h
 *   M.weight.absmax                          F32 (blocks), or U8 with nested scales
 *   M.weight.quant_map                       F32 (16): the levels
 *   M.weight.nested_absmax                   F32 (blocks / 256, up)     } nested
 *   M.weight.nested_quant_map                F32 (256)                  } scales
 *   M.weight.quant_state.bitsandbytes__nf4   U8: JSON text, "quant_type", "blocksize", "dtype",
 *                                            "shape", "nested_blocksize", ..., "nested_offset"
 *
 * A scale of nested ones is level * nested_absmax + offset. Refuses to know: files.
 */
#ifndef COMMON_FORMATS_BITSANDBYTES_BNB_LINEAR_H
#define COMMON_FORMATS_BITSANDBYTES_BNB_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/formats/bitsandbytes/bnb_code.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { BNB_LINEAR_BLOCK = 64, BNB_LINEAR_TENSORS_MAX = 6 };

struct bnb_linear {
    enum bnb_code_type type;
    bool nested;
    uint32_t block_size;           /* a power of two, 32 to 4096 */
    enum safetensors_dtype before; /* of the weights: F32, F16 or BF16; what readers make of them */
    uint64_t rows, columns;
};

struct bnb_linear_tensors {
    struct safetensor tensors[BNB_LINEAR_TENSORS_MAX];
    size_t count;
};

/* Codes the matrix w (rows, columns) of finite numbers; names and data are in the arena. The
 * scales' mean is their f64 sum in order, divided, in f32. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err bnb_linear_encode(const struct bnb_linear *linear, const char *module,
                                      const float *w, struct arena *arena,
                                      struct bnb_linear_tensors *out);

/* Appends the quantization_config of config.json. skipped: names of linear layers that stay plain.
 * ERR_FORMAT: a name is not UTF-8; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err bnb_linear_config(const struct bnb_linear *linear, const struct text *skipped,
                                      size_t skipped_count, struct bytes *out);

/* A layer in an open file; spans are borrowed from it. */
struct bnb_linear_view {
    struct bnb_linear linear;
    struct span codes;
    float levels[BNB_CODE_LEVELS];
    struct span absmax;        /* f32, or codes */
    struct span nested_absmax; /* f32 */
    float nested_levels[BNB_CODE_NESTED_LEVELS];
    uint32_t nested_block_size;
    float nested_offset;
};

/* Whether layer `module` of the file is of this kind: a weight in U8 with a quant_map. */
bool bnb_linear_is(const struct safetensors *files, const char *module);

/* Finds the tensors of `module` and checks them against (rows, columns) and each other.
 * ERR_NOT_FOUND, ERR_SHAPE, ERR_UNSUPPORTED, ERR_FORMAT: `et` names the tensor, what was expected
 * and what was found. On failure *view is untouched. */
MUST_CHECK enum err bnb_linear_find(const struct safetensors *files, const char *module,
                                    uint64_t rows, uint64_t columns, struct bnb_linear_view *view,
                                    struct err_text *et);

/* The scale of a block. */
float bnb_linear_absmax(const struct bnb_linear_view *view, uint64_t block);

/* The code of element `index` of the flattened matrix. */
static inline unsigned bnb_linear_code(const struct bnb_linear_view *view, uint64_t index)
{
    return index % 2 == 0 ? view->codes.data[index / 2] >> 4 : view->codes.data[index / 2] & 15u;
}

#endif
