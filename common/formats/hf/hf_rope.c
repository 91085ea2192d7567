/* hf_rope.c - one function a scaling. */
#include "common/formats/hf/hf_rope.h"

#include "common/formats/hf/hf_config.h"

double hf_rope_llama3_divisor(const struct hf_config_rope *rope, double wavelength)
{
    double original = rope->original_max_position_embeddings;
    if (wavelength < original / rope->high_freq_factor)
        return 1;
    if (wavelength > original / rope->low_freq_factor)
        return rope->factor;
    double ramp = (original / wavelength - rope->low_freq_factor) /
                  (rope->high_freq_factor - rope->low_freq_factor);
    return 1 / ((1 - ramp) / rope->factor + ramp);
}
