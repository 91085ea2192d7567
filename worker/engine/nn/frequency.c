/* frequency.c - one function a scaling. */
#include "worker/engine/nn/frequency.h"

#include <string.h>

#include "common/numeric/scalar.h"

static const double two_pi = 6.283185307179586476925286766559;

static double scale_llama3(const struct hf_config_rope *rope, double frequency)
{
    double original = rope->original_max_position_embeddings;
    double wavelength = two_pi / frequency;
    if (wavelength < original / rope->high_freq_factor)
        return frequency;
    if (wavelength > original / rope->low_freq_factor)
        return frequency / rope->factor;
    double ramp = (original / wavelength - rope->low_freq_factor) /
                  (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - ramp) * frequency / rope->factor + ramp * frequency;
}

enum err frequency_fill(const struct hf_config *config, double *out, struct err_text *et)
{
    const struct hf_config_rope *rope = &config->rope;
    bool linear = strcmp(rope->type, "linear") == 0, llama3 = strcmp(rope->type, "llama3") == 0;
    if (!linear && !llama3 && rope->type[0] != '\0' && strcmp(rope->type, "default") != 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: rope_scaling type \"%s\"; known are linear and llama3",
                         rope->type);
    if ((linear || llama3) && !(rope->factor > 0))
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling.factor: expected a number above 0");
    if (llama3 && !(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor &&
                    rope->original_max_position_embeddings > 0))
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling: llama3 needs low_freq_factor, a larger "
                         "high_freq_factor and original_max_position_embeddings");
    for (size_t i = 0; i < config->head_dim / 2; i++) {
        double exponent = -2.0 * (double)i / (double)config->head_dim;
        double frequency = scalar_pow(config->rope_theta, exponent);
        if (linear)
            frequency /= rope->factor;
        out[i] = llama3 ? scale_llama3(rope, frequency) : frequency;
    }
    return ERR_OK;
}
