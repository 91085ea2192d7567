/* completion_zsh.h - the script of zsh. */
#ifndef CLI_COMMAND_COMPLETION_ZSH_H
#define CLI_COMMAND_COMPLETION_ZSH_H

#include <stdio.h>

void completion_zsh_print(FILE *out);

#endif
