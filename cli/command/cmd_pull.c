/* cmd_pull.c - `qctl pull`: the files a job made. */
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/results.h"
#include "cli/render/human.h"
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
    const char *job = invocation->arguments[0];
    char folder[LIMIT_PATH_BYTES], size[HUMAN_BYTES];
    uint32_t count = 0;
    uint64_t bytes = 0;
    struct client *client = NULL;
    (void)snprintf(folder, sizeof folder, "%s",
                   invocation->argument_count > 1 ? invocation->arguments[1] : job);
    TRY(command_connect(invocation, &client, et));
    client_set_wait(client, PULL_WAIT_MS);
    enum err err = results_pull(client, job, folder, &count, &bytes, et);
    if (err == ERR_OK && command_flag(invocation, "log"))
        err = write_log(invocation, client, job, folder, et);
    if (err == ERR_OK)
        (void)fprintf(invocation->messages, "%u files, %s, in %s\n", count, human_size(bytes, size),
                      folder);
    client_close(&client);
    return err;
}
