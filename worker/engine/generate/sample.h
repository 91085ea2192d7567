/* sample.h - drawing the next token from logits.
 *
 * A function of (logits, what was seen, options, index of the draw): no state, no stream.
 */
#ifndef WORKER_ENGINE_GENERATE_SAMPLE_H
#define WORKER_ENGINE_GENERATE_SAMPLE_H

#include "worker/engine/generate/generate.h"

/* Working memory for a vocabulary. */
struct sample_candidate {
    double logit;
    uint32_t token;
};

/* Applies, in this order, repetition penalty, temperature, top_k, top_p, and draws with number
 * `index` of the seed. Equal logits are ordered by token. seen: (V), not 0 for tokens fed before.
 * candidates: (V) working memory. */
uint32_t sample_token(const struct generate_options *options, const float *logits,
                      size_t vocabulary, const uint8_t *seen, uint64_t index,
                      struct sample_candidate *candidates);

#endif
