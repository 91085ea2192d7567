/* task_figures.h - what quantizing some tensors cost, and the hashes of what came out: the artifact
 * that verify and report read beside the tensors themselves.
 *
 *   {"tensors": [{"tensor": ..., "format": ..., "rows": ..., "columns": ..., "size_bytes": ...,
 *     "bits_per_weight": ..., "relative_error": ..., "weighted_error": ..., "max_error": ...,
 *     "output_error": ..., "parts": [{"name": ..., "digest": ...}, ...]}, ...]}
 *
 * Internal to task.
 */
#ifndef WORKER_TASK_TASK_FIGURES_H
#define WORKER_TASK_TASK_FIGURES_H

#include "common/formats/safetensors/safetensors.h"
#include "worker/engine/quant/tensor_error.h"
#include "worker/task/task_run.h"

struct task_figure {
    struct text tensor, format;
    uint64_t rows, columns;
    uint64_t size_bytes;            /* of all parts */
    struct tensor_error error;      /* count 0: not known */
    double output_error;            /* of gram_error over that of w' = 0; below 0: not known */
    const struct safetensor *parts; /* what of it lies in the result */
    size_t part_count;
};

/* Hands in the output "figures". */
MUST_CHECK enum err task_figures_put(struct task_run *run, const struct task_figure *figures,
                                     size_t count, struct err_text *et);

#endif
