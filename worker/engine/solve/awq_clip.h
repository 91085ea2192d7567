/* awq_clip.h - cutting off the largest weights of a cell where that makes the outputs better (AWQ).
 *
 * A cell's scale follows its largest weight. Clipping that one makes the steps of all others finer:
 * bounds 1, 1 - 1/steps, ... of the largest are tried for every cell, and weighed by the Gram
 * matrix of the cell's columns alone (awq.h), as if inputs of different cells had nothing in
 * common.
 */
#ifndef WORKER_ENGINE_SOLVE_AWQ_CLIP_H
#define WORKER_ENGINE_SOLVE_AWQ_CLIP_H

#include "worker/engine/solve/awq.h"

struct awq_clip {
    double error_plain,
        error; /* E of the whole module with full ranges, and with what was chosen */
    size_t clipped, cells;
};

/* Clips weights (rows, columns), which are times `scales` (columns; NULL: ones) already, in place;
 * what is left to do is to quantize them with GRID_MINMAX. Of equal errors the largest bound is
 * taken. Where the clips together make the whole module's error larger there are none, so `error`
 * is never above `error_plain`. The paper leaves q and k alone, whose errors attention multiplies
 * with each other. Errors as awq_search; weights are then as they were. */
MUST_CHECK enum err awq_clip(struct kernel *kernel, const struct grid_scheme *scheme,
                             const struct awq_options *options, const struct awq_input *input,
                             const float *scales, size_t rows, float *weights,
                             struct awq_clip *out);

#endif
