/* model_state.h - what a model is made of, for the files that make one; others read model.h.
 *
 *   model_shape.c   config → sizes and what the config says beyond its family's row
 *   model_params.c  sizes → the list of parameters, without data
 *   model_state.c   config → a model without data
 *   model_files.c   safetensors → their data          } model_tensor.c places
 *   model_gguf.c    GGUF → config, parameters, data   } one tensor
 *   model.c         opening, random start, reading
 */
#ifndef WORKER_ENGINE_NN_MODEL_STATE_H
#define WORKER_ENGINE_NN_MODEL_STATE_H

#include "common/formats/gguf/gguf.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "worker/engine/nn/frequency.h"
#include "worker/engine/nn/model.h"

struct compressed_config;

struct model {
    struct model_shape shape;
    const struct family *family; /* in the arena: what the files hold may differ from the row */
    struct hf_config config;
    struct safetensors files;                   /* owned: zeroed without files */
    struct gguf gguf;                           /* owned: the same */
    const struct compressed_config *compressed; /* in the arena: quantization_config; or NULL */
    struct arena arena;         /* owned: lists, names, gains, weights of a random start */
    struct model_param *params; /* (param_count) */
    size_t param_count;
    size_t layer_params;                          /* parameters of one layer */
    ptrdiff_t indices[MODEL_ROLE_COUNT];          /* of each role in layer 0, or MODEL_NO_PARAM */
    struct frequency_set ropes[MODEL_ROPE_COUNT]; /* without frequencies where there are none */
};

/* A model of `family` (NULL: the config's is unknown) with its list of parameters, without data.
 * Caller owns *out, release with model_destroy. Errors of model_shape_read; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_state_create(const struct hf_config *config, const struct family *family,
                                       struct model **out, struct err_text *et);

#endif
