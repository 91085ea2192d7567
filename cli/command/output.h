/* output.h - what `-o` may say: every verb has a table and JSON, lists have more. */
#ifndef CLI_COMMAND_OUTPUT_H
#define CLI_COMMAND_OUTPUT_H

#include "cli/command/command.h"
#include "common/message/message.h"

/* The format of that word (NULL: a table), when the verb has it. ERR_USAGE names those it has. */
MUST_CHECK enum err output_parse(const struct command *command, const char *word,
                                 enum command_format *out, struct err_text *et);

/* Prints rows of a list: as one JSON array, as a JSON value a line, or as the name of each a line
 * (COMMAND_NAME: the member that other verbs take). Not for tables. */
MUST_CHECK enum err output_rows(struct invocation *invocation, const struct message_type *type,
                                const void *rows, size_t count);

enum { OUTPUT_WORDS_BYTES = 64 };

/* The words of -o that a verb has, with a blank between them. Returns `out`. */
const char *output_words(const struct command *command, char out[OUTPUT_WORDS_BYTES]);

#endif
