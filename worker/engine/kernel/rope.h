/* rope.h - rotary positions (Su et al. 2021), pairs (i, i + D/2) as Llama's weights expect.
 *
 * Refuses to know: how frequencies are scaled for long contexts; it takes a table.
 */
#ifndef WORKER_ENGINE_KERNEL_ROPE_H
#define WORKER_ENGINE_KERNEL_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"

/* table: (positions, D/2, 2) receives the cosine and sine of position * frequency, computed in f64
 * and rounded once. frequency: (D/2). */
void rope_table(size_t positions, size_t half_width, const double *frequency, float *table);

/* Rotates x: (T, heads * D) in place by positions[t], backwards with `inverse` (the gradient of a
 * rotation). Every position is in the table. */
void rope_apply(struct kernel *kernel, size_t T, size_t heads, size_t head_width,
                const uint32_t *positions, const float *table, bool inverse, float *x);

#endif
