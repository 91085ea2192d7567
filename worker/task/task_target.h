/* task_target.h - `quantize: {target_bpw}` and `{target_kl}`: what may be chosen for each tensor of
 * the file, what was measured of it, and the choice. Internal to task.
 *
 * A job has one task of the stage sensitivity for each tensor that has a choice: all matrices of
 * the GGUF form, in its order, but those whose format the recipe names or whose width no blocks
 * divide. A task's artifact "sensitivity":
 *
 *   {"name": "blk.0.attn_q.weight", "rows": 256, "columns": 256, "tokens": 4096,
 *    "candidates": [{"format": "Q2_K", "size_bytes": 21504, "kl": 0.0043, "kl_max": 0.21,
 *    "relative_error": 0.09, "weighted_error": 0.07}, ...]}
 *
 * kl is the mean over the tokens, the rest of the model as it was.
 */
#ifndef WORKER_TASK_TASK_TARGET_H
#define WORKER_TASK_TASK_TARGET_H

#include "worker/engine/quant/tensor_error.h"
#include "worker/task/task_gguf.h"

struct task_target_candidate {
    enum block_format format;
    uint64_t size_bytes;
    double kl, kl_max;
    double relative_error, weighted_error; /* of tensor_error.h */
};

struct task_target_tensor {
    struct text name;
    uint64_t rows, columns;
    uint64_t tokens; /* that were looked at; 0: nothing was measured, its one candidate is given */
    size_t count;
    struct task_target_candidate candidates[CONVERT_MIX_CANDIDATES_MAX];
};

/* Indices of the form's tensors that have a choice, in its order, in `arena`. ERR_RECIPE: there are
 * none. */
MUST_CHECK enum err task_target_list(const struct task_gguf *gguf, struct arena *arena,
                                     size_t **indices, size_t *count, struct err_text *et);

/* Tells the coordinator how many tasks measure. */
MUST_CHECK enum err task_target_tell(struct task_run *run, struct err_text *et);

/* Name, sizes and formats of what may become of tensor `index`; nothing measured. Borrows the name
 * from the form. */
void task_target_outline(const struct task_gguf *gguf, size_t index,
                         struct task_target_tensor *out);

/* Appends the artifact "sensitivity"; reads that of one task, text in `arena`. */
MUST_CHECK enum err task_target_write(const struct task_target_tensor *tensor, struct bytes *out);
MUST_CHECK enum err task_target_read(struct task_run *run, const char *name, struct arena *arena,
                                     struct task_target_tensor *out, struct err_text *et);

/* From all sensitivities the choices of the recipe's target. Hands in "target", the table of what
 * was measured and chosen. ERR_RECIPE: a target that cannot be reached, with what can. */
MUST_CHECK enum err task_target_choose(struct task_run *run, struct arena *arena,
                                       struct task_choices *out, struct err_text *et);

#endif
