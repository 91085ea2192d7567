/* hf_rope.h - how config.json's scalings of rotary positions change a frequency.
 *
 * Refuses to know: tables, heads, files.
 */
#ifndef COMMON_FORMATS_HF_HF_ROPE_H
#define COMMON_FORMATS_HF_HF_ROPE_H

struct hf_config_rope;

/* What rope type "llama3" divides the frequency of this wavelength (positions a turn) by: 1 for
 * short waves, `factor` for long ones, between them along a ramp over original length / wavelength
 * (transformers, modeling_rope_utils). hf_config_parse has seen to the numbers. */
double hf_rope_llama3_divisor(const struct hf_config_rope *rope, double wavelength);

#endif
