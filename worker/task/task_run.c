/* task_run.c - inputs, outputs, facts, progress. */
#include "worker/task/task_run.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe_variant.h"

enum { FACTS_MAX = 64, OUTPUTS_BESIDES_INPUTS = 16 };

enum err task_run_init(struct task_run *run, struct task_env *env, const struct task_call *call,
                       struct arena *arena, struct task_result *result, struct err_text *et)
{
    *run = (struct task_run){
        .env = env, .call = call, .spec = call->spec, .arena = arena, .result = result};
    const struct cache_item *recipe = NULL;
    TRY(task_run_open(run, "recipe", &recipe, et));
    enum err err = recipe_variant_parse(recipe->bytes, call->spec->variant, &run->recipe, et);
    cache_release(env->options.cache, &recipe);
    TRY(err);
    run->output_capacity = call->spec->inputs_count + OUTPUTS_BESIDES_INPUTS;
    result->outputs = arena_alloc(arena, run->output_capacity, sizeof *result->outputs);
    result->facts = arena_alloc(arena, FACTS_MAX, sizeof *result->facts);
    if (result->outputs == NULL || result->facts == NULL) {
        task_run_fini(run);
        return ERR_OUT_OF_MEMORY;
    }
    return ERR_OK;
}

void task_run_fini(struct task_run *run)
{
    recipe_fini(&run->recipe);
}

const struct artifact_ref *task_run_input(const struct task_run *run, const char *name)
{
    for (uint32_t i = 0; i < run->spec->inputs_count; i++)
        if (text_is(run->spec->inputs[i].name, name))
            return &run->spec->inputs[i];
    return NULL;
}

const struct artifact_ref *task_run_input_under(const struct task_run *run, const char *prefix)
{
    size_t size = strlen(prefix);
    for (uint32_t i = 0; i < run->spec->inputs_count; i++) {
        struct text name = run->spec->inputs[i].name;
        if (name.size > size && memcmp(name.data, prefix, size) == 0)
            return &run->spec->inputs[i];
    }
    return NULL;
}

enum err task_run_open(struct task_run *run, const char *name, const struct cache_item **out,
                       struct err_text *et)
{
    const struct artifact_ref *input = task_run_input(run, name);
    if (input == NULL)
        return error_set(et, ERR_NOT_FOUND, "the task was given no input \"%s\"", name);
    return cache_open(run->env->options.cache, input, out, et);
}

enum err task_run_output(struct task_run *run, const char *name, struct span content,
                         bool ephemeral, struct err_text *et)
{
    struct task_result *result = run->result;
    if (result->outputs_count == run->output_capacity)
        return ERR_LIMIT;
    const char *copy = arena_copy_text(run->arena, text_of(name));
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(cache_put(run->env->options.cache, text_of(copy), content, ephemeral,
                  &result->outputs[result->outputs_count], et));
    result->outputs_count++;
    return ERR_OK;
}

enum err task_run_fact(struct task_run *run, const char *name, uint64_t value)
{
    struct task_result *result = run->result;
    const char *copy = arena_copy_text(run->arena, text_of(name));
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    if (result->facts_count == FACTS_MAX)
        return ERR_LIMIT;
    result->facts[result->facts_count++] = (struct fact){.name = text_of(copy), .value = value};
    return ERR_OK;
}

enum err task_run_progress(struct task_run *run, uint64_t done, uint64_t total)
{
    const struct task_call *call = run->call;
    return call->progress == NULL || call->progress(call->context, done, total) ? ERR_OK
                                                                                : ERR_CANCELLED;
}

enum err task_run_kernel(struct task_run *run, struct kernel **out, struct err_text *et)
{
    struct task_env *env = run->env;
    if (text_is(run->spec->profile, "f32/1")) {
        *out = env->f32;
        return ERR_OK;
    }
    if (!text_is(run->spec->profile, "blas"))
        return error_set(et, ERR_PROFILE, "this worker does not compute profile \"%.*s\"",
                         TEXT_ARGS(run->spec->profile));
    if (env->blas == NULL)
        TRY(kernel_create(KERNEL_PROFILE_BLAS, env->options.isa, env->options.threads, &env->blas));
    *out = env->blas;
    return ERR_OK;
}
