/* retention.h - which checkpoints of one training stay, and by which rule. Pure.
 *
 * What trains goes on from the latest, so it always stays; so do the best, whose held-out loss is
 * lowest, and those that people gave names. The rules add to these. Checkpoints that training was
 * sent back before (`undone`) are on its way again: they stay by their names alone.
 *
 * Owns: the rules and their words. Refuses to know: records, files, which jobs there are.
 */
#ifndef COORDINATOR_SCHED_RETENTION_H
#define COORDINATOR_SCHED_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/mem/arena.h"
#include "common/message/message.h"

/* Why one stays: bits of a mask. */
enum retention_reason {
    RETENTION_LATEST = 1 << 0,
    RETENTION_BEST = 1 << 1,
    RETENTION_TAG = 1 << 2,
    RETENTION_LAST = 1 << 3,
    RETENTION_EVERY = 1 << 4,
    RETENTION_WITHIN = 1 << 5,
    RETENTION_FIRST = 1 << 6
};

/* Whether there is a rule at all: without one, nearly everything would go. */
bool retention_has_rule(const struct retention *rules);

/* Fills masks[i] for each of the rows of one training, by step; 0: it goes. */
void retention_judge(const struct retention *rules, const struct checkpoint_row *const *rows,
                     size_t count, uint64_t now_unix_ms, unsigned *masks);

/* "latest, best, last"; empty for 0. NULL: no memory in the arena. */
const char *retention_words(unsigned mask, struct arena *arena);

#endif
