/* results.h - what a job made, as files. */
#ifndef CLI_COMMAND_RESULTS_H
#define CLI_COMMAND_RESULTS_H

#include "cli/client/client.h"
#include "cli/command/follow.h"
#include "common/recipe/recipe.h"

/* One of several results of a job, or all of them. */
struct results_part {
    const char *job;   /* an id or a prefix */
    struct text under; /* outputs of this folder alone, without it; empty: all, as they are named */
    uint32_t count;    /* filled: files, */
    uint64_t size_bytes; /* and bytes in all */
};

/* Fetches those outputs into `folder`, which is made when missing; each file appears complete and
 * checked or not at all. ERR_STATE when there are none. */
MUST_CHECK enum err results_pull(struct client *client, struct results_part *part,
                                 const char *folder, struct err_text *et);

/* What was fetched, as one line for people or as JSON; `also` is said to people after it. */
MUST_CHECK enum err results_print(struct invocation *invocation, const struct results_part *part,
                                  const char *folder, const char *also);

/* Whether an output is of the part `under`; then its name goes on without the part's folder. */
bool results_take(struct artifact_ref *output, struct text under);

/* The job without its log points, copied into `arena`. Errors of client_request. */
MUST_CHECK enum err results_list(struct client *client, const char *job, struct arena *arena,
                                 struct msg_job *out, struct err_text *et);

/* Writes trainer_log.jsonl, the history with its timings, into `folder`, or each variant's into the
 * folder of its name there; with use_tensorboard also event files, into its folder "runs". */
MUST_CHECK enum err results_write_log(const struct follow *follow, const struct recipe *recipe,
                                      const char *folder, struct err_text *et);

#endif
