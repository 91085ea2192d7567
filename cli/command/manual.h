/* manual.h - man pages out of the tables that the programs themselves read, in the macros of
 * groff_man(7). */
#ifndef CLI_COMMAND_MANUAL_H
#define CLI_COMMAND_MANUAL_H

#include <stdio.h>

#include "common/base/error.h"

/* Prints qctl(1): every verb with its options and examples, exit codes, environment, files; of
 * "recipe" qfleet-recipe(5), of "providers" qfleet-providers(5): every key. `page` may be NULL.
 * ERR_USAGE when there is no such page. */
MUST_CHECK enum err manual_print(const char *page, FILE *out, struct err_text *et);

#endif
