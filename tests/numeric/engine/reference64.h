/* reference64.h - a second, naive transformer in double: the oracle of gradients.
 *
 * Shares nothing with the engine but the model's numbers, the layout and the rule which elements
 * dropout keeps: plain loops, whole score rows, libm. Slow on purpose.
 */
#ifndef TESTS_NUMERIC_ENGINE_REFERENCE64_H
#define TESTS_NUMERIC_ENGINE_REFERENCE64_H

#include "worker/engine/nn/model.h"
#include "worker/engine/train/train.h"

struct reference64;

struct reference64 *reference64_create(const struct model *model, const struct train_layout *layout,
                                       size_t tokens_max);
void reference64_destroy(struct reference64 **reference);

/* What stays as it is while values change: the norms that magnitudes are divided by, measured at
 * `values`, and an anchor, or NULL. */
void reference64_hold(struct reference64 *reference, const double *values, const float *anchor);

/* Summed loss of one row under `values` (double, of the layout), with dropout. */
double reference64_loss(struct reference64 *reference, const double *values, uint64_t seed,
                        uint64_t round, const struct train_row *row);

#endif
