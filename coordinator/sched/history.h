/* history.h - what people do with the checkpoints of a job: forget them, name them, go back.
 *
 *   forget    off the list, by rules or one by one; never the latest, the best or one with a tag
 *   tag       a name within one training; it moves when it is given again
 *   restore   training goes on from another checkpoint than its last. Under a profile that promises
 *             equal bits the later ones stay on the list as undone: the job makes them again on its
 *             way, and may be sent forward to one of them. Under another profile they go. Whatever
 *             rests on the training is undone and made again.
 *
 * Nothing here touches a file: what a record let go of is put on a list (orphan.h), and the loop
 * prunes what nothing else reaches, after the commit.
 *
 * Owns: these decisions. Refuses to know: files, who may ask.
 */
#ifndef COORDINATOR_SCHED_HISTORY_H
#define COORDINATOR_SCHED_HISTORY_H

#include "coordinator/sched/core.h"

/* ERR_STATE: contradicts what is known. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err history_apply_forgotten(struct sched *s,
                                            const struct rec_checkpoints_forgotten *record);
MUST_CHECK enum err history_apply_tagged(struct sched *s,
                                         const struct rec_checkpoint_tagged *record);
MUST_CHECK enum err history_apply_restored(struct sched *s, const struct rec_job_restored *record);

/* The tags of a checkpoint, comma-separated, in `arena`; NULL when memory is out. */
const char *history_tags(const struct job *job, uint32_t stage, struct digest digest,
                         struct arena *arena);

/* The tags of all rows say what the job's list of tags says, and the texts of before are gone.
 * ERR_OUT_OF_MEMORY: they say what they did. */
MUST_CHECK enum err history_retag(struct job *job);

/* What FORGET would do to each checkpoint of the job, newest first. ERR_USAGE: no rule; ERR_STATE:
 * the one asked for has to stay; ERR_NOT_FOUND: there is none of its digest; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err history_judge(const struct job *job,
                                  const struct msg_checkpoint_control *control,
                                  uint64_t now_unix_ms, struct arena *arena,
                                  struct checkpoint_verdict **verdicts, uint32_t *count,
                                  struct err_text *et);

/* Does as asked and answers; `bytes`: what pruning would free, for the answer. PRUNE is not for
 * here. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err history_control(struct sched *s, struct peer_id client,
                                    const struct msg_checkpoint_control *control, uint64_t bytes);

/* After a new checkpoint: what the recipe's save_total_limit does not keep is forgotten and pruned.
 * Without memory it is left to the next. */
void history_limit(struct sched *s, struct stage *stage);

#endif
