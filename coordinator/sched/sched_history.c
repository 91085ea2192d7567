/* sched_history.c - views of checkpoints, and of what was let go of with them. */
#include "coordinator/sched/sched_history.h"

#include "common/base/check.h"
#include "coordinator/sched/core.h"
#include "coordinator/sched/history.h"

const struct checkpoint_row *sched_job_checkpoints(const struct sched *s, size_t index,
                                                   size_t *count)
{
    *count = s->jobs[index]->checkpoint_count;
    return s->jobs[index]->checkpoints;
}

enum err sched_history_judge(const struct sched *s, size_t index,
                             const struct msg_checkpoint_control *control, uint64_t unix_ms,
                             struct arena *arena, struct checkpoint_verdict **verdicts,
                             uint32_t *count, struct err_text *et)
{
    return history_judge(s->jobs[index], control, unix_ms, arena, verdicts, count, et);
}

struct digest sched_history_answer(const struct sched *s, size_t index)
{
    return s->jobs[index]->answer.answer;
}

const struct digest *sched_history_orphans(const struct sched *s, size_t *count)
{
    *count = s->orphans.count;
    return s->orphans.digests;
}

void sched_history_drop(struct sched *s, size_t count)
{
    struct orphan_list *list = &s->orphans;
    ASSERT(count <= list->count);
    list->count -= count;
    if (list->count > 0)
        memmove(list->digests, list->digests + count, list->count * sizeof *list->digests);
}
