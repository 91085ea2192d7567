/* task_run.h - a task in progress: its inputs by role, its outputs, the settings of its job.
 * Internal to task; what every kind is written with.
 */
#ifndef WORKER_TASK_TASK_RUN_H
#define WORKER_TASK_TASK_RUN_H

#include "common/recipe/recipe.h"
#include "worker/task/task.h"
#include "worker/task/task_model.h"

/* As many variants of a job as train at once: their ranks may differ. */
enum { TASK_SESSIONS = LIMIT_VARIANTS_OPEN };

struct task_env {
    struct task_options options;
    struct kernel *f32;  /* owned */
    struct kernel *blas; /* owned; made when a job asks for it */
    struct task_model model;
    struct task_model result;
    struct task_session *sessions[TASK_SESSIONS]; /* owned; the last one used comes first */
};

struct task_run {
    struct task_env *env;
    const struct task_call *call;
    const struct task_spec *spec;
    struct recipe recipe;       /* owned; of the spec's variant */
    struct arena *arena;        /* of the result */
    struct task_result *result; /* being filled */
    uint32_t output_capacity;
};

/* Opens the recipe. Release with task_run_fini. */
MUST_CHECK enum err task_run_init(struct task_run *run, struct task_env *env,
                                  const struct task_call *call, struct arena *arena,
                                  struct task_result *result, struct err_text *et);
void task_run_fini(struct task_run *run);

/* The input of this name; NULL when there is none. */
const struct artifact_ref *task_run_input(const struct task_run *run, const char *name);

/* The first input whose name begins with `prefix`; NULL when there is none. */
const struct artifact_ref *task_run_input_under(const struct task_run *run, const char *prefix);

/* Opens the input of this name; ERR_NOT_FOUND when the task was given none. Release with
 * cache_release. */
MUST_CHECK enum err task_run_open(struct task_run *run, const char *name,
                                  const struct cache_item **out, struct err_text *et);

/* Gives the coordinator an output. `name` is copied. */
MUST_CHECK enum err task_run_output(struct task_run *run, const char *name, struct span content,
                                    bool ephemeral, struct err_text *et);
MUST_CHECK enum err task_run_fact(struct task_run *run, const char *name, uint64_t value);

/* ERR_CANCELLED when the task shall stop. */
MUST_CHECK enum err task_run_progress(struct task_run *run, uint64_t done, uint64_t total);

/* The kernel of the spec's profile. ERR_PROFILE: unknown. Borrowed from the env. */
MUST_CHECK enum err task_run_kernel(struct task_run *run, struct kernel **out, struct err_text *et);

#endif
