/* server_command.h - one program of somebody else's: started with its input, read up to a bound,
 * ended when it takes too long. The coordinator never waits for it, and nothing of it stays: what
 * it left behind in its process group goes with it, and with a coordinator that ends. One that is
 * killed leaves it to itself.
 */
#ifndef COORDINATOR_LOOP_SERVER_COMMAND_H
#define COORDINATOR_LOOP_SERVER_COMMAND_H

#include <uv.h>

#include "coordinator/provider/provider.h"

struct server_command;

/* How it ended. Texts live during the call. */
struct server_command_result {
    enum err err;       /* 0: it ended with 0. IO: could not start or failed; TIMEOUT; LIMIT: it
                           wrote more than is read; OUT_OF_MEMORY */
    struct text output; /* all of its standard output */
    struct text detail; /* after a failure: its last words, or what happened to it */
};

typedef void (*server_command_f)(void *context, const struct server_command_result *result);

/* Starts it in a process group of its own. `done` is called once from the loop, after which *out is
 * gone; never before this returns. `command` is borrowed until then. ERR_IO with text when it
 * cannot be started: then `done` is not called. */
MUST_CHECK enum err server_command_start(uv_loop_t *loop, const struct provider_command *command,
                                         server_command_f done, void *context,
                                         struct server_command **out, struct err_text *et);

/* Ends and forgets one whose handles the loop has closed without it: at the end of the process.
 * NULL is fine. */
void server_command_destroy(struct server_command **command);

/* Whether there is such a program: a path, or a name in one of the folders of `search_path`, a
 * PATH. NULL: anything may be there. */
bool server_command_exists(const char *program, const char *search_path);

/* The last line of `text` that is not empty, as plain characters in `out`, cut to fit. */
void server_command_last_line(struct text text, char *out, size_t size);

#endif
