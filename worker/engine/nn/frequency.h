/* frequency.h - angular frequencies of rotary positions, with the scalings of long contexts. */
#ifndef WORKER_ENGINE_NN_FREQUENCY_H
#define WORKER_ENGINE_NN_FREQUENCY_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/hf/hf_config.h"

/* out[i] = theta^(-2 i / D) for i < D/2, scaled as rope_scaling asks: none, "linear" (Chen et al.
 * 2023: divided by the factor), "llama3" (long wavelengths divided, short ones kept, a ramp
 * between). ERR_UNSUPPORTED: another type. */
MUST_CHECK enum err frequency_fill(const struct hf_config *config, double *out,
                                   struct err_text *et);

#endif
