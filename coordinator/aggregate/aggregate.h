/* aggregate.h - the training state of a stage: gradients in, weights out, one step a round.
 *
 * Pure over spans: no file, no thread, no clock; whoever has threads lends them by a callback.
 * Equal state, settings and parts give equal bytes, however the parts cut the round and however
 * many threads help.
 *
 * A state file ("state", and every checkpoint) is a safetensors file of F32 tensors
 * weight.<parameter>, exp_avg.<parameter>, exp_avg_sq.<parameter> with the notes
 * format = qfleet-state/1 and step = the optimizer steps done. A first state may lack the moments:
 * they are zero. A weights file has weight.* alone. The flat order of vectors is the ascending byte
 * order of the parameters' names.
 */
#ifndef COORDINATOR_AGGREGATE_AGGREGATE_H
#define COORDINATOR_AGGREGATE_AGGREGATE_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/digest/digest.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/numeric/optimizer.h"
#include "common/numeric/schedule.h"

struct aggregate;

/* Calls run(context, i) for every i < count, in any order, on any thread, and returns when all are
 * done. */
typedef void (*aggregate_run_f)(void *context, size_t index);
typedef void (*aggregate_parallel_f)(size_t count, aggregate_run_f run, void *context);

struct aggregate_settings {
    struct optimizer_adamw adamw;
    struct schedule schedule;
    double max_grad_norm;          /* 0: no clipping */
    aggregate_parallel_f parallel; /* NULL: the caller's thread alone */
};

/* A finished range of a round. */
struct aggregate_part {
    uint64_t first, end; /* rows: a node of the tree over the round */
    double loss_sum, weight;
    struct preference_sums preference; /* all 0 where the data are no pairs */
    struct span gradient; /* raw f32 in flat order, SUM over the rows; empty for an evaluation */
    struct digest digest; /* of the gradient, for the ledger */
    struct text worker;   /* for the ledger */
};

struct aggregate_sums {
    double loss_sum, weight;
    struct preference_sums preference;
    double grad_norm;     /* of the mean gradient before clipping */
    double learning_rate; /* used by this step */
};

/* Reads a state file. ERR_FORMAT with tensor and reason in `et`; ERR_SHAPE when a moment's shape is
 * not its weight's; ERR_NOT_FINITE; ERR_OUT_OF_MEMORY. `state` is not needed afterwards. */
MUST_CHECK enum err aggregate_create(const struct aggregate_settings *settings, struct span state,
                                     struct aggregate **out, struct err_text *et);
void aggregate_destroy(struct aggregate **aggregate);

/* Optimizer steps done. */
uint64_t aggregate_steps(const struct aggregate *aggregate);
/* Elements of the flat vector. */
uint64_t aggregate_width(const struct aggregate *aggregate);

/* One round: folds the parts (in row order, covering [0, round_rows)), divides by the weight,
 * clips, steps. ERR_SHAPE: a gradient of the wrong size; ERR_STATE: the parts are not the round;
 * ERR_NOT_FINITE with step and range; ERR_DATA: the round has no supervised token. On an error the
 * state is as it was. */
MUST_CHECK enum err aggregate_step(struct aggregate *aggregate, const struct aggregate_part *parts,
                                   size_t part_count, uint64_t round_rows,
                                   struct aggregate_sums *sums, struct err_text *et);

/* The sums of an evaluation round, along the same tree. */
MUST_CHECK enum err aggregate_evaluate(const struct aggregate_part *parts, size_t part_count,
                                       uint64_t round_rows, struct aggregate_sums *sums,
                                       struct err_text *et);

/* Appends the weights file, the state file, the ledger: JSON Lines, a line for each part of each
 * step since the state was read or the ledger last cleared. */
MUST_CHECK enum err aggregate_write_weights(const struct aggregate *aggregate, struct bytes *out);
MUST_CHECK enum err aggregate_write_state(const struct aggregate *aggregate, struct bytes *out);
MUST_CHECK enum err aggregate_write_ledger(const struct aggregate *aggregate, struct bytes *out);
void aggregate_clear_ledger(struct aggregate *aggregate);

/* Appends a line for each tensor of the state file, with the hash of its bytes: they stand with the
 * ledger, so that damage can be placed. */
MUST_CHECK enum err aggregate_write_marks(const struct aggregate *aggregate, struct bytes *out);

/* In words, which tensors of a state file are not what its marks say. */
void aggregate_find_damage(struct span state, struct span ledger, struct err_text *out);

/* Appends the log artifact of a run: JSON Lines of the points, without times. */
MUST_CHECK enum err aggregate_write_log(const struct log_point *points, size_t count,
                                        struct bytes *out);

#endif
