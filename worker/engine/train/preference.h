/* preference.h - what a pair of answers costs: direct preference optimization of one pair.
 *
 * Rafailov et al. 2023, as TRL computes it (loss type sigmoid). With log p the summed log-
 * probability of an answer's supervised tokens, r = log p - log p of the reference,
 * D = r(chosen) - r(rejected), b = beta and e = label_smoothing:
 *
 *   loss = -(1 - e) log s(b D) - e log s(-b D),   s(x) = 1 / (1 + exp(-x))
 *
 * Pure: a few doubles, by common/numeric/scalar.h. Refuses to know: tokens, rows, models.
 */
#ifndef WORKER_ENGINE_TRAIN_PREFERENCE_H
#define WORKER_ENGINE_TRAIN_PREFERENCE_H

#include <stdbool.h>

/* The two answers of a pair, in the order of their segments. */
enum preference_side { PREFERENCE_CHOSEN, PREFERENCE_REJECTED, PREFERENCE_SIDES };

struct preference {
    double beta;            /* above 0 */
    double label_smoothing; /* [0, 0.5): the share of pairs taken to be labelled the wrong way */
};

struct preference_cost {
    double loss;
    double rewards[PREFERENCE_SIDES]; /* b r */
    bool is_correct;                  /* the chosen answer has the higher reward */
    /* dloss / dlog p of the rejected answer, and minus that of the chosen one: what the loss of
     * every token of the chosen answer is weighed with, and minus what that of the rejected is. */
    double slope;
};

/* log_p and reference: summed log-probabilities of both answers. */
struct preference_cost preference_cost(const struct preference *preference,
                                       const double log_p[PREFERENCE_SIDES],
                                       const double reference[PREFERENCE_SIDES]);

#endif
