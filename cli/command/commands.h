/* commands.h - the table of verbs. */
#ifndef CLI_COMMAND_COMMANDS_H
#define CLI_COMMAND_COMMANDS_H

#include "cli/command/command.h"

/* The verb of one or two words, NULL when there is none; *used is the number of words it took.
 * `second` may be NULL. */
const struct command *commands_find(const char *first, const char *second, int *used);

/* ERR_USAGE: names the nearest verb. */
enum err commands_fail(const char *first, const char *second, struct err_text *et);

/* Row by row; NULL beyond the last. */
const struct command *commands_at(size_t index);

/* Exit codes row by row, as text; NULL beyond the last. *meaning is static too. */
const char *commands_exit_code(size_t index, const char **meaning);

/* Prints the help of one verb, or (NULL) the list of all. */
void commands_print_help(const struct command *command, FILE *out);

/* `qctl help`. A command_run_f. */
enum err commands_help(struct invocation *invocation, struct err_text *et);

#endif
