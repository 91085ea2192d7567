/* quantizing.h - what `qctl convert --type Q4_K_M` and its switches mean: a mix, an importance
 * matrix, threads that encode.
 */
#ifndef CLI_COMMAND_QUANTIZING_H
#define CLI_COMMAND_QUANTIZING_H

#include "cli/command/command.h"
#include "common/formats/convert/convert_quantize.h"

struct kernel;

enum { QUANTIZING_EXCEPTIONS_MAX = 64 };

struct quantizing {
    struct convert_quantize quantize; /* refers to what stands below */
    struct convert_exception exceptions[QUANTIZING_EXCEPTIONS_MAX];
    struct imatrix importance; /* owned */
    struct arena arena;        /* owned: patterns */
    struct kernel *kernel;     /* owned */
};

/* Whether one of the switches was given that only --type with a mix knows; its name in *which. */
bool quantizing_is_asked(const struct invocation *invocation, const char **which);

/* Reads the switches; a zeroed *q is kept where it is until quantizing_close. ERR_USAGE with what
 * there is to choose from, errors of imatrix_open and of kernel_create. */
MUST_CHECK enum err quantizing_open(struct quantizing *q, const struct invocation *invocation,
                                    struct err_text *et);

/* A zeroed or closed object is allowed. */
void quantizing_close(struct quantizing *q);

#endif
