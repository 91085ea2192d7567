/* task.c - the table of kinds, and what they share. */
#include "worker/task/task.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "common/numeric/float_rules.h"
#include "worker/engine/train/train_known_answer.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_session.h"

typedef enum err (*task_kind_f)(struct task_run *run, struct err_text *et);

static const task_kind_f task_kinds[STAGE_KIND_COUNT] = {
    [STAGE_KIND_PREPARE] = task_kind_prepare,     [STAGE_KIND_PACK] = task_kind_pack,
    [STAGE_KIND_INIT] = task_kind_init,           [STAGE_KIND_TRAIN] = task_kind_train,
    [STAGE_KIND_EVALUATE] = task_kind_evaluate,   [STAGE_KIND_EXPORT] = task_kind_export,
    [STAGE_KIND_CALIBRATE] = task_kind_calibrate, [STAGE_KIND_REDUCE] = task_kind_reduce,
    [STAGE_KIND_CHOOSE] = task_kind_choose,       [STAGE_KIND_QUANTIZE] = task_kind_quantize,
    [STAGE_KIND_ASSEMBLE] = task_kind_assemble,   [STAGE_KIND_VERIFY] = task_kind_verify,
    [STAGE_KIND_REPLAY] = task_kind_replay,       [STAGE_KIND_COMPARE] = task_kind_compare,
    [STAGE_KIND_REPORT] = task_kind_report,       [STAGE_KIND_SENSITIVITY] = task_kind_sensitivity,
    [STAGE_KIND_MERGE] = task_kind_merge,         [STAGE_KIND_MEASURE] = task_kind_measure,
    [STAGE_KIND_REFERENCE] = task_kind_reference,
};

enum err task_env_create(const struct task_options *options, struct task_env **out)
{
    struct task_env *env = mem_alloc(1, sizeof *env);
    if (env == NULL)
        return ERR_OUT_OF_MEMORY;
    env->options = *options;
    enum err err = kernel_create(KERNEL_PROFILE_F32, options->isa, options->threads, &env->f32);
    if (err != ERR_OK) {
        mem_free(env);
        return err;
    }
    *out = env;
    return ERR_OK;
}

void task_env_destroy(struct task_env **env)
{
    if (*env == NULL)
        return;
    task_session_close_all(*env);
    task_model_close(&(*env)->result, (*env)->options.cache);
    task_model_close(&(*env)->model, (*env)->options.cache);
    kernel_destroy(&(*env)->f32);
    kernel_destroy(&(*env)->blas);
    mem_free(*env);
    *env = NULL;
}

const char *task_env_isa(const struct task_env *env)
{
    const char *space = strrchr(kernel_name(env->f32), ' '); /* "f32/1 avx512" */
    return space != NULL ? space + 1 : kernel_name(env->f32);
}

enum err task_env_known_answer(struct task_env *env, struct digest *out)
{
    enum { SIZE = KERNEL_KNOWN_ANSWER_BYTES + TRAIN_KNOWN_ANSWER_BYTES };
    uint8_t *answer = mem_alloc(SIZE, 1);
    if (answer == NULL)
        return ERR_OUT_OF_MEMORY;
    struct float_rules before = float_rules_enter();
    enum err err = kernel_known_answer(env->f32, answer);
    if (err == ERR_OK)
        err = train_known_answer(env->f32, answer + KERNEL_KNOWN_ANSWER_BYTES);
    float_rules_leave(before);
    if (err == ERR_OK)
        *out = digest_of((struct span){answer, SIZE});
    mem_free(answer);
    return err;
}

static bool uses_session(enum stage_kind kind)
{
    return kind == STAGE_KIND_TRAIN || kind == STAGE_KIND_EVALUATE ||
           kind == STAGE_KIND_REFERENCE || kind == STAGE_KIND_MEASURE;
}

enum err task_execute(struct task_env *env, const struct task_call *call, struct arena *arena,
                      struct task_result *result, struct err_text *et)
{
    uint32_t kind = call->spec->kind;
    if (kind >= STAGE_KIND_COUNT || task_kinds[kind] == NULL)
        return error_set(et, ERR_UNSUPPORTED, "this worker knows no task of kind %u", kind);
    if (!uses_session((enum stage_kind)kind))
        task_session_close_all(env); /* their memory is what this task was promised */
    struct task_run run;
    struct task_result made = {.outputs = NULL};
    enum err err = task_run_init(&run, env, call, arena, &made, et);
    if (err == ERR_OK) {
        err = task_kinds[kind](&run, et);
        task_run_fini(&run);
    }
    if (err == ERR_OK)
        *result = made;
    else if (err == ERR_DISK_FULL)
        cache_clear(env->options.cache);
    return err;
}
