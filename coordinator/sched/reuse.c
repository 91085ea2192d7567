/* reuse.c - keys, their index, and the choice among equals. */
#include "coordinator/sched/reuse.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "coordinator/plan/plan_reuse.h"
#include "coordinator/sched/spec.h"

enum { SPEC_BYTES_MAX = 64 << 20 };

static bool is_reusable(const struct stage *stage)
{
    return state_kind_is_reusable((enum stage_kind)stage->plan->kind) && stage->run == NULL;
}

static struct digest link_text(struct digest digest, struct text text)
{
    return digest_link(digest, (struct span){(const uint8_t *)text.data, text.size});
}

/* Every member is linked alone, so none can run into the next. */
static struct digest key_of(const struct task_spec *spec, struct digest recipe)
{
    uint64_t numbers[] = {spec->kind, spec->round, spec->first, spec->end, spec->total};
    struct digest key = digest_link(recipe, (struct span){(uint8_t *)numbers, sizeof numbers});
    key = link_text(key, spec->profile);
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        const struct artifact_ref *input = &spec->inputs[i];
        if (text_is(input->name, "recipe"))
            continue;
        key = link_text(key, input->name);
        key = digest_link(key, (struct span){input->digest.v, DIGEST_BYTES});
    }
    return key;
}

static uint64_t word_of(struct digest digest)
{
    uint64_t word;
    memcpy(&word, digest.v, sizeof word);
    return word;
}

static enum err fill_keys(struct stage *stage, struct reuse_task *tasks, struct digest *all)
{
    struct digest recipe = plan_reuse_key(stage->job->submitted.recipe, stage->plan->variant,
                                          (enum stage_kind)stage->plan->kind);
    struct arena arena;
    enum err err = ERR_OK;
    *all = (struct digest){{0}};
    arena_init(&arena, SPEC_BYTES_MAX);
    for (uint32_t t = 0; err == ERR_OK && t < stage->tasks.count; t++) {
        struct task_spec spec;
        arena_reset(&arena);
        err = spec_build(stage, t, &arena, &spec);
        if (err != ERR_OK)
            break;
        tasks[t].stage = stage;
        tasks[t].key = key_of(&spec, recipe);
        *all = digest_link(*all, (struct span){tasks[t].key.v, DIGEST_BYTES});
    }
    arena_fini(&arena);
    return err;
}

enum err reuse_learn(struct sched *s, struct stage *stage)
{
    uint32_t count = stage->tasks.count;
    if (!is_reusable(stage) || stage->reuse != NULL || count == 0 || !job_may_begin(stage))
        return ERR_OK;
    TRY(map_reserve(&s->reuse, s->reuse.count + count));
    struct reuse_task *tasks = mem_alloc(count, sizeof *tasks);
    if (tasks == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = fill_keys(stage, tasks, &stage->key);
    if (err != ERR_OK) {
        mem_free(tasks);
        return err;
    }
    for (uint32_t t = 0; t < count; t++)
        map_add(&s->reuse, &tasks[t].node, word_of(tasks[t].key));
    stage->reuse = tasks;
    return ERR_OK;
}

void reuse_drop(struct sched *s, struct stage *stage)
{
    for (uint32_t t = 0; stage->reuse != NULL && t < stage->tasks.count; t++)
        map_remove(&s->reuse, &stage->reuse[t].node);
    mem_free(stage->reuse);
    stage->reuse = NULL;
    stage->key = (struct digest){{0}};
}

static bool lends(const struct job *from, const struct job *to)
{
    return from != to && from->error != ERR_PROFILE && from->doom != ERR_PROFILE &&
           digest_equal(from->answer.answer, to->answer.answer) &&
           (!digest_is_zero(to->answer.answer) || !roster_is_versioned(to->pool));
}

/* A done task of the same key: that of the oldest job, whatever the order in the index. */
static const struct task *find(const struct sched *s, const struct reuse_task *wanted,
                               const struct job **from)
{
    const struct task *found = NULL;
    for (struct map_node *n = map_find(&s->reuse, wanted->node.key); n != NULL;
         n = map_find_next(n)) {
        const struct reuse_task *entry = CONTAINER_OF(n, struct reuse_task, node);
        const struct stage *stage = entry->stage;
        const struct task *task = &stage->tasks.items[entry - stage->reuse];
        if (!digest_equal(entry->key, wanted->key) || task->result == NULL ||
            !lends(stage->job, wanted->stage->job) ||
            roster_is_quarantined(&s->roster, task->worker))
            continue;
        if (found != NULL && (*from)->seq <= stage->job->seq)
            continue;
        found = task;
        *from = stage->job;
    }
    return found;
}

enum err reuse_adopt(struct sched *s, struct stage *stage)
{
    if (stage->reuse == NULL || stage->is_remade)
        return ERR_OK;
    for (uint32_t t = 0; t < stage->tasks.count; t++) {
        const struct task *task = &stage->tasks.items[t];
        const struct job *from = NULL;
        const struct task *source =
            task->result != NULL || task->leases != NULL ? NULL : find(s, &stage->reuse[t], &from);
        if (source == NULL)
            continue;
        const char *worker =
            arena_print(&s->effect.arena, "job %016llx", (unsigned long long)from->submitted.job);
        if (worker == NULL)
            return ERR_OUT_OF_MEMORY;
        struct sched_record record = {.number = REC_TASK_DONE};
        record.record.task_done = (struct rec_task_done){.job = stage->job->submitted.job,
                                                         .stage = stage->index,
                                                         .index = t,
                                                         .worker = text_of(worker),
                                                         .result = *source->result};
        record.record.task_done.result.seconds = 0;
        record.record.task_done.result.peak_bytes = 0;
        TRY(core_decide(s, &record, NULL));
    }
    return ERR_OK;
}
