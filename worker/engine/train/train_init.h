/* train_init.h - first values of adapters that are made of the weights they adapt.
 *
 *   gaussian   A normal(0, 1 / rank), B zero
 *   PiSSA      W = U diag(s) V^T;  A = diag(sqrt(s / scale)) V^T,  B = U diag(sqrt(s / scale)), the
 *              largest `rank` values (Meng, Wang, Zhang 2024, equations 2 and 3): scale B A is the
 *              best of W that has this rank. W itself stays: an anchor takes scale B A away again
 *              (nn/pass.h)
 *   LoftQ      the same of W - Q, where Q is what the model that trains has for W (Li et al. 2023,
 *              algorithm 1 with one step): scale B A gives back what quantizing took
 *
 * A direction whose value is 0 keeps its row of A from the usual start, and its zeros in B: with
 * both zero it could never train. Refuses to know: anchors, rounds, files.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_INIT_H
#define WORKER_ENGINE_TRAIN_TRAIN_INIT_H

#include "worker/engine/train/train_layout.h"

struct kernel;

/* After `done` of `total` modules. An error stops train_init_values, which returns it. */
typedef enum err (*train_init_progress_f)(void *context, size_t done, size_t total);

struct train_init_options {
    enum train_init init;
    uint64_t seed;
    const struct model *stored; /* the layout's model with all its digits; may be that model */
    train_init_progress_f progress;
    void *context;
};

/* Changes the adapters' matrices in `values`, which train_layout_values has filled. The bits depend
 * on neither threads nor instruction set. ERR_RECIPE: an adapter's scale is 0; ERR_NOT_FINITE: a
 * weight is no number; `et` names the module; ERR_OUT_OF_MEMORY. Values are then spoiled. */
MUST_CHECK enum err train_init_values(const struct train_layout *layout, struct kernel *kernel,
                                      const struct train_init_options *options, float *values,
                                      struct err_text *et);

#endif
