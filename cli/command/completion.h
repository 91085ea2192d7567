/* completion.h - the table of verbs as a script that completes them in a shell.
 *
 * The script holds verbs and options as they were when it was printed, so that a tab costs nothing;
 * names of jobs and workers are asked for when they are wanted. Refuses to know: which shell runs.
 */
#ifndef CLI_COMMAND_COMPLETION_H
#define CLI_COMMAND_COMPLETION_H

#include <stdio.h>

#include "cli/command/command.h"

/* What a word on the command line may be, as far as it can be completed. */
enum completion_kind {
    COMPLETION_NOTHING,
    COMPLETION_FILE,
    COMPLETION_JOB,
    COMPLETION_WORKER,
    COMPLETION_VERB,
    COMPLETION_SHELL,
    COMPLETION_FORMAT,
    COMPLETION_WHEN,
    COMPLETION_ROLE,
};

/* Of an option's value, by the name of its argument; of a verb's arguments, by its usage. */
enum completion_kind completion_of_option(const struct command_option *option);
enum completion_kind completion_of_command(const struct command *command);

/* The words to choose from, "" where they are not known beforehand. Static. */
const char *completion_words(enum completion_kind kind);

/* Whether a verb has `first` as the first of two words; whether row `index` is the first one that
 * begins with its first word. */
bool completion_is_group(const char *first, size_t size);
bool completion_is_first(size_t index);

/* Prints the script of "bash", "zsh" or "fish". ERR_USAGE for any other. */
MUST_CHECK enum err completion_print(const char *shell, FILE *out, struct err_text *et);

#endif
