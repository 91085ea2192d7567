/* histogram.c - bins found by one multiplication by a power of two, merged by shifts of the index.
 */
#include "common/calibration/histogram.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"

enum { BLOCK = 256 };

size_t histogram_width(const struct histogram *h)
{
    return h->is_signed ? 2 * (size_t)h->bins : h->bins;
}

static uint64_t *counts_of(const struct histogram *h, size_t channel)
{
    ASSERT(channel < h->channels);
    return h->counts + channel * histogram_width(h);
}

void histogram_clear(const struct histogram *h)
{
    for (size_t c = 0; c < h->channels; c++)
        h->exponents[c] = HISTOGRAM_EXPONENT_MIN;
    if (h->channels > 0)
        memset(h->counts, 0, h->channels * histogram_width(h) * sizeof *h->counts);
}

int histogram_exponent(uint32_t bins, float max_abs)
{
    int above; /* max_abs < 2^above, least */
    (void)frexpf(max_abs, &above);
    int exponent = above - __builtin_ctz(bins);
    return max_abs == 0.0f ? HISTOGRAM_EXPONENT_MIN : MAX(exponent, (int)HISTOGRAM_EXPONENT_MIN);
}

/* Moves `bins` counts, `step` apart from zero outwards, to bins 2^shift times as wide. Whatever is
 * beyond the last target was empty. */
static void widen_side(uint64_t *counts, ptrdiff_t step, uint32_t bins, unsigned shift)
{
    for (uint32_t b = 1; b < bins; b++) {
        uint64_t count = counts[step * (ptrdiff_t)b];
        counts[step * (ptrdiff_t)b] = 0;
        counts[shift < 32 ? step * (ptrdiff_t)(b >> shift) : 0] += count;
    }
}

/* Makes the exponent at least `exponent`. */
static void widen(const struct histogram *h, size_t channel, int exponent)
{
    int shift = exponent - h->exponents[channel];
    if (shift <= 0)
        return;
    uint64_t *counts = counts_of(h, channel);
    widen_side(counts + (h->is_signed ? h->bins : 0), 1, h->bins, (unsigned)shift);
    if (h->is_signed)
        widen_side(counts + h->bins - 1, -1, h->bins, (unsigned)shift);
    h->exponents[channel] = exponent;
}

/* Of finite floats: their bits without the sign are in the order of their magnitudes. */
static uint32_t magnitude_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffffu;
}

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* places[i]: the count that x[i] belongs to. Negative values fold over: ~b is -1 - b. */
static void find_places(const float *restrict x, size_t count, float scale, int32_t zero,
                        bool is_signed, int32_t *restrict places)
{
    if (is_signed)
        for (size_t i = 0; i < count; i++) {
            float scaled = x[i] * scale;
            int32_t sign = -(int32_t)(x[i] < 0.0f);
            places[i] = zero + ((int32_t)(scaled < 0.0f ? -scaled : scaled) ^ sign);
        }
    else
        for (size_t i = 0; i < count; i++)
            places[i] = (int32_t)(x[i] < 0.0f ? -x[i] * scale : x[i] * scale);
}

void histogram_add(const struct histogram *h, size_t channel, const float *x, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = magnitude_bits(x[i]);
        largest = bits > largest ? bits : largest;
    }
    widen(h, channel, histogram_exponent(h->bins, of_bits(largest)));
    uint64_t *counts = counts_of(h, channel);
    float scale = ldexpf(1.0f, -h->exponents[channel]);
    int32_t places[BLOCK];
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        size_t size = MIN(count - begin, (size_t)BLOCK);
        find_places(x + begin, size, scale, (int32_t)h->bins, h->is_signed, places);
        for (size_t i = 0; i < size; i++)
            counts[places[i]]++;
    }
}

/* A block of neighbouring columns, row by row. */
static void add_block(const struct histogram *h, size_t first, size_t size, const float *x,
                      size_t rows)
{
    uint32_t largest[BLOCK] = {0};
    float scales[BLOCK];
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < size; i++) {
            uint32_t bits = magnitude_bits(x[r * h->channels + first + i]);
            largest[i] = bits > largest[i] ? bits : largest[i];
        }
    for (size_t i = 0; i < size; i++) {
        widen(h, first + i, histogram_exponent(h->bins, of_bits(largest[i])));
        scales[i] = ldexpf(1.0f, -h->exponents[first + i]);
    }
    size_t width = histogram_width(h);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < size; i++) {
            int32_t place;
            find_places(&x[r * h->channels + first + i], 1, scales[i], (int32_t)h->bins,
                        h->is_signed, &place);
            h->counts[(first + i) * width + (size_t)place]++;
        }
}

void histogram_add_columns(const struct histogram *h, const float *x, size_t rows)
{
    for (size_t first = 0; first < h->channels; first += BLOCK)
        add_block(h, first, MIN(h->channels - first, (size_t)BLOCK), x, rows);
}

uint64_t histogram_total(const struct histogram *h, size_t channel)
{
    const uint64_t *counts = counts_of(h, channel);
    uint64_t total = 0;
    for (size_t i = 0; i < histogram_width(h); i++)
        total += counts[i];
    return total;
}

/* Adds one side of a channel, whose bins become 2^shift times as wide. */
static void merge_side(uint64_t *to, const uint64_t *from, ptrdiff_t step, uint32_t bins,
                       unsigned shift)
{
    for (uint32_t b = 0; b < bins; b++)
        to[shift < 32 ? step * (ptrdiff_t)(b >> shift) : 0] += from[step * (ptrdiff_t)b];
}

enum err histogram_merge(const struct histogram *h, const struct histogram *from)
{
    ASSERT(h->bins == from->bins && h->is_signed == from->is_signed &&
           h->channels == from->channels);
    for (size_t c = 0; c < h->channels; c++)
        if (histogram_total(h, c) > (uint64_t)INT64_MAX - histogram_total(from, c))
            return ERR_OVERFLOW;
    for (size_t c = 0; c < h->channels; c++) {
        widen(h, c, from->exponents[c]);
        unsigned shift = (unsigned)(h->exponents[c] - from->exponents[c]);
        uint64_t *to = counts_of(h, c);
        const uint64_t *add = counts_of(from, c);
        size_t zero = h->is_signed ? h->bins : 0;
        merge_side(to + zero, add + zero, 1, h->bins, shift);
        if (h->is_signed)
            merge_side(to + zero - 1, add + zero - 1, -1, h->bins, shift);
    }
    return ERR_OK;
}

bool histogram_is_least(const struct histogram *h, size_t channel)
{
    const uint64_t *counts = counts_of(h, channel);
    if (h->exponents[channel] == HISTOGRAM_EXPONENT_MIN)
        return true;
    size_t zero = h->is_signed ? h->bins : 0;
    for (size_t b = h->bins / 2; b < h->bins; b++)
        if (counts[zero + b] != 0 || (h->is_signed && counts[zero - 1 - b] != 0))
            return true;
    return false;
}

double histogram_edge(const struct histogram *h, size_t channel, size_t index)
{
    double place = (double)index - (h->is_signed ? (double)h->bins : 0.0);
    return ldexp(place, h->exponents[channel]);
}

void histogram_magnitudes(const struct histogram *h, size_t channel, uint64_t *out)
{
    const uint64_t *counts = counts_of(h, channel);
    for (size_t b = 0; b < h->bins; b++)
        out[b] = h->is_signed ? counts[h->bins + b] + counts[h->bins - 1 - b] : counts[b];
}
