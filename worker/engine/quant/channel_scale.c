/* channel_scale.c - see the header. */
#include "worker/engine/quant/channel_scale.h"

#include "common/base/check.h"

/* The columns of one channel: `count` of them, `stride` from one to the next. */
struct channel {
    size_t first, stride, count;
};

static struct channel channel_of(const struct channel_ties *ties, size_t column)
{
    if (ties->width == 0)
        return (struct channel){column, 0, 1};
    size_t run = ties->width * ties->repeat;
    return (struct channel){column / run * run + column % ties->width, ties->width, ties->repeat};
}

float channel_scale_max_of(const struct channel_ties *ties, const float *values, size_t column)
{
    struct channel channel = channel_of(ties, column);
    float max = values[channel.first];
    for (size_t i = 1; i < channel.count; i++)
        max = MAX(max, values[channel.first + i * channel.stride]);
    return max;
}

double channel_scale_mean_of(const struct channel_ties *ties, const double *values, size_t column)
{
    struct channel channel = channel_of(ties, column);
    double sum = values[channel.first];
    for (size_t i = 1; i < channel.count; i++)
        sum += values[channel.first + i * channel.stride];
    return sum / (double)channel.count;
}

void channel_scale_add_max(size_t rows, size_t columns, const float *w, float *max)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            float size = __builtin_fabsf(w[r * columns + c]);
            max[c] = MAX(max[c], size);
        }
    }
}

void channel_scale_apply(size_t rows, size_t columns, const float *scales, float *w)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++)
            w[r * columns + c] *= scales[c];
    }
}
