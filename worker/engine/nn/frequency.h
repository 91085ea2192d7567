/* frequency.h - angular frequencies of rotary positions, with the scalings of long contexts.
 *
 *   linear    Chen et al. 2023: all divided by the factor
 *   llama3    long wavelengths divided, short ones kept, a ramp between
 *   yarn      Peng et al. 2023, section 3.4: the ramp lies between two numbers of rotations, and
 *             cosine and sine grow by 0.1 ln(factor) + 1
 *   longrope  Ding et al. 2024: each frequency divided by its own factor; one list of factors for
 *             samples up to the original length, another for longer ones; cosine and sine grow by
 *             sqrt(1 + ln(factor) / ln(original length))
 *   dynamic   changes nothing up to max_position_embeddings, and longer samples are refused
 */
#ifndef WORKER_ENGINE_NN_FREQUENCY_H
#define WORKER_ENGINE_NN_FREQUENCY_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/arena.h"
#include "worker/engine/nn/model.h"

struct frequency_set {
    double *frequency; /* (rotary_width / 2), in the arena; NULL: the model has no such set */
    double scale;      /* of cosine and sine */
};

/* Fills the sets that the config asks for, each frequency theta^(-2 i / rotary_width) scaled as
 * above. ERR_UNSUPPORTED: another type of scaling; ERR_FORMAT: a scaling without its numbers. */
MUST_CHECK enum err frequency_read(const struct hf_config *config, size_t rotary_width,
                                   struct arena *arena, struct frequency_set sets[MODEL_ROPE_COUNT],
                                   struct err_text *et);

#endif
