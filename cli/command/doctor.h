/* doctor.h - what `qctl doctor` looks at, one line each. */
#ifndef CLI_COMMAND_DOCTOR_H
#define CLI_COMMAND_DOCTOR_H

#include "cli/command/command.h"

enum { DOCTOR_LINE_BYTES = 512 };

enum doctor_verdict { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_BAD };

struct doctor {
    struct invocation *invocation;
    struct json_write w; /* of `-o json`: an array is open */
    unsigned bad;
};

/* A finding: what was looked at, and what was found, with what to do when it is not good. */
void doctor_tell(struct doctor *doctor, enum doctor_verdict verdict, const char *what,
                 const char *format, ...) PRINTF(4, 5);

#endif
