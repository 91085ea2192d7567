/* cmd_completion.c - `qctl completion`: the script that completes verbs and options in a shell. */
#include "cli/command/cmd.h"
#include "cli/command/completion.h"

enum err cmd_completion(struct invocation *invocation, struct err_text *et)
{
    return completion_print(invocation->arguments[0], invocation->out, et);
}
