/* awq.h - scales and clips of weights chosen by the error they make at the outputs (AWQ, Lin et al.
 * 2024).
 *
 * Quantizing is easier for a channel whose weights are large beside those that share its scale on
 * the grid. So channels with large activations are scaled up, their inputs down:
 *
 *   y = (x / s) Q(W s)^T      s_j = mean|x_j|^alpha  (equation 5)
 *                      "duo":  s_j = mean|x_j|^alpha / mean|w_j|^(1 - alpha)
 *
 * The paper runs calibration tokens through the layer for every alpha. Here the error of a change
 * of weights is taken from the inputs' Gram matrix, which is the same number without tokens:
 *
 *   E = 1/T sum over tokens |x dW^T|^2 = 1/T sum over rows r of dW_r G dW_r^T,   G = sum of x^T x
 *   dW = Q(W s) / s - W
 *
 * so a search needs neither the model nor its data, and costs one half of a product
 * (rows, columns) x (columns, columns) a trial, 20 trials (39 with both forms of s).
 *
 * Measured on one AVX-512 core: 4096 x 4096 takes 18 s for 20 trials and 4 s for clips; so all
 * linear modules of a Llama of 7 B take 2.7 core-hours and 25 minutes, as independent tasks. Memory
 * for its widest site (11008 columns): 1 GB for G in f64, 0.25 GB for its half in f32, 0.4 GB for
 * weights and their changes.
 *
 * All bits depend on the arguments alone, in profile f32/1: not on threads or machine.
 * Refuses to know: models, what feeds the site, files.
 */
#ifndef WORKER_ENGINE_SOLVE_AWQ_H
#define WORKER_ENGINE_SOLVE_AWQ_H

#include "common/base/error.h"
#include "worker/engine/quant/channel_scale.h"
#include "worker/engine/quant/grid.h"

struct kernel;

/* Which forms of s are tried: without weights, with them, or both. */
enum awq_duo { AWQ_DUO_OFF, AWQ_DUO_ON, AWQ_DUO_BOTH };

struct awq_options {
    enum awq_duo duo;
    unsigned steps;      /* alpha = 0, 1/steps, ... (steps - 1)/steps */
    unsigned clip_steps; /* clips to 1, 1 - 1/clip_steps, ... of a cell's largest weight, ... */
    unsigned clip_tried; /* ... this many */
};

/* 20 alphas and clips down to 0.55 in steps of 0.05, as the paper; s with weights, which was better
 * on what we measured, or 1. */
struct awq_options awq_defaults(void);

/* What calibration says of a site's input. */
struct awq_input {
    size_t columns;
    uint64_t tokens;       /* above 0 */
    const double *sum_abs; /* (columns): sum of |x| over the tokens */
    const double *gram;    /* (columns, columns): only what is on and below the diagonal is read */
    struct channel_ties ties;
};

/* A linear module that reads the site. */
struct awq_linear {
    size_t rows;
    const float *weights; /* (rows, columns), finite */
};

struct awq_choice {
    bool scaled; /* false: nothing beat s = 1, and all scales are 1 */
    bool duo;
    double alpha;
    double error_plain; /* E of rounding to nearest, all modules of the site together */
    double error;       /* E of the chosen scales; never above error_plain */
};

/* Chooses the factors of a site: scales, (columns), normalized by sqrt(max * min) and within
 * CHANNEL_SCALE_MIN..MAX. s = 1 is tried first, then alphas ascending without weights, then with;
 * the first of equal errors is taken. A channel that never was active, or whose weights are
 * all zero, gets the smallest factor of the others: it makes no range wider. Tied channels have the
 * mean of their activations and weights. Weights of a row are first divided by the largest of their
 * cell's columns, before their mean is taken, as in llm-compressor. The range rule of `scheme` is
 * not looked at: cells cover the full range, since AWQ has a clip search of its own (awq_clip.h).
 * ERR_SHAPE, ERR_UNSUPPORTED: as grid_check; ERR_NOT_FINITE: the Gram matrix; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err awq_search(struct kernel *kernel, const struct grid_scheme *scheme,
                               const struct awq_options *options, const struct awq_input *input,
                               const struct awq_linear *linears, size_t count, float *scales,
                               struct awq_choice *choice);

#endif
