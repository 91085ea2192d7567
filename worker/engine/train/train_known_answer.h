/* train_known_answer.h - a fixed small training step, whose bytes tell whether two workers agree.
 *
 * Beside kernel_known_answer, which runs each kernel alone: attention over several key blocks, two
 * rows of packed samples, adapters with dropout, the loss in blocks and recomputation together.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_KNOWN_ANSWER_H
#define WORKER_ENGINE_TRAIN_TRAIN_KNOWN_ANSWER_H

#include <stdint.h>

#include "common/base/error.h"

struct kernel;

enum { TRAIN_KNOWN_ANSWER_BYTES = 16 * 1024 };

/* Writes loss sums, weights and gradients of the step (little-endian as computed), then zeros, to
 * `out`. The same bytes everywhere for f32/1; whoever reports them hashes them. ERR_OUT_OF_MEMORY.
 */
MUST_CHECK enum err train_known_answer(struct kernel *kernel,
                                       uint8_t out[TRAIN_KNOWN_ANSWER_BYTES]);

#endif
