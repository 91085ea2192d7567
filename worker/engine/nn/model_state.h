/* model_state.h - what a model is made of, for the files that make one; others read model.h.
 *
 *   model_shape.c   config → sizes and what the config says beyond its family's row
 *   model_params.c  sizes → the list of parameters, without data
 *   model_files.c   safetensors → their data
 *   model.c         opening, random start, reading
 */
#ifndef WORKER_ENGINE_NN_MODEL_STATE_H
#define WORKER_ENGINE_NN_MODEL_STATE_H

#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "worker/engine/nn/frequency.h"
#include "worker/engine/nn/model.h"

struct model {
    struct model_shape shape;
    const struct family *family;
    struct hf_config config;
    struct safetensors files;   /* owned: zeroed without files */
    struct arena arena;         /* owned: lists, names, gains, weights of a random start */
    struct model_param *params; /* (param_count) */
    size_t param_count;
    size_t layer_params;                          /* parameters of one layer */
    ptrdiff_t indices[MODEL_ROLE_COUNT];          /* of each role in layer 0, or MODEL_NO_PARAM */
    struct frequency_set ropes[MODEL_ROPE_COUNT]; /* without frequencies where there are none */
};

#endif
