/* model_tensor.h - one tensor of a file, whatever the format of the file, as a parameter's data. */
#ifndef WORKER_ENGINE_NN_MODEL_TENSOR_H
#define WORKER_ENGINE_NN_MODEL_TENSOR_H

#include "worker/engine/nn/model_state.h"

enum { MODEL_TENSOR_RANK_MAX = 8 };

/* As the file has it; data is borrowed from the file's mapping. */
struct model_tensor {
    struct text name;
    enum dtype dtype;
    uint32_t rank;
    uint64_t shape[MODEL_TENSOR_RANK_MAX]; /* outermost first */
    struct span data;                      /* row-major, exactly as long as shape and dtype say */
};

/* Sets p->dtype and p->data: into the file or, where kernels need another form (vectors are f32,
 * plain numbers are aligned), into the model's arena. ERR_SHAPE: not the shape that the config asks
 * for, or rows that are not whole blocks; ERR_OUT_OF_MEMORY. `et` names the tensor. */
MUST_CHECK enum err model_tensor_place(struct model *model, struct model_param *p,
                                       const struct model_tensor *tensor, struct err_text *et);

/* A parameter of the model is in no file. Returns ERR_NOT_FOUND with `name` and what the config
 * says in `et`. */
enum err model_tensor_missing(const struct model *model, const char *name, struct err_text *et);

/* Somebody would train half a model: ERR_SHAPE when `name` is `front`, then `pattern`
 * ("blk.%u.attn_output") up to its "%u", then the number of a layer that the model does not have.
 * `et` names the tensor and the count. Any other name is ERR_OK. */
MUST_CHECK enum err model_tensor_check_layer(const struct model *model, const char *front,
                                             const char *pattern, struct text name,
                                             struct err_text *et);

#endif
