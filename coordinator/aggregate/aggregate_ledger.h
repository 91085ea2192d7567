/* aggregate_ledger.h - JSON Lines of history: who folded what, and the points of the log. */
#ifndef COORDINATOR_AGGREGATE_AGGREGATE_LEDGER_H
#define COORDINATOR_AGGREGATE_AGGREGATE_LEDGER_H

#include "coordinator/aggregate/aggregate.h"

/* Appends a line a part: {"end", "first", "gradient", "step", "worker"}. On an error the ledger is
 * as it was. */
MUST_CHECK enum err aggregate_ledger_add(struct bytes *ledger, uint64_t step,
                                         const struct aggregate_part *parts, size_t part_count);

#endif
