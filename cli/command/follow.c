/* follow.c - MSG_JOB_GET, again and again. */
#include "cli/command/follow.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cli/client/exchange.h"
#include "cli/command/rewards.h"
#include "cli/plot/pace.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum { POINTS_FIRST = 256 };

enum err follow_find(struct client *client, const char *prefix, uint64_t *job, struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(prefix), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    *job = reply->job.row.job;
    return ERR_OK;
}

void follow_init(struct follow *follow, struct client *client, uint64_t job,
                 const struct invocation *invocation)
{
    *follow = (struct follow){.client = client, .state = JOB_WAITING};
    (void)snprintf(follow->id, sizeof follow->id, "%016" PRIx64, job);
    progress_init(&follow->progress, invocation->messages, invocation->message_style);
}

void follow_fini(struct follow *follow)
{
    progress_end(&follow->progress);
    mem_free(follow->points);
    follow->points = NULL;
}

static enum err keep_points(struct follow *follow, uint32_t variant, const struct log_point *points,
                            size_t count)
{
    if (follow->point_count + count > follow->point_capacity) {
        size_t capacity = MAX(2 * (follow->point_count + count), (size_t)POINTS_FIRST);
        struct log_point *grown = mem_resize(follow->points, capacity, sizeof *grown);
        if (grown == NULL)
            return ERR_OUT_OF_MEMORY;
        follow->points = grown;
        follow->point_capacity = capacity;
    }
    if (count > 0)
        memcpy(follow->points + follow->point_count, points, count * sizeof *points);
    follow->point_count += count;
    follow->variants[variant].point_count += count;
    return ERR_OK;
}

static void copy_text(struct text text, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%.*s", TEXT_ARGS(text));
    (void)style_clean(out);
}

static void show(struct follow *follow, const struct job_row *row)
{
    char stage[64], rewards[REWARDS_BYTES] = "";
    const struct log_point *pairs = rewards_last(follow->points, follow->point_count, true);
    if (pairs == NULL)
        pairs = rewards_last(follow->points, follow->point_count, false);
    if (pairs != NULL)
        (void)snprintf(rewards, sizeof rewards, "margin %.3f  accuracy %.0f%%",
                       pairs->reward_chosen - pairs->reward_rejected, 100 * pairs->accuracy);
    copy_text(row->stage, stage, sizeof stage);
    bool trains = strcmp(stage, state_kind_word(STAGE_KIND_TRAIN)) == 0;
    const struct pace pace = pace_of(follow->points, trains ? follow->point_count : 0,
                                     follow->variant_count == 0 ? follow->steps_total : 0);
    const struct progress_view view = {
        .stage = stage,
        .detail = follow->detail,
        .is_only_why = trains && follow->shows_points && follow->point_count > 0,
        .done = row->done,
        .total = row->total,
        .loss = row->loss,
        .eval_loss = row->eval_loss,
        .tokens_per_s = pace.tokens_per_s,
        .note = rewards,
        .seconds_left = MAX(pace.seconds_left, 0),
    };
    progress_update(&follow->progress, &view, exchange_now_ms());
}

/* All new points of a variant. *out: the last reply, borrowed until the next request. */
static enum err ask(struct follow *follow, uint32_t variant, const struct msg_job **out,
                    struct err_text *et)
{
    const size_t *seen = &follow->variants[variant].point_count;
    for (bool all = false; !all;) {
        struct msg_job_get get = {
            .prefix = text_of(follow->id), .points_after = *seen, .variant = variant + 1};
        const union message_any *reply = NULL;
        TRY(client_request(follow->client, &message_type_msg_job_get, &get, &message_type_msg_job,
                           &reply, et));
        const struct msg_job *job = &reply->job;
        TRY(keep_points(follow, variant, job->points, job->points_count));
        all = job->points_count == 0 || *seen >= job->point_count;
        *out = job;
    }
    return ERR_OK;
}

static void keep_job(struct follow *follow, const struct msg_job *job)
{
    const struct job_row *row = &job->row;
    for (uint32_t i = 0; i < job->stages_count; i++) {
        if (job->stages[i].kind == STAGE_KIND_TRAIN)
            follow->steps_total = MAX(follow->steps_total, job->stages[i].total);
        follow->calibrates = follow->calibrates || job->stages[i].kind == STAGE_KIND_CALIBRATE;
    }
    copy_text(row->detail, follow->detail, sizeof follow->detail);
    copy_text(row->name, follow->name, sizeof follow->name);
    follow->created_unix_ms = row->created_unix_ms;
    follow->started_unix_ms = row->started_unix_ms;
    follow->ended_unix_ms = row->ended_unix_ms;
    follow->variant_count = row->variants_count;
    follow->step_bytes = MAX(follow->step_bytes, row->step_bytes);
    for (uint32_t v = 0; v < row->variants_count; v++)
        copy_text(row->variants[v].name, follow->variants[v].name, sizeof follow->variants[v].name);
}

enum err follow_step(struct follow *follow, struct err_text *et)
{
    const struct msg_job *job = NULL;
    bool has_news[LIMIT_VARIANTS] = {false};
    TRY(ask(follow, 0, &job, et));
    enum job_state state = (enum job_state)job->row.state;
    enum err error = (enum err)job->row.error;
    keep_job(follow, job);
    for (uint32_t v = 1; v < job->row.variants_count; v++)
        has_news[v] = job->row.variants[v].point_count > follow->variants[v].point_count;
    if (!state_job_is_terminal(state) && !follow->is_quiet)
        show(follow, &job->row);
    for (uint32_t v = 1; v < follow->variant_count; v++) {
        if (has_news[v])
            TRY(ask(follow, v, &job, et));
    }
    follow->state = state;
    follow->error = error;
    return ERR_OK;
}

enum err follow_result(const struct follow *follow, struct err_text *et)
{
    switch (follow->state) {
    case JOB_DONE:
        return ERR_OK;
    case JOB_FAILED:
        return error_set(et, follow->error != ERR_OK ? follow->error : ERR_INTERNAL,
                         "job %s failed: %s: %s", follow->name, error_name(follow->error),
                         follow->detail[0] != '\0' ? follow->detail : error_text(follow->error));
    case JOB_CANCELLED:
        return error_set(et, ERR_CANCELLED, "job %s was cancelled", follow->name);
    case JOB_WAITING:
    case JOB_RUNNING:
    case JOB_PAUSED:
    case JOB_STATE_COUNT:
        break;
    }
    return error_set(et, ERR_STATE, "job %s is not done", follow->name);
}

/* What the caller set to be ignored (nohup, a job in the background) stays so. */
static void watched_signals(sigset_t *set)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction now;
    (void)sigemptyset(set);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            (void)sigaddset(set, numbers[i]);
    }
}

/* Libraries start threads before main, whose mask is out of reach. One that meets a signal hands it
 * to the main thread, where it waits for follow_pause. */
static void hand_over(int number)
{
    int before = errno;
    (void)syscall(SYS_tgkill, getpid(), getpid(), number);
    errno = before;
}

void follow_block_signals(void)
{
    sigset_t set;
    struct sigaction action = {.sa_handler = hand_over, .sa_flags = SA_RESTART};
    watched_signals(&set);
    (void)sigemptyset(&action.sa_mask);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&set, number) == 1)
            (void)sigaction(number, &action, NULL);
    }
}

void follow_ignore_pipe(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
}

int follow_pause(uint32_t ms)
{
    sigset_t set;
    watched_signals(&set);
    const struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    int number = sigtimedwait(&set, NULL, &wait);
    return number > 0 ? number : 0;
}
