/* task_choices.h - which tensor becomes what: the artifact between choosing and quantizing.
 *
 * JSON, in the order of the result's tensors; entry i is what task i of the stage makes:
 *
 *   {"form": "gguf", "scheme": "Q4_K_M", "tensors": [{"name": "blk.0.attn_q.weight",
 *    "format": "Q4_K", "rows": 256, "columns": 256, "size_bytes": 36864}, ...]}
 *
 * Internal to task.
 */
#ifndef WORKER_TASK_TASK_CHOICES_H
#define WORKER_TASK_TASK_CHOICES_H

#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "worker/task/task_run.h"

struct task_choice {
    struct text name;   /* of the tensor, in the words of the result's format */
    struct text format; /* a block format, or a scheme */
    uint64_t rows, columns;
    uint64_t size_bytes; /* in the result */
};

struct task_choices {
    struct text form;   /* "gguf", "compressed-tensors", "bitsandbytes" */
    struct text scheme; /* the recipe's, or "target" */
    const struct task_choice *items;
    size_t count;
};

/* Appends the artifact. */
MUST_CHECK enum err task_choices_write(const struct task_choices *choices, struct bytes *out);

/* Reads the run's input "choices" into `arena`. ERR_FORMAT with the field. */
MUST_CHECK enum err task_choices_read(struct task_run *run, struct arena *arena,
                                      struct task_choices *out, struct err_text *et);

#endif
