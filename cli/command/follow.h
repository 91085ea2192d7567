/* follow.h - a job as it goes on: polled, shown as progress, its log points collected. */
#ifndef CLI_COMMAND_FOLLOW_H
#define CLI_COMMAND_FOLLOW_H

#include "cli/client/client.h"
#include "cli/command/command.h"
#include "cli/render/progress.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "common/message/state.h"

/* Exit code of what a signal ended, less its number. */
enum { FOLLOW_SIGNAL_BASE = 128 };

struct follow {
    struct client *client; /* borrowed; may be replaced between steps */
    char id[17];           /* of the job */
    struct progress progress;
    bool is_quiet;            /* set by the caller: no progress is shown */
    bool shows_points;        /* set by the caller: it shows them itself; a log has them but once */
    struct log_point *points; /* owned; each variant's in order */
    size_t point_count;
    size_t point_capacity;
    enum job_state state;
    enum err error;   /* of a failed job */
    char detail[512]; /* why it waits or failed */
    char name[LIMIT_NAME_BYTES + 1];
    struct {
        size_t point_count;
        char name[LIMIT_NAME_BYTES + 1];
    } variants[LIMIT_VARIANTS]; /* the first alone, without a name, where there are no others */
    uint32_t variant_count;     /* 0: the job has no others */
    bool calibrates;            /* it has a stage for it */
    uint64_t steps_total;       /* of a training, 0: not known yet */
    uint64_t step_bytes;        /* memory of a training step beside the base, 0: unknown */
    uint64_t created_unix_ms, started_unix_ms, ended_unix_ms;
};

/* The id behind a prefix, so that "last" stays the same job. Errors of the request. */
MUST_CHECK enum err follow_find(struct client *client, const char *prefix, uint64_t *job,
                                struct err_text *et);

/* `job` is the id. Progress goes to the invocation's messages. */
void follow_init(struct follow *follow, struct client *client, uint64_t job,
                 const struct invocation *invocation);
void follow_fini(struct follow *follow);

/* Asks once and shows what is new. Errors of the request. */
MUST_CHECK enum err follow_step(struct follow *follow, struct err_text *et);

static inline bool follow_is_done(const struct follow *follow)
{
    return state_job_is_terminal(follow->state);
}

/* ERR_OK for a job that is done; the job's error with its words for one that failed;
 * ERR_CANCELLED. */
MUST_CHECK enum err follow_result(const struct follow *follow, struct err_text *et);

/* Waits up to `ms` for one of the blocked signals; returns its number, 0 when none came. */
int follow_pause(uint32_t ms);

/* Blocks SIGINT, SIGTERM and SIGHUP, so that follow_pause is the one place that meets them. */
void follow_block_signals(void);

/* A reader of stdout or stderr that leaves no longer ends this process. */
void follow_ignore_pipe(void);

#endif
