/* task_merge_tensor.h - one tensor of a merged model, as its file has it. Internal to task. */
#ifndef WORKER_TASK_TASK_MERGE_TENSOR_H
#define WORKER_TASK_TASK_MERGE_TENSOR_H

#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"
#include "worker/engine/train/train_merge.h"

struct task_merge_tensor {
    const struct safetensor *tensor; /* name, type and shape that it shall have */
    const struct train_merge *merge;
    size_t param;
    bool turned;  /* the file has (columns, rows) */
    bool is_gain; /* then `offset` is added: what the model's gains lack and the file's have */
    float offset;
};

/* Sends the values in the tensor's type, some rows at a time; a turned one as a whole.
 * ERR_NOT_FINITE: `et` names a value that the type cannot hold; ERR_OUT_OF_MEMORY; the sink's
 * errors. */
MUST_CHECK enum err task_merge_tensor_send(const struct task_merge_tensor *t, file_sink_f sink,
                                           void *context, struct err_text *et);

/* The engine's name of a plain type of safetensors files; DTYPE_COUNT: it is none. */
enum dtype task_merge_tensor_type(enum safetensors_dtype dtype);

#endif
