/* generate.h - text from a model, token by token.
 *
 * Keeps keys and values of past tokens. Logits of a token are bit for bit those of the full forward
 * pass over the whole sequence: products are chains per output, and attention's key blocks count
 * from the start of the sequence (kernel/attention.h).
 *
 * Refuses to know: text and tokenizers.
 */
#ifndef WORKER_ENGINE_GENERATE_GENERATE_H
#define WORKER_ENGINE_GENERATE_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/binding.h"
#include "worker/engine/nn/model.h"

struct kernel;
struct generate;

struct generate_options {
    uint64_t seed;
    double temperature;        /* 0: always the most probable token */
    size_t top_k;              /* 0: all */
    double top_p;              /* 1: all; else the fewest tokens whose probability reaches it */
    double repetition_penalty; /* 1: none. Keskar et al. 2019: positive logits of seen tokens are
                                  divided by it, negative ones multiplied */
    size_t token_count_max;    /* new tokens */
    const uint32_t *stop_tokens;
    size_t stop_token_count;
};

/* Takes each new token (a stop token is not handed out). Returning false ends generation. */
typedef bool (*generate_token_f)(void *context, uint32_t token);

/* Model, kernel, binding and values are borrowed and must outlive *out; binding NULL runs the model
 * alone. `positions_max` bounds tokens fed plus new ones; vectors of the binding's own (prompt
 * tuning) come before them and are counted nowhere but here. Caller owns *out.
 * ERR_LIMIT: positions_max and those vectors are more than the model's positions. */
MUST_CHECK enum err generate_create(const struct model *model, struct kernel *kernel,
                                    const struct binding *binding, const float *values,
                                    size_t positions_max, struct generate **out);
void generate_destroy(struct generate **generate);

/* Forgets all tokens. */
void generate_reset(struct generate *generate);

/* Tokens fed so far. */
size_t generate_position(const struct generate *generate);

/* Appends tokens. *logits are those after the last of them, V f32, borrowed until the next call:
 * the logits that one pass over all tokens so far has, also where a model rotates long samples by
 * other frequencies (then the tokens before are fed again, once). ERR_LIMIT: positions_max would be
 * passed; ERR_DATA: a token outside the vocabulary, or none; ERR_NOT_FINITE; ERR_OUT_OF_MEMORY.
 * After an error while tokens are fed again, all are forgotten. */
MUST_CHECK enum err generate_feed(struct generate *generate, const uint32_t *tokens, size_t count,
                                  const float **logits, struct err_text *et);

/* Feeds `prompt` after what was fed before, then draws tokens until a stop token, token_count_max,
 * positions_max or `token` says no. `new_count` (may be NULL) receives how many were handed out. */
MUST_CHECK enum err generate_run(struct generate *generate, const uint32_t *prompt,
                                 size_t prompt_count, const struct generate_options *options,
                                 generate_token_f token, void *context, size_t *new_count,
                                 struct err_text *et);

#endif
