/* completion_fish.h - the script of fish. */
#ifndef CLI_COMMAND_COMPLETION_FISH_H
#define CLI_COMMAND_COMPLETION_FISH_H

#include <stdio.h>

void completion_fish_print(FILE *out);

#endif
