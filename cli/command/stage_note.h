/* stage_note.h - what a stage took over from other jobs, and its content key, in one line. */
#ifndef CLI_COMMAND_STAGE_NOTE_H
#define CLI_COMMAND_STAGE_NOTE_H

#include "common/message/message.h"

enum { STAGE_NOTE_BYTES = LIMIT_NAME_BYTES + 96 };

/* "reused 6 of 6 from job 1a2b3c4 (key 0123456789ab)", "key 0123456789ab" when nothing was taken
 * over, "" for a stage without a key. Returns `out`. */
const char *stage_note(const struct stage_row *row, char out[STAGE_NOTE_BYTES]);

#endif
