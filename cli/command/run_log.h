/* run_log.h - the log points of one training as the files that others read: lines of
 * trainer_log.jsonl, records of an event file for TensorBoard.
 *
 * Both grow at their end alone. Steps that are computed again, after a coordinator was killed, have
 * the same numbers, so what was written stays right.
 */
#ifndef CLI_COMMAND_RUN_LOG_H
#define CLI_COMMAND_RUN_LOG_H

#include "cli/command/follow.h"

enum { RUN_LOG_NAME_BYTES = LIMIT_NAME_BYTES + 64 };

struct run_log {
    struct log_point *points; /* owned: of one variant, in order */
    size_t count;
    uint64_t started_unix_ms; /* 0: unknown */
    uint64_t steps_total;
};

/* The points of a variant that `follow` has so far. ERR_OUT_OF_MEMORY. Release with run_log_fini.
 */
MUST_CHECK enum err run_log_init(const struct follow *follow, uint32_t variant,
                                 struct run_log *log);
void run_log_fini(struct run_log *log);

/* Appends trainer_log.jsonl from point `first` on. Time left is told from the pace so far.
 * ERR_NOT_FINITE, ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err run_log_lines(const struct run_log *log, size_t first, struct bytes *out);

/* Appends the records of the points from `first` on, one each; failure is kept in `out`. */
void run_log_events(const struct run_log *log, size_t first, struct bytes *out);

/* "demo-9c41e2b", plain enough for a folder, and with the name of the variant where there are
 * others "demo-9c41e2b/seed=2": what a viewer calls the run. Returns `out`. */
const char *run_log_run_name(const struct follow *follow, uint32_t variant,
                             char out[2 * RUN_LOG_NAME_BYTES]);

/* An event file that grows. */
struct run_log_file {
    int fd;
    size_t points; /* written */
};

/* Opens or makes the event file of the job in FOLDER/<run name>, goes on behind its last whole
 * record when it is of this run, begins it anew otherwise, and brings it up to date. Errors of
 * folder_create, ERR_IO, ERR_DISK_FULL, ERR_DENIED with the path. */
MUST_CHECK enum err run_log_file_open(const char *folder, const struct follow *follow,
                                      uint32_t variant, struct run_log_file *file,
                                      struct err_text *et);

/* Appends the points that are new, in one write. */
MUST_CHECK enum err run_log_file_add(struct run_log_file *file, const struct run_log *log,
                                     struct err_text *et);
void run_log_file_close(struct run_log_file *file);

#endif
