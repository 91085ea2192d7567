/* core.h - the scheduler's whole state, for the files of this folder alone. */
#ifndef COORDINATOR_SCHED_CORE_H
#define COORDINATOR_SCHED_CORE_H

#include "coordinator/sched/effect.h"
#include "coordinator/sched/job.h"
#include "coordinator/sched/orphan.h"
#include "coordinator/sched/roster.h"
#include "coordinator/sched/sched_totals.h"

enum { CORE_TRIALS = 16 };

/* A task whose results differ; see trial.h. */
struct trial {
    struct stage *stage; /* NULL: the place is free */
    uint32_t index;
    struct digest found; /* the suspect's result */
    char suspect[LIMIT_NAME_BYTES + 1];
};

struct sched {
    uint32_t incarnation;
    uint32_t fence_count; /* given in this incarnation */
    bool is_disk_low;
    bool is_postponed;  /* a decision found no memory; it is made at the next step */
    struct instant now; /* of the event at hand */
    uint64_t unix_ms;
    struct effect effect;
    struct arena *view_arena; /* owned: texts of views */
    struct roster roster;
    struct job **jobs; /* owned, by submission */
    size_t job_count, job_capacity;
    size_t submitted_count; /* in all, forgotten ones included */
    struct map jobs_by_id, jobs_by_request;
    struct map reuse;     /* tasks whose results may be taken over, by content; see reuse.h */
    struct list dirty;    /* jobs to look at before the step ends */
    struct heap retries;  /* jobs with a failed work, by the time of its next try */
    struct heap expiries; /* leases by the time they end */
    struct heap patience; /* leases by the time they count as slow */
    struct trial trials[CORE_TRIALS];
    struct sched_counts counts;
    struct rec_scale_target *targets; /* owned, with texts; LIMIT_TARGETS, NULL before the first */
    size_t target_count;
    struct orphan_list orphans; /* owned */
};

/* Makes a decision: applies the record and emits it. Nothing has changed when it fails. */
MUST_CHECK enum err core_decide(struct sched *s, const struct sched_record *record,
                                struct err_text *et);

/* Applies a record, new or replayed. */
MUST_CHECK enum err core_apply(struct sched *s, const struct sched_record *record,
                               struct err_text *et);

/* The job is looked at before the step ends. */
void core_touch(struct sched *s, struct job *job);

/* Whether the stage has tasks to grant may have changed: keeps the set of those and the pool's heap
 * right. */
void core_refresh(struct stage *stage);
void core_refresh_job(struct job *job);

#endif
