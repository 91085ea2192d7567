/* stage_note.c - see stage_note.h. */
#include "cli/command/stage_note.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/check.h"

const char *stage_note(const struct stage_row *row, char out[STAGE_NOTE_BYTES])
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(row->key, hex);
    out[0] = '\0';
    if (row->reused > 0)
        (void)snprintf(out, STAGE_NOTE_BYTES,
                       "reused %" PRIu64 " of %" PRIu64 " from %.*s (key %.12s)", row->reused,
                       row->total, TEXT_ARGS(row->reused_from), hex);
    else if (!digest_is_zero(row->key))
        (void)snprintf(out, STAGE_NOTE_BYTES, "key %.12s", hex);
    return out;
}
