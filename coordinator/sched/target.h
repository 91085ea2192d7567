/* target.h - how many workers each provider shall have, as it was last decided. Only kept here, in
 * the one place that survives restarts; what follows from it is scale's business.
 */
#ifndef COORDINATOR_SCHED_TARGET_H
#define COORDINATOR_SCHED_TARGET_H

#include "coordinator/sched/sched.h"

/* A new target; the client hears a status. ERR_OUT_OF_MEMORY and nothing changed. */
MUST_CHECK enum err target_decide(struct sched *s, struct peer_id client, uint64_t ticket,
                                  const struct rec_scale_target *record);

/* Of more than LIMIT_TARGETS names the one decided longest ago is forgotten: files have few, and
 * names change with the years. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err target_apply(struct sched *s, const struct rec_scale_target *record);

/* The last one that was decided for a provider, NULL when there is none. Borrowed until the next
 * step. */
const struct rec_scale_target *target_of(const struct sched *s, struct text provider);

void target_fini(struct sched *s);

#endif
