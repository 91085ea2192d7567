/* moving_average.c - one line of arithmetic, in row order. */
#include "common/calibration/moving_average.h"

#include "common/base/check.h"

void moving_average_fold(float constant, const float *records, size_t rows, size_t stride,
                         float *min, float *max)
{
    ASSERT(rows > 0);
    float low = records[0], high = records[1];
    for (size_t r = 1; r < rows; r++) {
        const float *record = records + 2 * stride * r;
        low = low + constant * (record[0] - low);
        high = high + constant * (record[1] - high);
    }
    *min = low;
    *max = high;
}
