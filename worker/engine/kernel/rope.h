/* rope.h - rotary positions (Su et al. 2021), pairs (i, i + R/2) of a head's first R elements, as
 * the weights of Hugging Face's files expect.
 *
 * Refuses to know: how frequencies are scaled for long contexts; it takes a table.
 */
#ifndef WORKER_ENGINE_KERNEL_ROPE_H
#define WORKER_ENGINE_KERNEL_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"

/* table: (positions, R/2, 2) receives the cosine and sine of position * frequency, both times
 * `scale` (1, or what YaRN and LongRoPE multiply attention by), computed in f64 and rounded once.
 * frequency: (R/2), half_width of them. */
void rope_table(size_t positions, size_t half_width, const double *frequency, double scale,
                float *table);

/* Rotates x: (T, heads * D) in place by positions[t], backwards with `inverse` (the gradient of a
 * rotation, and of its scale). Elements of a head from rotary_width (R, even, at most D) on stay as
 * they are. Every position is in the table. */
void rope_apply(struct kernel *kernel, size_t T, size_t heads, size_t head_width,
                size_t rotary_width, const uint32_t *positions, const float *table, bool inverse,
                float *x);

#endif
