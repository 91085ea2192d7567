/* watchdog.c - see watchdog.h. */
#include "coordinator/sched/watchdog.h"

#include "common/base/check.h"
#include "coordinator/sched/advance.h"

const char *watchdog_kept(const struct sched *s, const struct stage *stage)
{
    if (stage->plan->kind != STAGE_KIND_TRAIN)
        return "";
    const struct checkpoint_row *last = job_checkpoint(stage->job, stage);
    if (last == NULL)
        return "; there was no checkpoint yet";
    const char *text = arena_print(s->view_arena, "; the checkpoint of step %llu is kept",
                                   (unsigned long long)last->step);
    return text == NULL ? "" : text;
}

/* The range of the round with the highest mean loss. */
static uint32_t worst_range(const struct stage *stage)
{
    uint32_t worst = 0;
    double most = -1;
    for (uint32_t i = 0; i < stage->tasks.count; i++) {
        const struct task_result *result = stage->tasks.items[i].result;
        double mean = result->weight > 0 ? result->loss_sum / result->weight : 0;
        if (mean > most) {
            most = mean;
            worst = i;
        }
    }
    return worst;
}

/* A loss over pairs may be zero: every pair beyond the margin of a hinge. */
static bool is_dead(const struct sched_work_done *done)
{
    return done->loss_sum == 0 && !(done->preference.pairs > 0);
}

void watchdog_look(struct sched *s, struct stage *stage, const struct sched_work_done *done)
{
    struct run *run = stage->run;
    unsigned long long step = run->step;
    const char *name = stage->plan->name.data;
    if (is_dead(done)) {
        advance_give_up(s, stage, ERR_DIVERGED,
                        "%s: the loss of step %llu (rows 0 to %llu) is exactly 0%s", name, step,
                        (unsigned long long)run->rows - 1, watchdog_kept(s, stage));
        return;
    }
    bool is_high = run->plan.loss_max > 0 && run->loss > run->plan.loss_max;
    run->high_steps = is_high ? run->high_steps + 1 : 0;
    if (run->high_steps < run->plan.loss_patience)
        return;
    uint64_t first = worst_range(stage) * run->range_rows;
    const struct task *worst = &stage->tasks.items[worst_range(stage)];
    advance_give_up(s, stage, ERR_DIVERGED,
                    "%s: the loss was above %g for %llu steps, %.4g at step %llu (most in rows "
                    "%llu to %llu, from %.*s)%s",
                    name, run->plan.loss_max, (unsigned long long)run->high_steps, run->loss, step,
                    (unsigned long long)first,
                    (unsigned long long)MIN(first + run->range_rows, run->rows) - 1,
                    TEXT_ARGS(worst->worker), watchdog_kept(s, stage));
}
