/* room.c - see room.h. */
#include "coordinator/sched/room.h"

#include "common/base/check.h"
#include "coordinator/sched/spec.h"

/* Weights and both moments; the first state has weights alone. */
enum { PARTS = 3 };

/* Beyond save_total_limit: the best, and the newest before the oldest goes. */
enum { BEYOND_LIMIT = 2 };

static bool is_training(const struct stage *stage)
{
    return stage->run != NULL && stage->plan->kind == STAGE_KIND_TRAIN;
}

static uint64_t size_of(const struct stage *stage)
{
    const struct checkpoint_row *last = NULL;
    struct artifact_ref state = spec_state(stage, &last);
    return last != NULL ? state.size_bytes : state.size_bytes * PARTS;
}

/* How many more files there will be at once than there are. */
static uint64_t count_of(const struct stage *stage)
{
    const struct plan_rounds *plan = &stage->run->plan;
    const struct job *job = stage->job;
    const struct checkpoint_row *last = job_checkpoint(job, stage);
    uint64_t step = last == NULL ? 0 : last->step;
    uint64_t there = 0, undone = 0;
    if (step >= plan->step_count)
        return 0;
    uint64_t made = plan->step_count / plan->save_steps - step / plan->save_steps +
                    (plan->step_count % plan->save_steps != 0);
    for (size_t i = 0; i < job->checkpoint_count; i++) {
        const struct checkpoint_row *row = &job->checkpoints[i];
        if (row->stage != stage->index)
            continue;
        undone += row->undone; /* made again it takes its own place */
        there += !row->undone && row->tags.size == 0;
    }
    made -= MIN(made, undone);
    if (plan->save_total_limit == 0)
        return made;
    uint64_t most = plan->save_total_limit + BEYOND_LIMIT;
    return MIN(made, most - MIN(most, there));
}

/* A training that the job still has before it, like the one at hand. */
static bool is_to_come(const struct stage *stage)
{
    return is_training(stage) && stage->state == STAGE_WAITING &&
           job_checkpoint(stage->job, stage) == NULL;
}

struct sched_room room_of(const struct sched *s, const struct stage *stage)
{
    struct sched_room room = {0};
    uint64_t trainings = 1;
    for (size_t i = 0; i < stage->job->checkpoint_count; i++) {
        if (stage->job->checkpoints[i].stage == stage->index)
            return room;
    }
    if (!is_training(stage))
        return room;
    for (size_t j = 0; j < s->job_count; j++) {
        const struct job *job = s->jobs[j];
        for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
            const struct stage *other = &job->stages[i];
            trainings += job == stage->job && other != stage && is_to_come(other);
            if (other != stage && is_training(other) && other->run->is_opened &&
                other->run->phase != RUN_OPENING)
                room.others_bytes += count_of(other) * size_of(other);
        }
    }
    room.size_bytes = size_of(stage);
    room.count = count_of(stage) * trainings;
    return room;
}
