/* smoothquant.c - see the header. */
#include "worker/engine/quant/smoothquant.h"

#include "common/base/check.h"
#include "common/numeric/scalar.h"

static float scale_of(double alpha, float max_x, float max_w)
{
    if (max_x <= 0 || max_w <= 0)
        return 1;
    float s = (float)(scalar_pow((double)max_x, alpha) / scalar_pow((double)max_w, 1 - alpha));
    return MIN(MAX(s, CHANNEL_SCALE_MIN), CHANNEL_SCALE_MAX);
}

void smoothquant_scales(const struct channel_ties *ties, size_t columns, double alpha,
                        const float *max_x, const float *max_w, float *scales)
{
    ASSERT(alpha >= 0 && alpha <= 1);
    for (size_t c = 0; c < columns; c++)
        scales[c] = scale_of(alpha, channel_scale_max_of(ties, max_x, c),
                             channel_scale_max_of(ties, max_w, c));
}
