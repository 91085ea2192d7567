/* manual.h - man pages out of the tables that the programs themselves read, in the macros of
 * groff_man(7). */
#ifndef CLI_COMMAND_MANUAL_H
#define CLI_COMMAND_MANUAL_H

#include <stdio.h>

/* qctl(1): every verb with its options and examples, exit codes, environment, files. */
void manual_print_verbs(FILE *out);

/* qfleet-recipe(5): every key of a recipe. */
void manual_print_recipe(FILE *out);

#endif
