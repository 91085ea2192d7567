/* job_artifacts.h - what the tasks of a job made, fetched by name. */
#ifndef CLI_COMMAND_JOB_ARTIFACTS_H
#define CLI_COMMAND_JOB_ARTIFACTS_H

#include "cli/client/client.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

struct job_artifacts {
    uint64_t job;
    struct artifact_row *rows; /* by stage, then by task; in the arena of the call */
    size_t count;
};

/* Lists the artifacts named `name` of done tasks of the job that `prefix` names. ERR_NOT_FOUND,
 * ERR_UNREACHABLE, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err job_artifacts_list(struct client *client, const char *prefix, const char *name,
                                       struct arena *arena, struct job_artifacts *out,
                                       struct err_text *et);

/* Replaces the content of `out`. A damaged artifact is an error that says how it is made again. */
MUST_CHECK enum err job_artifacts_fetch(struct client *client, const struct job_artifacts *list,
                                        size_t index, struct bytes *out, struct err_text *et);

#endif
