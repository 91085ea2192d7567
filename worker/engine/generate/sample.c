/* sample.c - penalty, temperature, top-k, top-p, draw; in f64 with our own exponential. */
#include "worker/engine/generate/sample.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/numeric/random.h"
#include "common/numeric/scalar.h"

static int by_logit(const void *a, const void *b)
{
    const struct sample_candidate *left = a, *right = b;
    if (left->logit != right->logit)
        return left->logit > right->logit ? -1 : 1;
    return left->token < right->token ? -1 : left->token > right->token;
}

static double penalized(double logit, double penalty)
{
    return logit > 0 ? logit / penalty : logit * penalty;
}

/* Turns logits of the first `count` candidates into unnormalised probabilities and cuts the tail
 * beyond top_p. Returns how many stay; *total is their sum. */
static size_t cut_tail(const struct generate_options *options, size_t count,
                       struct sample_candidate *candidates, double *total)
{
    double top = candidates[0].logit, all = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        candidates[i].logit = scalar_exp((candidates[i].logit - top) / options->temperature);
        all += candidates[i].logit;
    }
    size_t stay = 0;
    while (stay < count && (stay == 0 || kept < options->top_p * all))
        kept += candidates[stay++].logit;
    *total = kept;
    return stay;
}

uint32_t sample_token(const struct generate_options *options, const float *logits,
                      size_t vocabulary, const uint8_t *seen, uint64_t index,
                      struct sample_candidate *candidates)
{
    ASSERT(vocabulary > 0);
    uint32_t best = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        double logit = (double)logits[i];
        if (seen[i] && options->repetition_penalty > 0)
            logit = penalized(logit, options->repetition_penalty);
        candidates[i] = (struct sample_candidate){logit, (uint32_t)i};
        if (logit > candidates[best].logit)
            best = (uint32_t)i;
    }
    if (!(options->temperature > 0))
        return best;
    qsort(candidates, vocabulary, sizeof *candidates, by_logit);
    size_t count = options->top_k != 0 ? MIN(options->top_k, vocabulary) : vocabulary;
    double total, reached = 0;
    count = cut_tail(options, count, candidates, &total);
    uint64_t key = random_key(options->seed, RANDOM_SAMPLE, 0, 0, 0);
    double point = random_uniform_f64(key, index) * total;
    for (size_t i = 0; i < count; i++) {
        reached += candidates[i].logit;
        if (point < reached)
            return candidates[i].token;
    }
    return candidates[count - 1].token;
}
