/* told.c - facts looked up and checked. */
#include "coordinator/sched/told.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/message/state.h"

enum { FACT_BYTES = LIMIT_NAME_BYTES + 16 };

static bool is_waves(const struct stage_plan *plan)
{
    return state_kind_shape((enum stage_kind)plan->kind) == STAGE_SHAPE_WAVES;
}

bool told_is(const struct stage_plan *plan)
{
    bool is_array = state_kind_shape((enum stage_kind)plan->kind) == STAGE_SHAPE_ARRAY;
    return is_waves(plan) || (is_array && plan->task_count == 0);
}

static const struct task_result *first_result(const struct stage *stage)
{
    if (stage->run != NULL)
        return stage->result;
    return stage->tasks.count > 0 ? stage->tasks.items[0].result : NULL;
}

/* Of the nearest stage that tells it. */
static bool find_fact(const struct stage *stage, const char *name, uint64_t *value)
{
    for (uint32_t i = stage->index; i-- > 0;) {
        if (!stage_set_has(stage->needs, i))
            continue;
        const struct task_result *result = first_result(&stage->job->stages[i]);
        for (uint32_t f = 0; result != NULL && f < result->facts_count; f++) {
            if (!text_is(result->facts[f].name, name))
                continue;
            *value = result->facts[f].value;
            return true;
        }
    }
    return false;
}

/* The fact <stage>_<what>, in 1..LIMIT_STAGE_TASKS. */
static enum err take(const struct stage *stage, const char *what, uint32_t *out,
                     struct err_text *et)
{
    struct text stage_name = stage->plan->name;
    char name[FACT_BYTES];
    uint64_t value = 0;
    (void)snprintf(name, sizeof name, "%s_%s", state_kind_word((enum stage_kind)stage->plan->kind),
                   what);
    if (!find_fact(stage, name, &value))
        return error_set(et, ERR_INTERNAL, "%.*s: no stage before it told how many %s it has (%s)",
                         TEXT_ARGS(stage_name), what, name);
    if (value == 0)
        return error_set(et, ERR_DATA, "%.*s: there is nothing to do; it was told of 0 %s",
                         TEXT_ARGS(stage_name), what);
    if (value > LIMIT_STAGE_TASKS)
        return error_set(et, ERR_LIMIT, "%.*s: it was told of %llu %s; at most %d are allowed",
                         TEXT_ARGS(stage_name), (unsigned long long)value, what, LIMIT_STAGE_TASKS);
    *out = (uint32_t)value;
    return ERR_OK;
}

static enum err take_layout(const struct stage *stage, struct wave_layout *out, struct err_text *et)
{
    TRY(take(stage, "shards", &out->shards, et));
    TRY(take(stage, "groups", &out->groups, et));
    TRY(take(stage, "periods", &out->periods, et));
    uint64_t count = (uint64_t)out->periods * ((uint64_t)out->shards + out->groups);
    if (count > LIMIT_STAGE_TASKS)
        return error_set(et, ERR_LIMIT,
                         "%.*s: it was told of %u periods of %u shards and %u groups, %llu tasks; "
                         "at most %d are allowed",
                         TEXT_ARGS(stage->plan->name), out->periods, out->shards, out->groups,
                         (unsigned long long)count, LIMIT_STAGE_TASKS);
    return ERR_OK;
}

static enum err start(struct stage *stage)
{
    struct err_text et = {.text = ""};
    struct wave_layout layout;
    uint32_t count;
    if (is_waves(stage->plan))
        return take_layout(stage, &layout, &et) == ERR_OK
                   ? tasks_start_waves(&stage->tasks, &layout)
                   : ERR_OK;
    return take(stage, "tasks", &count, &et) == ERR_OK ? tasks_start(&stage->tasks, count) : ERR_OK;
}

enum err told_start(struct job *job)
{
    struct stage_set started = {{0}};
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        struct stage *stage = &job->stages[i];
        if (!told_is(stage->plan) || stage->tasks.count > 0 || !job_may_begin(stage))
            continue;
        enum err err = start(stage);
        if (err == ERR_OK)
            stage_set_add(&started, i);
        for (uint32_t k = 0; err != ERR_OK && k < i; k++) {
            if (stage_set_has(started, k))
                tasks_fini(&job->stages[k].tasks);
        }
        TRY(err);
    }
    return ERR_OK;
}

enum err told_check(const struct stage *stage, struct err_text *et)
{
    struct wave_layout layout;
    uint32_t count;
    return is_waves(stage->plan) ? take_layout(stage, &layout, et)
                                 : take(stage, "tasks", &count, et);
}
