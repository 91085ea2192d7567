/* admin_event.h - the event log as people read it, derived from the records and stored nowhere. */
#ifndef COORDINATOR_ADMIN_ADMIN_EVENT_H
#define COORDINATOR_ADMIN_ADMIN_EVENT_H

#include "coordinator/admin/admin.h"

/* The job a record is about, 0 for the fleet. */
uint64_t admin_event_job(uint32_t number, const union message_record *record);

/* The row of record `seq`; its text lives in `arena`. `sched` gives names of jobs and stages.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err admin_event_row(const struct sched *sched, uint64_t seq, uint64_t unix_ms,
                                    uint32_t number, const union message_record *record,
                                    struct arena *arena, struct event_row *row);

#endif
