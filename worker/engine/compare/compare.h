/* compare.h - how far one model is from another, token by token, over the same rows.
 *
 * The leaf is one row: over its scored tokens, in their order, the losses of both models, the
 * divergence KL(base || result) of the next token's distributions, and how often both would pick
 * the same token. Losses have the bits of train_evaluate; the divergence is taken in f64 from f32
 * logits, element after element. Neither threads nor the instruction set change a bit.
 *
 * Logits exist for one block of positions, never for a row of a large vocabulary.
 *
 * Refuses to know: what the two models are to each other, files, tasks.
 */
#ifndef WORKER_ENGINE_COMPARE_COMPARE_H
#define WORKER_ENGINE_COMPARE_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train.h"

struct kernel;
struct compare;

struct compare_sums {
    uint64_t positions;  /* scored tokens */
    uint64_t agreements; /* both models put the most on the same token */
    double base_loss;    /* natural log, as the rest */
    double result_loss;
    double kl;
    double kl_max; /* of one token */
};

/* Models and kernel are borrowed and must outlive *out; caller owns *out. ERR_SHAPE: the models'
 * vocabularies differ; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err compare_create(const struct model *base, const struct model *result,
                                   struct kernel *kernel, struct compare **out,
                                   struct err_text *et);
void compare_destroy(struct compare **compare);

/* Overwrites *sums. ERR_NOT_FINITE: `et` names model, module, layer and row; ERR_DATA, ERR_LIMIT:
 * as train_evaluate. */
MUST_CHECK enum err compare_row(struct compare *compare, const struct train_row *row,
                                struct compare_sums *sums, struct err_text *et);

/* Adds what follows: sums of `right`, the larger maximum. */
void compare_add(struct compare_sums *left, const struct compare_sums *right);

/* Most bytes of activations and logits held so far. */
size_t compare_peak_bytes(const struct compare *compare);

#endif
