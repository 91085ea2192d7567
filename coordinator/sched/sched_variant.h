/* sched_variant.h - the variants of a job as people see them: how far each is, which is the best.
 *
 * What they are called is in the names of their stages. Refuses to know: recipes.
 */
#ifndef COORDINATOR_SCHED_SCHED_VARIANT_H
#define COORDINATOR_SCHED_SCHED_VARIANT_H

#include "coordinator/sched/core.h"

/* Losses and variants of the row: a job with several shows the losses of the best so far. Rows live
 * in the view arena; without memory for them there are none. */
void sched_variant_fill(const struct sched *s, const struct job *job, struct job_row *row);

/* Puts outputs of the stage into the folder of its variant, where the job has several. False:
 * memory is out. */
bool sched_variant_place(const struct sched *s, const struct stage *stage,
                         struct artifact_ref *refs, uint32_t count);

#endif
