/* effect.c - three growing arrays and an arena. */
#include "coordinator/sched/effect.h"

#include "common/base/check.h"
#include "common/mem/mem.h"

/* A submission with its graph is the largest thing a step copies. */
enum { STEP_BYTES_MAX = 512 << 20 };

void effect_init(struct effect *effect)
{
    *effect = (struct effect){0};
    arena_init(&effect->arena, STEP_BYTES_MAX);
}

void effect_fini(struct effect *effect)
{
    arena_fini(&effect->arena);
    mem_free(effect->records);
    mem_free(effect->sends);
    mem_free(effect->works);
    *effect = (struct effect){0};
}

void effect_reset(struct effect *effect)
{
    arena_reset(&effect->arena);
    effect->record_count = effect->send_count = effect->work_count = 0;
}

static void *grown(void *array, size_t *capacity, size_t need, size_t size)
{
    size_t wanted = MAX(need, MAX(*capacity * 2, 16u));
    void *bigger = mem_resize(array, wanted, size);
    if (bigger != NULL)
        *capacity = wanted;
    return bigger;
}

enum err effect_reserve(struct effect *effect, size_t records, size_t sends, size_t works)
{
    if (effect->record_count + records > effect->record_capacity) {
        struct sched_record *bigger = grown(effect->records, &effect->record_capacity,
                                            effect->record_count + records, sizeof *bigger);
        if (bigger == NULL)
            return ERR_OUT_OF_MEMORY;
        effect->records = bigger;
    }
    if (effect->send_count + sends > effect->send_capacity) {
        struct sched_send *bigger = grown(effect->sends, &effect->send_capacity,
                                          effect->send_count + sends, sizeof *bigger);
        if (bigger == NULL)
            return ERR_OUT_OF_MEMORY;
        effect->sends = bigger;
    }
    if (effect->work_count + works > effect->work_capacity) {
        struct sched_work *bigger = grown(effect->works, &effect->work_capacity,
                                          effect->work_count + works, sizeof *bigger);
        if (bigger == NULL)
            return ERR_OUT_OF_MEMORY;
        effect->works = bigger;
    }
    return ERR_OK;
}

struct sched_record *effect_record(struct effect *effect, enum record_number number)
{
    ASSERT(effect->record_count < effect->record_capacity);
    struct sched_record *record = &effect->records[effect->record_count++];
    *record = (struct sched_record){.number = number};
    return record;
}

union message_any *effect_send(struct effect *effect, struct peer_id peer,
                               enum message_number number)
{
    ASSERT(effect->send_count < effect->send_capacity);
    struct sched_send *send = &effect->sends[effect->send_count++];
    *send = (struct sched_send){.peer = peer, .number = number};
    return &send->message;
}

struct sched_work *effect_work(struct effect *effect, enum sched_work_kind kind)
{
    ASSERT(effect->work_count < effect->work_capacity);
    struct sched_work *work = &effect->works[effect->work_count++];
    *work = (struct sched_work){.kind = kind};
    return work;
}
