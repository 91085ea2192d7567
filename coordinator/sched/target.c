/* target.c - see target.h. */
#include "coordinator/sched/target.h"

#include <string.h>

#include "common/mem/mem.h"
#include "coordinator/sched/core.h"

static size_t place_of(const struct sched *s, struct text provider)
{
    size_t i = 0;
    while (i < s->target_count && !text_equal(s->targets[i].provider, provider))
        i++;
    return i;
}

const struct rec_scale_target *target_of(const struct sched *s, struct text provider)
{
    size_t place = place_of(s, provider);
    return place < s->target_count ? &s->targets[place] : NULL;
}

static void release(struct rec_scale_target *target)
{
    mem_free((char *)(uintptr_t)target->provider.data);
    mem_free((char *)(uintptr_t)target->reason.data);
}

/* The one at `place` goes; those after it move up, so that the longest-standing is the first. */
static void forget(struct sched *s, size_t place)
{
    release(&s->targets[place]);
    s->target_count--;
    memmove(&s->targets[place], &s->targets[place + 1],
            (s->target_count - place) * sizeof *s->targets);
}

enum err target_apply(struct sched *s, const struct rec_scale_target *record)
{
    size_t place = place_of(s, record->provider);
    if (s->targets == NULL)
        s->targets = mem_alloc(LIMIT_TARGETS, sizeof *s->targets);
    char *provider = mem_copy_text(record->provider);
    char *reason = mem_copy_text(record->reason);
    if (s->targets == NULL || provider == NULL || reason == NULL) {
        mem_free(provider);
        mem_free(reason);
        return ERR_OUT_OF_MEMORY;
    }
    if (place < s->target_count)
        forget(s, place);
    else if (s->target_count == LIMIT_TARGETS)
        forget(s, 0);
    struct rec_scale_target *target = &s->targets[s->target_count++];
    *target = *record;
    target->provider = text_of(provider);
    target->reason = text_of(reason);
    return ERR_OK;
}

enum err target_decide(struct sched *s, struct peer_id client, uint64_t ticket,
                       const struct rec_scale_target *target)
{
    TRY(effect_reserve(&s->effect, 1, 1, 0));
    struct sched_record record = {.number = REC_SCALE_TARGET};
    record.record.scale_target = *target;
    TRY(core_decide(s, &record, NULL));
    effect_send(&s->effect, client, MSG_STATUS)->status =
        (struct msg_status){.ticket = ticket, .error = ERR_OK};
    return ERR_OK;
}

void target_fini(struct sched *s)
{
    for (size_t i = 0; i < s->target_count; i++)
        release(&s->targets[i]);
    mem_free(s->targets);
}
