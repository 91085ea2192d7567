/* tensor_error.c - see the header. */
#include "worker/engine/quant/tensor_error.h"

#include <float.h>

#include "common/base/check.h"

/* |value - w|, infinite where that is no number. */
static float distance(float value, float w)
{
    float d = __builtin_fabsf(value - w);
    return d <= FLT_MAX ? d : __builtin_inff();
}

static void add_row(struct tensor_error *total, size_t columns, const float *w, const float *values,
                    const float *importance)
{
    struct tensor_error row = {0};
    for (size_t c = 0; c < columns; c++) {
        float d = distance(values[c], w[c]);
        double error = (double)d * (double)d, power = (double)w[c] * (double)w[c];
        row.error += error;
        row.power += power;
        row.largest = MAX(row.largest, d);
        /* Infinite times no importance at all would be no number. */
        if (importance == NULL || importance[c] <= 0)
            continue;
        row.error_weighted += error * (double)importance[c];
        row.power_weighted += power * (double)importance[c];
    }
    total->error += row.error;
    total->power += row.power;
    total->error_weighted += row.error_weighted;
    total->power_weighted += row.power_weighted;
    total->largest = MAX(total->largest, row.largest);
}

void tensor_error_add(struct tensor_error *error, size_t rows, size_t columns, const float *w,
                      const float *values, const float *importance)
{
    for (size_t r = 0; r < rows; r++)
        add_row(error, columns, w + r * columns, values + r * columns, importance);
    error->count += (uint64_t)rows * columns;
}

static double ratio(double error, double power)
{
    if (error <= 0)
        return 0;
    return power > 0 ? error / power : __builtin_inf();
}

double tensor_error_relative(const struct tensor_error *error)
{
    return ratio(error->error, error->power);
}

double tensor_error_relative_weighted(const struct tensor_error *error)
{
    if (error->power_weighted <= 0 && error->error_weighted <= 0)
        return tensor_error_relative(error);
    return ratio(error->error_weighted, error->power_weighted);
}

double tensor_error_bits(const struct tensor_error *error, uint64_t size_bytes)
{
    return error->count > 0 ? 8 * (double)size_bytes / (double)error->count : 0;
}
