/* gguf_config.h - the keys of a GGUF file and config.json, either from the other.
 *
 * What an architecture implies is written out on the way to config.json and left away on the way
 * back; what it cannot say is an error, never dropped. Keys of ours that llama.cpp's converter
 * does not write, and that its loader passes over:
 *   llama.attention.sliding_window           Mistral's window
 *   ARCH.attention.sliding_window_pattern    where it is not the architecture's: a number, or
 *                                            for each layer whether it has the window
 *   ARCH.attention.scale                     where it is not the one of head and width
 *   ARCH.rope.freq_base_swa                  base of layers with a window, where not 10000
 * Refuses to know: weights, except for shapes and for the factors of rotary frequencies, which
 * GGUF holds as tensors.
 */
#ifndef COMMON_FORMATS_GGUF_GGUF_CONFIG_H
#define COMMON_FORMATS_GGUF_GGUF_CONFIG_H

#include "common/formats/gguf/gguf_arch.h"
#include "common/formats/gguf/gguf_write.h"

#define GGUF_CONFIG_ENDS       "tokenizer.ggml.eos_token_ids" /* where there are several */
#define GGUF_CONFIG_ROPE_FREQS "rope_freqs.weight"            /* Llama 3.1: divisors */
#define GGUF_CONFIG_ROPE_LONG  "rope_factors_long.weight"     /* Phi-3: divisors, long texts */
#define GGUF_CONFIG_ROPE_SHORT "rope_factors_short.weight"    /* and short ones */

/* What config.json would say of the model in *gguf. Token ids come from tokenizer.ggml.*; dtype is
 * empty where weights are quantized. ERR_FORMAT (a key missing or absurd), ERR_UNSUPPORTED (not one
 * of our architectures, not a model), ERR_SHAPE, with file and key. On failure *config is
 * untouched. */
MUST_CHECK enum err gguf_config_read(const struct gguf *gguf, struct hf_config *config,
                                     struct err_text *et);

/* Writes the keys of the architecture, from ARCH.block_count on; file_type is general.file_type,
 * which llama.cpp's converter puts between them. `name` is for messages. ERR_UNSUPPORTED: a scaling
 * of positions that the keys cannot say. */
MUST_CHECK enum err gguf_config_write(const struct hf_config *config, const char *name,
                                      uint32_t file_type, struct gguf_write *w,
                                      struct err_text *et);

/* What cosines and sines are multiplied with where rope_scaling does not say it: for yarn
 * 1 + 0.1 ln(factor) (Peng et al. 2023), for longrope sqrt(1 + ln(longest / original) /
 * ln(original)) (Ding et al. 2024); never below 1. */
double gguf_config_attention_factor(const struct hf_config *config);

/* The divisors of rotary frequencies that rope type "llama3" means, [count] = half the head;
 * torch's own f32 arithmetic within its rounding. */
void gguf_config_rope_freqs(const struct hf_config *config, float *out, size_t count);

#endif
