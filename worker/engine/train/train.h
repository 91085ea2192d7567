/* train.h - loss and gradient of rows: what a worker computes of a round.
 *
 * The leaf of every sum is one row. For each row a call yields the summed loss of its supervised
 * tokens, their number, and the gradient of that sum over the layout's vector; where rows are pairs
 * of answers, the loss of the pair and its gradient. These are the same
 * bits however many rows run at once, on however many threads, with or without checkpointing;
 * folding leaves into a round's sum is the caller's (common/numeric/fold.h).
 *
 * Refuses to know: the optimizer, the schedule, other workers, where rows come from.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_H
#define WORKER_ENGINE_TRAIN_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/preference.h"
#include "worker/engine/train/train_layout.h"

struct fake_quant;
struct kernel;
struct train;

/* One packed sequence. The prediction of token i from the tokens before it in its segment counts
 * when loss[i] is not 0; the first token of a segment is never predicted. All borrowed for the
 * call. */
struct train_row {
    uint64_t index; /* of the row in the round: keys dropout and names the row in messages */
    const uint32_t *tokens;
    const uint8_t *loss;
    size_t token_count;
    const uint32_t *segment_starts; /* ascending, the first is 0; positions restart at each */
    size_t segment_count;
    double reference[PREFERENCE_SIDES]; /* PREFERENCE: log-probabilities of the segments before
                                           training (train_log_probabilities) */
};

struct train_result {
    double loss_sum; /* natural log, summed in token order; or the loss of the pair */
    double weight;   /* supervised tokens; or 1, the pair */
    double rewards[PREFERENCE_SIDES]; /* of the pair, else 0 */
    bool is_correct;                  /* of the pair: the chosen answer has the higher reward */
};

/* What a row's loss is. */
enum train_objective {
    TRAIN_OBJECTIVE_TOKENS,     /* that of its supervised tokens */
    TRAIN_OBJECTIVE_PREFERENCE, /* that of its two segments as a pair, chosen and rejected */
};

struct train_options {
    size_t rows_at_once; /* at most this many rows run together; 0 is 1. Never changes a bit */
    bool
        checkpointing; /* keep one activation a layer and recompute the rest. Never changes a bit */
    enum train_objective objective;
    struct preference preference; /* PREFERENCE */
    /* What products read instead of trainables and model, where values are given; or NULL. The
     * caller updates it when values or the round change. Borrowed. */
    const struct fake_quant *quant;
    bool quantizes; /* for estimates: `quant` is going to be there */
};

/* Takes the gradient of one row, rows in ascending order. `gradient` has the layout's elements and
 * is valid during the call. An error stops train_rows, which returns it. */
typedef enum err (*train_leaf_f)(void *context, size_t row, const struct train_result *result,
                                 const float *gradient);

/* Model, kernel and layout are borrowed and must outlive *out. `layout` NULL: the model alone, for
 * train_evaluate. Caller owns *out. One call at a time on one struct train. */
MUST_CHECK enum err train_create(const struct model *model, struct kernel *kernel,
                                 const struct train_layout *layout,
                                 const struct train_options *options, struct train **out);
void train_destroy(struct train **train);

/* From now on adapters add what they have become beyond `anchor`, s (B A - B0 A0) x: a vector of
 * the layout in memory of the kernel, borrowed as long as calls come; NULL: all that they are. */
void train_anchor(struct train *train, const float *anchor);

/* Forward and backward of `count` rows under the trainables `values`. Dropout is a function of
 * (seed, round, module, row index, position). Fills results[0..count) and hands each row's gradient
 * to `leaf`. ERR_NOT_FINITE: `et` names module, layer and row; ERR_DATA: a token outside the
 * vocabulary, segments out of order, or a row that should be a pair and is none; ERR_LIMIT: a
 * segment longer than the model's positions; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err train_rows(struct train *train, const float *values, uint64_t seed,
                               uint64_t round, const struct train_row *rows, size_t count,
                               struct train_result *results, train_leaf_f leaf, void *context,
                               struct err_text *et);

/* Forward alone, without dropout. `values` NULL runs the untouched model whatever the layout. */
MUST_CHECK enum err train_evaluate(struct train *train, const float *values,
                                   const struct train_row *rows, size_t count,
                                   struct train_result *results, struct err_text *et);

/* Sums of the log-probabilities of the supervised tokens of each row's two segments, whatever the
 * objective; forward alone, as train_evaluate. ERR_DATA: a row is no pair. */
MUST_CHECK enum err train_log_probabilities(struct train *train, const float *values,
                                            const struct train_row *rows, size_t count,
                                            double (*out)[PREFERENCE_SIDES], struct err_text *et);

/* Logits of every token of one row, (token_count, V) f32, for comparison with other systems. */
MUST_CHECK enum err train_logits(struct train *train, const float *values,
                                 const struct train_row *row, float *logits, struct err_text *et);

/* Most bytes of activations, workspace and row gradients held at once by this object so far. */
size_t train_peak_bytes(const struct train *train);

/* What train_rows will hold for `rows_at_once` rows of `token_count` tokens each, of pairs each
 * segment; SIZE_MAX: more than can be addressed. The model's own weights and the vector of
 * trainables are not counted; a row is taken for one sample, which has one prompt. `layout` NULL:
 * train_evaluate_estimate. */
size_t train_memory_estimate(const struct model *model, const struct train_layout *layout,
                             const struct train_options *options, size_t token_count);

/* The same of train_evaluate, which holds it beside what train_rows held. `layout` NULL: of the
 * untouched model. */
size_t train_evaluate_estimate(const struct model *model, const struct train_layout *layout,
                               const struct train_options *options, size_t token_count);

#endif
