/* sched_totals.c - see sched_totals.h. */
#include "coordinator/sched/sched_totals.h"

#include <math.h>

#include "common/base/check.h"
#include "coordinator/sched/core.h"

static void add_training(const struct run *run, struct sched_totals *out)
{
    if (run->phase == RUN_CLOSED || run->phase == RUN_OPENING || isnan(run->loss))
        return;
    out->trainings++;
    out->loss_max = fmax(out->loss_max, run->loss); /* a NaN gives way */
    out->loss_min = fmin(out->loss_min, run->loss);
    out->grad_norm_max = fmax(out->grad_norm_max, run->grad_norm);
}

static void add_stage(const struct stage *stage, struct sched_totals *out)
{
    if (stage->state != STAGE_RUNNING)
        return;
    out->tasks_running += stage->tasks.leases;
    out->tasks_ready += stage->tasks.waiting.count;
    if (stage->run != NULL && stage->plan->kind == STAGE_KIND_TRAIN)
        add_training(stage->run, out);
}

static void add_job(const struct job *job, struct instant now, struct sched_totals *out)
{
    out->jobs[job->state]++;
    if (job->state == JOB_FAILED)
        out->jobs_failed[job->error]++;
    for (uint32_t i = 0; i < job->submitted.stages_count; i++) {
        const struct stage *stage = &job->stages[i];
        bool is_given_up = stage->state == STAGE_FAILED && stage->plan->kind == STAGE_KIND_TRAIN;
        out->variants_failed += is_given_up && job->state != JOB_FAILED;
        if (!state_job_is_terminal(job->state))
            add_stage(stage, out);
    }
    bool is_due = job->state == JOB_RUNNING || job->state == JOB_WAITING;
    if (is_due && now.ns > job->progressed.ns)
        out->stalled_s =
            fmax(out->stalled_s, (double)(now.ns - job->progressed.ns) / (double)NS_PER_S);
}

void sched_totals(const struct sched *s, struct instant now, struct sched_totals *out)
{
    *out = (struct sched_totals){
        .counts = s->counts, .loss_max = NAN, .loss_min = NAN, .grad_norm_max = NAN};
    for (size_t i = 0; i < s->job_count; i++)
        add_job(s->jobs[i], now, out);
    for (size_t i = 0; i < s->roster.count; i++) {
        const struct worker *worker = s->roster.workers[i];
        out->workers[worker->state]++;
        if (!worker->is_connected || worker->state == WORKER_LOST || worker->state == WORKER_LEFT)
            continue;
        out->threads += worker->threads;
        out->rss_bytes += worker->rss_bytes;
    }
}
