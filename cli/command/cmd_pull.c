/* cmd_pull.c - `qctl pull`: the files a job made. */
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/results.h"
#include "cli/render/human.h"
#include "common/base/limits.h"

enum { PULL_WAIT_MS = 60000 };

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
    if (err == ERR_OK)
        (void)fprintf(invocation->messages, "%u files, %s, in %s\n", count, human_size(bytes, size),
                      folder);
    client_close(&client);
    return err;
}
