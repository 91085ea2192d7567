/* init.h - first values of weights, each a function of key and index. */
#ifndef COMMON_NUMERIC_INIT_H
#define COMMON_NUMERIC_INIT_H

#include <stddef.h>
#include <stdint.h>

/* Uniform in [-1/sqrt(fan_in), 1/sqrt(fan_in)): Kaiming's bound with a = sqrt(5), as PEFT draws
 * lora_A. Writes elements [begin, begin + count) of the tensor to out; fan_in > 0. */
void init_kaiming_uniform(uint64_t key, size_t fan_in, size_t begin, size_t count, float *out);

/* Normal with mean 0 and the given deviation. */
void init_normal(uint64_t key, float deviation, size_t begin, size_t count, float *out);

#endif
