/* statistics_tensor.c - the table, and where a site keeps each. */
#include "common/calibration/statistics_tensor.h"

#include "common/base/check.h"

struct row {
    const char *ending;
    unsigned kind;
    enum safetensors_dtype dtype;
};

static const struct row table[STATISTICS_TENSOR_COUNT] = {
    [STATISTICS_TENSOR_SUM_X2] = {".sum_x2", STATISTICS_SUM_X2, SAFETENSORS_F64},
    [STATISTICS_TENSOR_SUM_ABS] = {".sum_abs", STATISTICS_SUM_ABS, SAFETENSORS_F64},
    [STATISTICS_TENSOR_MAX_ABS] = {".max_abs", STATISTICS_MAX_ABS, SAFETENSORS_F32},
    [STATISTICS_TENSOR_MIN] = {".min", STATISTICS_MIN_MAX, SAFETENSORS_F32},
    [STATISTICS_TENSOR_MAX] = {".max", STATISTICS_MIN_MAX, SAFETENSORS_F32},
    [STATISTICS_TENSOR_AVERAGE] = {".average", STATISTICS_AVERAGE, SAFETENSORS_F32},
    [STATISTICS_TENSOR_AVERAGE_CHANNEL] = {".average_channel", STATISTICS_AVERAGE_CHANNEL,
                                           SAFETENSORS_F32},
    [STATISTICS_TENSOR_HISTOGRAM] = {".histogram", STATISTICS_HISTOGRAM, SAFETENSORS_I64},
    [STATISTICS_TENSOR_HISTOGRAM_EXPONENT] = {".histogram_exponent", STATISTICS_HISTOGRAM,
                                              SAFETENSORS_I32},
    [STATISTICS_TENSOR_HISTOGRAM_CHANNEL] = {".histogram_channel", STATISTICS_HISTOGRAM_CHANNEL,
                                             SAFETENSORS_I64},
    [STATISTICS_TENSOR_HISTOGRAM_CHANNEL_EXPONENT] = {".histogram_channel_exponent",
                                                      STATISTICS_HISTOGRAM_CHANNEL,
                                                      SAFETENSORS_I32},
};

const char *statistics_tensor_ending(enum statistics_tensor tensor)
{
    return table[tensor].ending;
}

unsigned statistics_tensor_kind(enum statistics_tensor tensor)
{
    return table[tensor].kind;
}

void *statistics_tensor_memory(enum statistics_tensor tensor, const struct statistics_site *site)
{
    switch (tensor) {
    case STATISTICS_TENSOR_SUM_X2:
        return site->sum_x2;
    case STATISTICS_TENSOR_SUM_ABS:
        return site->sum_abs;
    case STATISTICS_TENSOR_MAX_ABS:
        return site->max_abs;
    case STATISTICS_TENSOR_MIN:
        return site->min;
    case STATISTICS_TENSOR_MAX:
        return site->max;
    case STATISTICS_TENSOR_AVERAGE:
        return site->average;
    case STATISTICS_TENSOR_AVERAGE_CHANNEL:
        return site->average_channel;
    case STATISTICS_TENSOR_HISTOGRAM:
        return site->histogram.counts;
    case STATISTICS_TENSOR_HISTOGRAM_EXPONENT:
        return site->histogram.exponents;
    case STATISTICS_TENSOR_HISTOGRAM_CHANNEL:
        return site->histogram_channel.counts;
    case STATISTICS_TENSOR_HISTOGRAM_CHANNEL_EXPONENT:
        return site->histogram_channel.exponents;
    case STATISTICS_TENSOR_COUNT:
        break;
    }
    ASSERT(false);
    return NULL;
}

static void set_shape(struct safetensor *t, uint32_t rank, uint64_t a, uint64_t b, uint64_t c)
{
    t->rank = rank;
    t->shape[0] = a;
    t->shape[1] = b;
    t->shape[2] = c;
}

enum err statistics_tensor_describe(enum statistics_tensor tensor,
                                    const struct statistics_site *site, uint64_t rows,
                                    struct safetensor *out)
{
    struct safetensor t = {.dtype = table[tensor].dtype};
    const uint64_t columns = site->columns;
    if (tensor == STATISTICS_TENSOR_AVERAGE || tensor == STATISTICS_TENSOR_AVERAGE_CHANNEL)
        set_shape(&t, 3, rows, tensor == STATISTICS_TENSOR_AVERAGE ? 1 : columns, 2);
    else if (tensor == STATISTICS_TENSOR_HISTOGRAM)
        set_shape(&t, 2, 1, 2 * STATISTICS_BINS, 0);
    else if (tensor == STATISTICS_TENSOR_HISTOGRAM_CHANNEL)
        set_shape(&t, 2, columns, 2 * STATISTICS_BINS_CHANNEL, 0);
    else if (tensor == STATISTICS_TENSOR_HISTOGRAM_EXPONENT)
        set_shape(&t, 1, 1, 0, 0);
    else
        set_shape(&t, 1, columns, 0, 0);
    size_t size = safetensors_dtype_size_bytes(t.dtype);
    for (uint32_t i = 0; i < t.rank; i++)
        if (t.shape[i] > SIZE_MAX || !check_mul(size, (size_t)t.shape[i], &size))
            return ERR_OVERFLOW;
    t.data = (struct span){statistics_tensor_memory(tensor, site), size};
    *out = t;
    return ERR_OK;
}
