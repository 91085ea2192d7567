/* range_search.h - which part of the values an integer grid shall cover: one table of methods.
 *
 * minmax: all of it.
 *
 * moving_average: the running extremes of the rows (moving_average.h).
 *
 * percentile: for a symmetric grid the |x| that `percentile` of the values stay below; for an
 * affine one half of the rest is cut off at either end.
 *
 * entropy: the cut-off whose levels lose least: KL divergence of the values, those beyond it
 * counted at its edge, from the bins of |x| below it merged into 2^(b-1) levels. The bin at zero is
 * taken to be like its neighbour; cut-offs begin at a 16th of the bins. Affine: a window of 2^b
 * levels, its two ends searched in turn.
 *
 * mse: the cut-off, the middle of a bin or the end of all, at which the grid has the least squared
 * error over the bins' middles; from a 16th of the bins. Affine: both ends in turn, from zero.
 *
 * l2: from both ends inward by steps of 1e-5 of the values, on the side where a step passes more
 * bins, while the error of 2^b even levels, the values spread evenly in their bins, does not grow.
 *
 * The rules are TensorRT's pytorch-quantization (percentile, entropy, mse), ONNX Runtime's (affine
 * percentile), torch.ao's HistogramObserver (l2), on the bins of histogram.h and the grid of
 * range_grid.h. What differs: a bin is a power of two wide, so 1025 to 2048 bins of a side are in
 * use where those have 2048; errors are those of our grid with its zero point; sums are f64. In a
 * histogram of fewer than 1024 bins a side (a column's) values are spread evenly within bins, and
 * cut-offs remain at bins. No range reaches beyond the extremes.
 *
 * Everything is a function of the counts: the same bits everywhere.
 */
#ifndef COMMON_CALIBRATION_RANGE_SEARCH_H
#define COMMON_CALIBRATION_RANGE_SEARCH_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/calibration/histogram.h"
#include "common/calibration/range_grid.h"

enum range_search_method {
    RANGE_SEARCH_MINMAX,
    RANGE_SEARCH_MOVING_AVERAGE,
    RANGE_SEARCH_PERCENTILE,
    RANGE_SEARCH_ENTROPY,
    RANGE_SEARCH_MSE,
    RANGE_SEARCH_L2,
    RANGE_SEARCH_METHOD_COUNT
};

struct range_search_options {
    double percentile; /* 50 to 100, usually 99.99 */
    float constant;    /* of the moving average */
};

extern const struct range_search_options range_search_defaults;

/* What a channel (or a whole tensor) is known by. A method looks at its part alone: minmax at the
 * extremes, moving_average at the records, the others at the histogram and the extremes. */
struct range_search_input {
    struct range extremes; /* -INFINITY, INFINITY: unknown */
    const float *records;  /* as moving_average_fold takes them */
    size_t record_count, record_stride;
    const struct histogram *histogram;
    size_t channel;
};

/* The name in recipes. Static. */
const char *range_search_name(enum range_search_method method);

/* RANGE_SEARCH_METHOD_COUNT when there is none of this name. */
enum range_search_method range_search_find_method(struct text name);

/* What must be observed (bits of enum statistics_kind) for the whole tensor, or for each channel.
 */
unsigned range_search_kinds(enum range_search_method method, bool per_channel);

/* The range that range_grid_scale shall be given; for a symmetric grid it is (-c, c). ERR_STATE:
 * nothing was seen; ERR_NOT_FINITE: a moving average left f32; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err range_search(enum range_search_method method,
                                 const struct range_search_options *options,
                                 const struct range_grid *grid,
                                 const struct range_search_input *input, struct range *out);

#endif
