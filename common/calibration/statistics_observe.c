/* statistics_observe.c - the leaf: one row of tokens at each site.
 *
 * Columns go in blocks whose sums stay in registers while the tokens pass.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/calibration/statistics.h"

enum { BLOCK = 16, EXTREMES = 256 };

void statistics_start(struct statistics *leaf, uint64_t row)
{
    ASSERT(row < leaf->row_count);
    statistics_clear(leaf, row);
}

static void sum_block(const float *x, size_t tokens, size_t columns, size_t size, double *sum_x2,
                      double *sum_abs)
{
    double squares[BLOCK] = {0}, magnitudes[BLOCK] = {0};
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < size; i++) {
            double value = (double)x[t * columns + i];
            squares[i] += value * value;
            magnitudes[i] += fabs(value);
        }
    if (sum_x2 != NULL)
        memcpy(sum_x2, squares, size * sizeof *squares);
    if (sum_abs != NULL)
        memcpy(sum_abs, magnitudes, size * sizeof *magnitudes);
}

static void sum_columns(const float *x, size_t tokens, size_t columns, double *sum_x2,
                        double *sum_abs)
{
    for (size_t c = 0; c < columns; c += BLOCK) {
        double *squares = sum_x2 != NULL ? sum_x2 + c : NULL;
        double *magnitudes = sum_abs != NULL ? sum_abs + c : NULL;
        if (columns - c >= BLOCK) /* a constant size is what the compiler widens */
            sum_block(x + c, tokens, columns, BLOCK, squares, magnitudes);
        else
            sum_block(x + c, tokens, columns, columns - c, squares, magnitudes);
    }
}

/* min, max: (size) of the columns from x on. */
static void find_extremes(const float *x, size_t tokens, size_t columns, size_t size,
                          float *restrict min, float *restrict max)
{
    memcpy(min, x, size * sizeof *min);
    memcpy(max, x, size * sizeof *max);
    for (size_t t = 1; t < tokens; t++)
        for (size_t i = 0; i < size; i++) {
            float value = x[t * columns + i];
            min[i] = value < min[i] ? value : min[i];
            max[i] = value > max[i] ? value : max[i];
        }
}

static bool are_finite(const float *x, size_t count)
{
    bool finite = true;
    for (size_t i = 0; i < count; i++)
        finite &= fabsf(x[i]) <= FLT_MAX;
    return finite;
}

static bool are_sums(const double *sums, size_t count)
{
    bool good = true;
    for (size_t i = 0; sums != NULL && i < count; i++)
        good &= sums[i] >= 0.0 && sums[i] <= DBL_MAX;
    return good;
}

/* From minima and maxima of columns [begin, begin + size) to all that follows from them. One sign
 * of zero, so that order cannot show. */
static void keep_extremes(const struct statistics_site *site, size_t begin, size_t size,
                          const float *min, const float *max)
{
    for (size_t i = 0; i < size; i++) {
        const size_t c = begin + i;
        float low = min[i] + 0.0f, high = max[i] + 0.0f;
        if (site->max_abs != NULL)
            site->max_abs[c] = MAX(fabsf(low), fabsf(high));
        if (site->min != NULL) {
            site->min[c] = low;
            site->max[c] = high;
        }
        if (site->average != NULL) {
            site->average[0] = c == 0 ? low : MIN(site->average[0], low);
            site->average[1] = c == 0 ? high : MAX(site->average[1], high);
        }
        if (site->average_channel != NULL) {
            site->average_channel[2 * c] = low;
            site->average_channel[2 * c + 1] = high;
        }
    }
}

static void observe_extremes(const struct statistics_site *site, const struct statistics_seen *seen)
{
    float min[EXTREMES], max[EXTREMES];
    if (seen->min != NULL) {
        keep_extremes(site, 0, site->columns, seen->min, seen->max);
        return;
    }
    for (size_t c = 0; c < site->columns; c += EXTREMES) {
        size_t size = MIN(site->columns - c, (size_t)EXTREMES);
        find_extremes(seen->x + c, seen->tokens, site->columns, size, min, max);
        keep_extremes(site, c, size, min, max);
    }
}

enum err statistics_observe(struct statistics *leaf, size_t index,
                            const struct statistics_seen *seen)
{
    const unsigned counts = STATISTICS_HISTOGRAM | STATISTICS_HISTOGRAM_CHANNEL;
    const unsigned extremes =
        STATISTICS_MAX_ABS | STATISTICS_MIN_MAX | STATISTICS_AVERAGE | STATISTICS_AVERAGE_CHANNEL;
    ASSERT(index < leaf->count && leaf->room > 0 && seen->tokens > 0);
    struct statistics_site *site = &leaf->sites[index];
    const size_t columns = site->columns;
    double *sum_x2 = seen->sum_x2 == NULL ? site->sum_x2 : NULL; /* what is to be summed here */
    double *sum_abs = seen->sum_abs == NULL ? site->sum_abs : NULL;
    bool needs_extremes = (site->kinds & extremes) != 0 && seen->min == NULL;
    ASSERT(site->tokens == 0 && (seen->min == NULL) == (seen->max == NULL));
    ASSERT(seen->x != NULL ||
           (sum_x2 == NULL && sum_abs == NULL && !needs_extremes && (site->kinds & counts) == 0));

    if (seen->x != NULL && !are_finite(seen->x, seen->tokens * columns))
        return ERR_NOT_FINITE;
    if (!are_sums(seen->sum_x2, columns) || !are_sums(seen->sum_abs, columns) ||
        (seen->min != NULL && !(are_finite(seen->min, columns) && are_finite(seen->max, columns))))
        return ERR_NOT_FINITE;

    if (sum_x2 != NULL || sum_abs != NULL)
        sum_columns(seen->x, seen->tokens, columns, sum_x2, sum_abs);
    if (site->sum_x2 != NULL && seen->sum_x2 != NULL)
        memcpy(site->sum_x2, seen->sum_x2, columns * sizeof *site->sum_x2);
    if (site->sum_abs != NULL && seen->sum_abs != NULL)
        memcpy(site->sum_abs, seen->sum_abs, columns * sizeof *site->sum_abs);
    if ((site->kinds & extremes) != 0)
        observe_extremes(site, seen);
    if ((site->kinds & STATISTICS_HISTOGRAM) != 0)
        histogram_add(&site->histogram, 0, seen->x, seen->tokens * columns);
    if ((site->kinds & STATISTICS_HISTOGRAM_CHANNEL) != 0)
        histogram_add_columns(&site->histogram_channel, seen->x, seen->tokens);
    site->tokens = seen->tokens;
    return ERR_OK;
}

enum err statistics_end(struct statistics *leaf)
{
    uint64_t tokens = leaf->sites[0].tokens;
    for (size_t i = 0; i < leaf->count; i++)
        if (leaf->sites[i].tokens != tokens || tokens == 0)
            return ERR_STATE;
    leaf->tokens = tokens;
    leaf->rows.end = leaf->rows.begin + 1;
    return ERR_OK;
}
