/* task_session.h - what stays ready between the rounds of one job: layout, activations, the weights
 * of the round, the rows. Internal to task.
 */
#ifndef WORKER_TASK_TASK_SESSION_H
#define WORKER_TASK_TASK_SESSION_H

#include "common/formats/dataset/rows.h"
#include "worker/engine/train/fake_quant.h"
#include "worker/engine/train/train.h"
#include "worker/engine/train/train_layout.h"
#include "worker/task/task_pairs.h"
#include "worker/task/task_run.h"

struct task_session {
    struct digest key; /* of model, profile, whether anything trains, and its rank */
    size_t rows_at_once;
    uint64_t size_bytes;         /* what it may grow to */
    struct kernel *kernel;       /* borrowed from the env */
    struct train_layout *layout; /* owned; NULL: the untouched model */
    struct train *train;         /* owned */
    float *values;               /* owned: the vector of trainables */
    struct digest values_digest; /* of the artifact they came from */
    float *anchor;               /* owned: what the adapters started from; or NULL */
    struct digest anchor_digest; /* the same of it */
    struct fake_quant *quant;    /* owned; NULL: weights are used as they are */
    struct fake_quant_config quant_config;
    struct digest quant_digest; /* of the values that its codes were made from */
    float quant_part;           /* of the rounding in them */
    const struct cache_item *rows_item;
    struct rows rows; /* of rows_item */
    bool prefers;     /* rows are pairs, whose losses are taken */
    struct task_pairs pairs;
    uint64_t pairs_first; /* the one of row 0 */
};

/* The session of this run's job. `trains`: under the recipe's trainables, not the untouched model.
 * Variants of the job share it unless their ranks differ: what they have of their own is the
 * weights and the rows, told apart by digest. Borrowed from the env until another task comes. */
MUST_CHECK enum err task_session_open(struct task_run *run, bool trains, struct task_session **out,
                                      struct err_text *et);
void task_session_close(struct task_session **session, struct cache *cache);
void task_session_close_all(struct task_env *env);

/* Fills session->values from the input "weights", and the anchor of its adapters from that of this
 * name, unless they are there already. ERR_SHAPE when an artifact is not of this layout. */
MUST_CHECK enum err task_session_load(struct task_run *run, struct task_session *session,
                                      struct err_text *et);

/* Makes the codes of these values for a round, or for FAKE_QUANT_FINAL, unless they are there
 * already or the recipe has none. Errors of fake_quant_update. */
MUST_CHECK enum err task_session_quantize(struct task_session *session, uint64_t round,
                                          struct err_text *et);

/* Most bytes that the session held of activations, gradients and codes. */
uint64_t task_session_peak_bytes(const struct task_session *session);

/* Opens the rows in the input of this name. ERR_DATA when a token is outside the vocabulary. */
MUST_CHECK enum err task_session_rows(struct task_run *run, struct task_session *session,
                                      const char *name, struct err_text *et);

/* Where rows are pairs (rl: dpo): their log-probabilities before training, for the rows that are
 * open under `name`. ERR_FORMAT: not as many as there are rows. */
MUST_CHECK enum err task_session_pairs(struct task_run *run, struct task_session *session,
                                       const char *name, struct err_text *et);

/* Row `index` of the open rows as the engine takes it, named `place` in the round. Its lists are
 * borrowed until other rows are opened. */
struct train_row task_session_row(const struct task_session *session, uint64_t index,
                                  uint64_t place);

/* The same with what its pair is measured from, after task_session_pairs. */
struct train_row task_session_pair(const struct task_session *session, uint64_t index,
                                   uint64_t place);

#endif
