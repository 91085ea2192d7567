/* task.h - what a worker computes: one function a kind of stage, behind one call.
 *
 * A task reads artifacts through the cache, computes with the engine, gives its outputs to the
 * coordinator and says what it made. What is costly to open (the model, the rows) stays open for
 * the next task of the same job. A task's outputs are a function of its spec alone: no worker,
 * thread count or time has a say.
 *
 * Belongs to the compute thread. Refuses to know: sockets, leases, the session.
 */
#ifndef WORKER_TASK_TASK_H
#define WORKER_TASK_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/digest/digest.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "worker/cache/cache.h"
#include "worker/engine/kernel/kernel.h"

struct task_env;

struct task_options {
    struct cache *cache; /* borrowed */
    enum kernel_isa isa;
    unsigned threads;
    uint64_t memory_bytes; /* fewer rows run at once when they would need more than that */
};

/* Units done of how many. Returns false when the task shall stop: it then ends with ERR_CANCELLED.
 */
typedef bool (*task_progress_f)(void *context, uint64_t done, uint64_t total);

struct task_call {
    const struct task_spec *spec; /* borrowed for the call */
    task_progress_f progress;
    void *context;
};

/* Makes the kernels of profile f32/1. ERR_UNSUPPORTED: this processor lacks the instruction set. */
MUST_CHECK enum err task_env_create(const struct task_options *options, struct task_env **out);
void task_env_destroy(struct task_env **env);

/* "avx512", "avx2" or "portable". Borrowed until destroy. */
const char *task_env_isa(const struct task_env *env);

/* Digest of the known-answer tests of f32/1, each kernel alone and a whole training step: workers
 * whose digests differ never share a stage. */
MUST_CHECK enum err task_env_known_answer(struct task_env *env, struct digest *out);

/* Runs one task. *result lives in `arena`. Any error of what it uses, with the place in `et`:
 * classes of error.def say whether trying again can help. On an error nothing is in *result. */
MUST_CHECK enum err task_execute(struct task_env *env, const struct task_call *call,
                                 struct arena *arena, struct task_result *result,
                                 struct err_text *et);

#endif
