/* compute.h - the one thread that runs tasks, beside the loop that speaks to the coordinator.
 *
 * The two meet here and nowhere else: a task goes in, progress and an outcome come out, `notify` is
 * called on the compute thread when there is something to take. Computing never delays a heartbeat.
 */
#ifndef WORKER_LOOP_COMPUTE_H
#define WORKER_LOOP_COMPUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "worker/cache/cache.h"
#include "worker/task/task.h"

struct compute;

struct compute_options {
    struct task_env *env; /* borrowed; used on the compute thread alone once it runs */
    struct cache *cache;  /* borrowed; likewise, except for cancelling */
    void (*notify)(void *context);
    void *context;
};

/* What the thread has to say. */
struct compute_report {
    uint64_t fence;
    uint64_t done, total; /* progress of the running task */
    bool finished;        /* the task ended; the rest is its outcome */
    enum err error;
    struct text detail;        /* with `result` borrowed until the next start */
    struct task_result result; /* empty after an error */
};

MUST_CHECK enum err compute_create(const struct compute_options *options, struct compute **out);

/* Stops the running task and joins the thread. */
void compute_destroy(struct compute **compute);

/* Runs a task. Nothing else may run. `spec` is borrowed until its outcome is taken. */
void compute_start(struct compute *compute, uint64_t fence, const struct task_spec *spec,
                   struct text bulk_endpoint);

/* The task of this fence shall end soon; its outcome still comes. */
void compute_stop(struct compute *compute, uint64_t fence);

/* Takes what is new since the last call; false when nothing is. An outcome is taken once. */
bool compute_take(struct compute *compute, struct compute_report *out);

#endif
