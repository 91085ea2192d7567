/* admin_metrics.c - see admin_metrics.h. Of states and errors every word is written, also those of
 * which there are none: an alert on what grew must see where it grew from. */
#include "coordinator/admin/admin_metrics.h"

#include "common/message/state.h"

static void write_jobs(const struct sched_totals *totals, struct bytes *out)
{
    metric_begin(out, METRIC_JOBS);
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        metric_count(out, METRIC_JOBS, state_job_word((enum job_state)i), totals->jobs[i]);
    metric_begin(out, METRIC_JOBS_FAILED);
    for (int i = 1; i < ERR_COUNT; i++)
        metric_count(out, METRIC_JOBS_FAILED, error_name((enum err)i), totals->jobs_failed[i]);
    metric_single(out, METRIC_VARIANTS_FAILED, (double)totals->variants_failed);
}

static void write_work(const struct sched_totals *totals, struct bytes *out)
{
    metric_begin(out, METRIC_TASKS);
    metric_count(out, METRIC_TASKS, "ready", totals->tasks_ready);
    metric_count(out, METRIC_TASKS, "running", totals->tasks_running);
    metric_single(out, METRIC_TASKS_DONE, (double)totals->counts.tasks_done);
    metric_single(out, METRIC_TASKS_FAILED, (double)totals->counts.tasks_failed);
    metric_single(out, METRIC_ROUNDS, (double)totals->counts.rounds);
    metric_single(out, METRIC_TRAIN_STEPS, (double)totals->counts.steps);
    metric_single(out, METRIC_TRAIN_TOKENS, (double)totals->counts.tokens);
    metric_single(out, METRIC_CHECKPOINTS, (double)totals->counts.checkpoints);
    metric_single(out, METRIC_TRAINING, (double)totals->trainings);
    if (totals->trainings > 0) {
        metric_single(out, METRIC_TRAIN_LOSS_MAX, totals->loss_max);
        metric_single(out, METRIC_TRAIN_LOSS_MIN, totals->loss_min);
        metric_single(out, METRIC_TRAIN_GRAD_NORM_MAX, totals->grad_norm_max);
    }
    metric_single(out, METRIC_STALLED_SECONDS, totals->stalled_s);
}

static void write_workers(const struct sched_totals *totals, const struct admin_process *process,
                          struct bytes *out)
{
    metric_begin(out, METRIC_WORKERS);
    for (int i = 0; i < WORKER_STATE_COUNT; i++)
        metric_count(out, METRIC_WORKERS, state_worker_word((enum worker_state)i),
                     totals->workers[i]);
    metric_single(out, METRIC_WORKERS_LOST, (double)totals->counts.workers_lost);
    metric_single(out, METRIC_WORKERS_DESIRED, (double)process->workers_desired);
    metric_single(out, METRIC_WORKER_THREADS, (double)totals->threads);
    metric_single(out, METRIC_WORKER_RESIDENT, (double)totals->rss_bytes);
    metric_begin(out, METRIC_PEERS);
    metric_count(out, METRIC_PEERS, "worker", process->peer_workers);
    metric_count(out, METRIC_PEERS, "client", process->peer_clients);
}

static void write_process(const struct admin_process *process, struct bytes *out)
{
    static const char *const classes[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    metric_seconds(out, METRIC_TURN_SECONDS, process->turns);
    metric_seconds(out, METRIC_COMMIT_SECONDS, process->commits);
    metric_single(out, METRIC_RECORDS, (double)process->records);
    metric_single(out, METRIC_STORE_USED, process->store_percent / 100.0);
    if (process->disk_free_bytes != UINT64_MAX)
        metric_single(out, METRIC_DISK_FREE, (double)process->disk_free_bytes);
    metric_single(out, METRIC_DISK_FLOOR, (double)process->disk_floor_bytes);
    metric_single(out, METRIC_RESIDENT, (double)process->rss_bytes);
    metric_begin(out, METRIC_HTTP_REQUESTS);
    for (size_t i = 2; i < 6; i++)
        metric_count(out, METRIC_HTTP_REQUESTS, classes[i], process->http_answers[i]);
}

void admin_metrics_write(const struct sched_totals *totals, const struct admin_process *process,
                         struct bytes *out)
{
    metric_begin(out, METRIC_BUILD_INFO);
    metric_count(out, METRIC_BUILD_INFO, QFLEET_VERSION, 1);
    metric_single(out, METRIC_START_TIME, process->started_unix_s);
    metric_single(out, METRIC_INCARNATION, (double)process->incarnation);
    write_jobs(totals, out);
    write_work(totals, out);
    write_workers(totals, process, out);
    write_process(process, out);
}
