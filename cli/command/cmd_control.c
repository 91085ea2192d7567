/* cmd_control.c - `qctl cancel`, `pause`, `resume`, `retry`, `forget` and `stop`: what changes a
 * job or the fleet. */
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "common/message/state.h"

static struct text reason_of(const struct invocation *invocation)
{
    const char *reason = command_text(invocation, "reason");
    return text_of(reason != NULL ? reason : "");
}

static enum err control(struct invocation *invocation, enum job_action action, const char *done,
                        struct err_text *et)
{
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    enum err err = ERR_OK;
    for (size_t i = 0; i < invocation->argument_count && err == ERR_OK; i++) {
        struct msg_job_control request = {
            .prefix = text_of(invocation->arguments[i]),
            .action = action,
            .reason = reason_of(invocation),
        };
        const union message_any *reply = NULL;
        err = client_request(client, &message_type_msg_job_control, &request,
                             &message_type_msg_status, &reply, et);
        if (err == ERR_OK)
            (void)fprintf(invocation->messages, "%s: %s\n", invocation->arguments[i], done);
    }
    client_close(&client);
    return err;
}

enum err cmd_control_cancel(struct invocation *invocation, struct err_text *et)
{
    return control(invocation, JOB_ACTION_CANCEL, "cancelled", et);
}

enum err cmd_control_pause(struct invocation *invocation, struct err_text *et)
{
    return control(invocation, JOB_ACTION_PAUSE, "paused", et);
}

enum err cmd_control_resume(struct invocation *invocation, struct err_text *et)
{
    return control(invocation, JOB_ACTION_RESUME, "goes on", et);
}

enum err cmd_control_retry(struct invocation *invocation, struct err_text *et)
{
    return control(invocation, JOB_ACTION_RETRY, "waits to run again", et);
}

enum err cmd_control_forget(struct invocation *invocation, struct err_text *et)
{
    return control(invocation, JOB_ACTION_FORGET, "forgotten", et);
}

enum err cmd_control_stop(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    struct msg_stop request = {.reason = reason_of(invocation)};
    const union message_any *reply = NULL;
    enum err err = client_request(client, &message_type_msg_stop, &request,
                                  &message_type_msg_status, &reply, et);
    client_close(&client);
    return err;
}
