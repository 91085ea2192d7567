/* output_schema.h - `qctl help json`: JSON Schema of what verbs print with -o json. */
#ifndef CLI_COMMAND_OUTPUT_SCHEMA_H
#define CLI_COMMAND_OUTPUT_SCHEMA_H

#include "cli/command/command.h"

/* Prints the schema of that output ("jobs", "ckpt-log"), or (NULL) the names of all, one a line.
 * ERR_NOT_FOUND names the nearest. */
MUST_CHECK enum err output_schema_print(struct invocation *invocation, const char *name,
                                        struct err_text *et);

#endif
