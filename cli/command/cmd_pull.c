/* cmd_pull.c - `qctl pull`: the files a job made. */
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/results.h"
#include "common/base/limits.h"

enum { PULL_WAIT_MS = 60000 };

/* The history with its timings, which is no artifact: it differs from run to run. */
static enum err write_log(struct invocation *invocation, struct client *client, const char *job,
                          const char *folder, struct err_text *et)
{
    struct follow follow;
    struct recipe recipe;
    struct msg_job_get get = {.prefix = text_of(job), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    TRY(recipe_parse((struct span){reply->job.recipe.data, reply->job.recipe.size}, &recipe, et));
    follow_init(&follow, client, reply->job.row.job, invocation);
    follow.is_quiet = true;
    enum err err = follow_step(&follow, et);
    if (err == ERR_OK)
        err = results_write_log(&follow, &recipe, folder, et);
    follow_fini(&follow);
    recipe_fini(&recipe);
    return err;
}

enum err cmd_pull(struct invocation *invocation, struct err_text *et)
{
    struct results_part part = {.job = invocation->arguments[0]};
    char folder[LIMIT_PATH_BYTES];
    struct client *client = NULL;
    (void)snprintf(folder, sizeof folder, "%s",
                   invocation->argument_count > 1 ? invocation->arguments[1] : part.job);
    TRY(command_connect(invocation, &client, et));
    client_set_wait(client, PULL_WAIT_MS);
    enum err err = results_pull(client, &part, folder, et);
    if (err == ERR_OK && command_flag(invocation, "log"))
        err = write_log(invocation, client, part.job, folder, et);
    if (err == ERR_OK)
        err = results_print(invocation, &part, folder, "");
    client_close(&client);
    return err;
}
