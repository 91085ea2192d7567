/* task_gram.h - the products of a site's columns over one shard of rows, as an artifact, and the
 * sum of all shards. Internal to task.
 *
 * A safetensors file: gram F64 [triangle] of calibrate_gram.h, sum_abs F64 [columns], max_abs F32
 * [columns]; a note with the number of tokens. Shards are added in their order: their number is
 * decided before the first is computed, so the sum's bits depend on nothing else.
 */
#ifndef WORKER_TASK_TASK_GRAM_H
#define WORKER_TASK_TASK_GRAM_H

#include "worker/engine/calibrate/calibrate.h"
#include "worker/engine/calibrate/calibrate_gram.h"
#include "worker/task/task_run.h"

struct task_gram {
    size_t columns;
    uint64_t tokens;
    struct calibrate_gram gram;
    double *sum_abs; /* in the arena of task_gram_init */
    float *max_abs;
};

/* Nothing yet. ERR_OVERFLOW, ERR_OUT_OF_MEMORY. Release with task_gram_fini. */
MUST_CHECK enum err task_gram_init(struct task_gram *gram, struct kernel *kernel, size_t columns,
                                   struct arena *arena);
void task_gram_fini(struct task_gram *gram); /* a zeroed object is allowed */

/* Adds a row of the shard, seen with sums of |x| and ranges. */
void task_gram_add(struct task_gram *gram, const struct calibrate_leaf *leaf);

/* Hands in the artifact as output `name`. */
MUST_CHECK enum err task_gram_put(struct task_run *run, const struct task_gram *gram,
                                  const char *name, struct err_text *et);

/* Adds the inputs "<prefix>/0", "<prefix>/1", ... in their order. ERR_SHAPE, ERR_FORMAT: not of
 * this site, with the input; ERR_NOT_FOUND: there is none. */
MUST_CHECK enum err task_gram_sum(struct task_run *run, const char *prefix, struct task_gram *gram,
                                  struct err_text *et);

#endif
