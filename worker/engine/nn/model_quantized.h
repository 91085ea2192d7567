/* model_quantized.h - the quantized linear layers of a folder, as rows of the engine's own blocks.
 *
 * Files keep codes, scales and zero points in tensors apart, packed in words (compressed-tensors)
 * or over the flattened matrix (bitsandbytes). Products read rows of blocks, so layers are laid out
 * anew when the model is opened: 32 codes with their scale, 5 to 9.25 bits a weight, whose values
 * are scale * (code - zero) or scale * level in f32. Layers whose groups or rows are not whole
 * blocks become f32.
 */
#ifndef WORKER_ENGINE_NN_MODEL_QUANTIZED_H
#define WORKER_ENGINE_NN_MODEL_QUANTIZED_H

#include "worker/engine/nn/model_state.h"

/* Whether the config says that linear layers are quantized, ternary ones aside. */
bool model_quantized_is(const struct model *model);

/* Reads what the model's quantization_config, in the file at `path`, says of its layers; nothing
 * where there is none to read. Errors of compressed_config_read. */
MUST_CHECK enum err model_quantized_open(struct model *model, const char *path,
                                         struct err_text *et);

/* Takes the data of a parameter that is a quantized layer. *taken is false for all others.
 * ERR_NOT_FOUND, ERR_SHAPE, ERR_UNSUPPORTED, ERR_FORMAT: `et` names the tensor.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_quantized_take(struct model *model, struct model_param *p, bool *taken,
                                         struct err_text *et);

#endif
