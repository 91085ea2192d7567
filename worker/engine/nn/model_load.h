/* model_load.h - linear layers that are quantized while a model is opened.
 *
 * load_in_4bit and load_in_8bit, as users of transformers know them: the files hold numbers, the
 * model that is open holds blocks. Layer by layer a matrix is read, encoded and forgotten, and the
 * pages of its file are given back, so that opening needs the memory of the result and of one
 * layer. All linear layers of the transformer's blocks are taken; embedding and head stay, and so
 * does what is quantized already (GGUF's blocks, quantized folders, ternary weights).
 *
 *   weights   the model is, bit for bit, the one that opens from the folder that a recipe writes by
 *   NF4, FP4  quantize: {scheme: NF4, double_quant: ...}: blocks of 64 of the flattened matrix
 *   INT8      quantize: {scheme: W8A16, strategy: channel}: a scale for each output
 *
 * Refuses to know: what such a folder looks like, recipes.
 */
#ifndef WORKER_ENGINE_NN_MODEL_LOAD_H
#define WORKER_ENGINE_NN_MODEL_LOAD_H

#include <stdbool.h>

#include "worker/engine/nn/model.h"

enum model_load_weights {
    MODEL_LOAD_AS_STORED,
    MODEL_LOAD_NF4,
    MODEL_LOAD_FP4,
    MODEL_LOAD_INT8,
};

struct model_load {
    enum model_load_weights weights;
    bool double_quant;     /* NF4, FP4: the scales are quantized themselves */
    struct kernel *kernel; /* whose threads encode; NULL: the caller's alone. Never changes a bit.
                              Borrowed for the call */
};

/* What INT8 and the integer schemes of folders store scales in: the type of the weights around
 * them. */
enum dtype model_load_scale_dtype(const struct model *model);

/* Quantizes a parameter that has just been placed, where `load` (or NULL) asks for it; *taken says
 * so: then nothing points to the tensor in the file any more. For the files that open models.
 * ERR_NOT_FINITE: `et` names tensor, row and column; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_load_take(struct model *model, struct model_param *p,
                                    const struct model_load *load, bool *taken,
                                    struct err_text *et);

#endif
