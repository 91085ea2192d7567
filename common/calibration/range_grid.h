/* range_grid.h - from a range of values to scale and zero point of an integer grid.
 *
 *   value = (code - zero) * scale,   qmin <= code <= qmax
 *
 *                 signed               unsigned
 *   codes         -2^(b-1)..2^(b-1)-1  0..2^b - 1
 *   symmetric     zero 0               zero 2^(b-1);   scale = max|x| / ((qmax - qmin) / 2)
 *   affine        scale = (max(0, max) - min(0, min)) / (qmax - qmin)
 *                 zero = qmin - round(min(0, min) / scale), halves to even, within the codes
 *
 * in f32, step by step; a scale is at least FLT_EPSILON. Zero is a value of every grid.
 * Source: torch.ao UniformQuantizationObserverBase, compressed-tensors: the same rule.
 */
#ifndef COMMON_CALIBRATION_RANGE_GRID_H
#define COMMON_CALIBRATION_RANGE_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/calibration/histogram.h"

enum { RANGE_GRID_BITS_MIN = 2, RANGE_GRID_BITS_MAX = 8 };

struct range_grid {
    unsigned bits; /* 2 to 8 */
    bool is_signed;
    bool is_symmetric;
};

struct range {
    float min, max;
};

struct range_scale {
    float scale;
    int32_t zero;
};

/* The least and the largest code. */
int32_t range_grid_min(const struct range_grid *grid);
int32_t range_grid_max(const struct range_grid *grid);

/* `range` is finite and min <= max. */
struct range_scale range_grid_scale(const struct range_grid *grid, struct range range);

/* What a scale does to counted values: mean squared error, each bin of the histogram taken at its
 * middle, and the share of values beyond the codes. Zeros when nothing was counted. */
struct range_grid_error {
    double mean_square;
    double clipped;
};

struct range_grid_error range_grid_error(const struct range_grid *grid, struct range_scale scale,
                                         const struct histogram *histogram, size_t channel);

#endif
