/* submission.h - a recipe file on its way to a coordinator: read, checked, frozen, sent. */
#ifndef CLI_COMMAND_SUBMISSION_H
#define CLI_COMMAND_SUBMISSION_H

#include "cli/client/client.h"
#include "cli/command/command.h"
#include "cli/command/stage_memory.h"
#include "common/mem/arena.h"
#include "common/recipe/recipe.h"

struct submission {
    struct recipe recipe; /* owned */
    struct arena arena;   /* owned: paths and refs */
    struct bytes text;    /* owned: canonical */
    struct artifact_ref *refs;
    uint32_t ref_count;
    const char *name;                /* of the job */
    struct stage_memory_plan memory; /* what its stages need of a worker */
    uint64_t request;                /* the same for the same recipe and files */
};

/* Reads the recipe of the invocation's first argument with its --set options, prints its notices,
 * finds and hashes its files and reads every row of data once. Release with submission_fini.
 * ERR_RECIPE, ERR_NOT_FOUND, ERR_DATA,
 * ... with file, line and key. */
MUST_CHECK enum err submission_init(struct submission *submission, struct invocation *invocation,
                                    struct err_text *et);

/* The recipe alone, without its files. `name` of the recipe is settled. */
MUST_CHECK enum err submission_read(struct submission *submission, struct invocation *invocation,
                                    struct err_text *et);
void submission_fini(struct submission *submission);

/* Submits under the number `request`, brings the files that the coordinator cannot read itself, and
 * submits again. *job is the durable id. */
MUST_CHECK enum err submission_send(const struct submission *submission, struct client *client,
                                    uint64_t request, uint64_t *job, struct err_text *et);

#endif
