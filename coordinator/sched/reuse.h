/* reuse.h - results of equal content are taken from another job instead of computed again.
 *
 * A task of a reusable kind (kind.def) has a content key: a hash over its kind, its profile, its
 * range, the keys of the recipe that matter to it, and the names and digests of all it reads. When
 * a stage starts, a task whose key is that of a done task of another kept job is done at once, by
 * an ordinary TASK_DONE record without a fence; the worker's name says where it is from. Nobody
 * looks at a file: artifacts of kept jobs are kept, and one that is damaged is made again
 * (remake.h). A task that was made again is never taken over: what is at hand elsewhere is as
 * damaged.
 *
 * Whose workers gave another answer (roster.h), or whose results were found to differ, lends
 * nothing.
 *
 * Owns: keys, and the index of all of them. It holds what the records say, so it is built, not
 * stored. Refuses to know: what a task computes.
 */
#ifndef COORDINATOR_SCHED_REUSE_H
#define COORDINATOR_SCHED_REUSE_H

#include "coordinator/sched/core.h"

/* A task of the index, in the place of its stage's array that is the task's. */
struct reuse_task {
    struct map_node node; /* in sched.reuse, by the first bytes of the key */
    struct digest key;
    const struct stage *stage;
};

/* Computes the keys of the stage, once it can be told what it reads: of a reusable kind, with its
 * needs done. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err reuse_learn(struct sched *s, struct stage *stage);

/* Takes over what others have done. ERR_OUT_OF_MEMORY: some of it; ask again. */
MUST_CHECK enum err reuse_adopt(struct sched *s, struct stage *stage);

/* Forgets the keys: the job goes, or what it reads is made again. */
void reuse_drop(struct sched *s, struct stage *stage);

#endif
