/* transformer.h - the whole network: embedding, layers, head, and the memory of a step.
 *
 * Owns: one planned allocation that holds every activation and working buffer of a step, laid out
 * once for the largest batch. Nothing is allocated while a step runs.
 *
 * Refuses to know: rounds, optimizers, files.
 */
#ifndef WORKER_ENGINE_NN_TRANSFORMER_H
#define WORKER_ENGINE_NN_TRANSFORMER_H

#include "common/base/error.h"
#include "worker/engine/nn/pass.h"

enum transformer_mode {
    TRANSFORMER_INFER,     /* forward alone: one layer's activations, reused */
    TRANSFORMER_TRAIN,     /* keeps the activations of all layers */
    TRANSFORMER_RECOMPUTE, /* keeps one x a layer, makes the rest again in the backward pass */
};

/* The largest step. */
struct transformer_plan {
    enum transformer_mode mode;
    size_t tokens, rows, positions;
    bool quantizes; /* the pass will be given weights */
};

struct transformer;

/* Bytes that transformer_create will hold, SIZE_MAX when no memory has so many. `binding` may be
 * NULL. */
size_t transformer_size_bytes(const struct model *model, const struct binding *binding,
                              const struct transformer_plan *plan);

/* Model, kernel and binding are borrowed and must outlive *out. Caller owns *out.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err transformer_create(const struct model *model, struct kernel *kernel,
                                       const struct binding *binding,
                                       const struct transformer_plan *plan,
                                       struct transformer **out);
void transformer_destroy(struct transformer **transformer);

/* The pass to fill in (batch, values, seed, round, dropout, gradients, cache) before a run; the
 * rest is set. Borrowed until destroy. */
struct pass *transformer_pass(struct transformer *transformer);

/* Runs embedding and layers over the pass's batch, before the eyes of its observer.
 * ERR_NOT_FINITE: `et` names module, layer, row. */
MUST_CHECK enum err transformer_forward(struct transformer *transformer, struct err_text *et);

/* ---- the same layer by layer: the pass is filled in as for a run, with its batch ---- */

/* hidden: (T, C) receives the input of layer 0. */
void transformer_embed(struct transformer *transformer, float *hidden);

/* Runs one layer from its input x, (T, C), to its output `next`, which may be x. An observer in the
 * pass sees the layer's sites. Errors of transformer_forward, whose bits these are. */
MUST_CHECK enum err transformer_layer(struct transformer *transformer, size_t layer, const float *x,
                                      float *next, struct err_text *et);

/* Shows the observer of the pass the head's site: the final norm of the last layer's output x,
 * (T, C). transformer_forward does so too, the losses and logits do not. */
void transformer_observe_head(struct transformer *transformer, const float *x);

/* After transformer_forward: the last layer's output, (T, C). Borrowed until the next run. */
const float *transformer_output(const struct transformer *transformer);

/* ---- losses and logits ---- */

/* transformer_forward, then the losses of the batch's targets; with `backward` (mode TRAIN or
 * RECOMPUTE) then the gradients of all that trains, added to pass->gradients. */
MUST_CHECK enum err transformer_loss(struct transformer *transformer, bool backward,
                                     struct err_text *et);

/* After transformer_forward or transformer_loss without `backward`, in mode TRAIN or RECOMPUTE: the
 * losses, and the gradients of all that trains, added to pass->gradients; the loss of each target
 * times its weight (NULL: 1). */
MUST_CHECK enum err transformer_gradient(struct transformer *transformer, const float *weights,
                                         struct err_text *et);

/* Losses of the last transformer_loss, one for each target, in order. Borrowed until the next run.
 */
const double *transformer_losses(const struct transformer *transformer);

/* After transformer_forward: logits of tokens [first, first + count), (count, V). */
void transformer_logits(struct transformer *transformer, size_t first, size_t count, float *logits);

/* The same of any output x of the last layer, (T, C). */
void transformer_logits_of(struct transformer *transformer, const float *x, size_t first,
                           size_t count, float *logits);

#endif
