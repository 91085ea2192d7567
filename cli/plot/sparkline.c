/* sparkline.c - shares of a row of values, their means, their ranks among eight. */
#include "cli/plot/sparkline.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"

enum { LEVELS = 8 };

/* Mean of the share, NaN when no value is finite. */
static double mean_of(const double *values, size_t first, size_t end)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        if (isfinite(values[i])) {
            sum += values[i];
            count++;
        }
    }
    return count > 0 ? sum / (double)count : (double)NAN;
}

char *sparkline_print(const double *values, size_t count, size_t width, bool unicode, char *out)
{
    static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char signs[] = "_.-=+*#@";
    double low = (double)INFINITY, high = -(double)INFINITY;
    size_t columns = MIN(count, width), n = 0;
    for (size_t c = 0; c < columns; c++) {
        double mean = mean_of(values, c * count / columns, (c + 1) * count / columns);
        low = MIN(isfinite(mean) ? mean : low, low);
        high = MAX(isfinite(mean) ? mean : high, high);
    }
    for (size_t c = 0; c < columns; c++) {
        double mean = mean_of(values, c * count / columns, (c + 1) * count / columns);
        if (!isfinite(mean))
            continue;
        double place = high > low ? (mean - low) / (high - low) : 0;
        size_t level = MIN((size_t)(place * LEVELS), (size_t)LEVELS - 1);
        if (unicode) {
            memcpy(out + n, blocks[level], 3);
            n += 3;
        } else {
            out[n++] = signs[level];
        }
    }
    out[n] = '\0';
    return out;
}
