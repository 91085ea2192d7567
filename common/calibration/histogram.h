/* histogram.h - counts of values in bins whose width is a power of two, for one channel or many.
 *
 * A channel's bins are 2^e wide and begin at zero, so a bin of width 2^(e+1) is exactly two of its
 * neighbours: a wider range is a merge of counts and loses nothing that a histogram built at that
 * width would have had. e is the least exponent at which the largest |x| fits, so it depends on the
 * values alone, and any order of adding and merging ends in the same bytes.
 *
 *   |x|      counts[b]             |x| in [b, b + 1) * 2^e
 *   signed   counts[bins + b]        x in [b, b + 1) * 2^e, both zeros included
 *            counts[bins - 1 - b]   -x in [b, b + 1) * 2^e, x < 0: values ascend with the index
 *
 * The upper half of the bins of one sign is never empty above HISTOGRAM_EXPONENT_MIN. Signed counts
 * turn into those of |x| by adding the sides.
 * Refuses to know: what range follows from the counts.
 */
#ifndef COMMON_CALIBRATION_HISTOGRAM_H
#define COMMON_CALIBRATION_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum {
    HISTOGRAM_EXPONENT_MIN = -126,
    HISTOGRAM_EXPONENT_MAX = 127, /* bins - 1 times it is beyond f32 long before */
    HISTOGRAM_BINS_MIN = 2,
    HISTOGRAM_BINS_MAX = 1 << 16
};

struct histogram {
    uint32_t bins;      /* of one sign: a power of two */
    bool is_signed;     /* a channel has 2 * bins counts, else bins */
    size_t channels;    /* 1: of a whole tensor */
    int32_t *exponents; /* [channels]; borrowed from whoever made the histogram */
    uint64_t *counts;   /* [channels, histogram_width]; borrowed likewise */
};

/* Counts of one channel. */
size_t histogram_width(const struct histogram *h);

/* Makes all channels empty: no counts, the least exponent. */
void histogram_clear(const struct histogram *h);

/* The least exponent at which `bins` bins hold max_abs (finite, not negative). */
int histogram_exponent(uint32_t bins, float max_abs);

/* Adds x: (count), all finite, to a channel. */
void histogram_add(const struct histogram *h, size_t channel, const float *x, size_t count);

/* Adds x: (rows, channels), all finite: each column to its channel. */
void histogram_add_columns(const struct histogram *h, const float *x, size_t rows);

/* Adds the counts of `from`, which has the same bins, signs and channels (asserted). ERR_OVERFLOW
 * when a count leaves 63 bits: then nothing has changed. */
MUST_CHECK enum err histogram_merge(const struct histogram *h, const struct histogram *from);

/* Values counted in a channel. */
uint64_t histogram_total(const struct histogram *h, size_t channel);

/* Whether the channel's exponent is the least that its counts allow, as said above. */
bool histogram_is_least(const struct histogram *h, size_t channel);

/* Lower edge of count `index` of a channel: exact. */
double histogram_edge(const struct histogram *h, size_t channel, size_t index);

/* out: (bins), the counts of |x| of a channel. */
void histogram_magnitudes(const struct histogram *h, size_t channel, uint64_t *out);

#endif
