/* statistics_tensor.h - the tensors of a statistics file, one row each; for this folder only. */
#ifndef COMMON_CALIBRATION_STATISTICS_TENSOR_H
#define COMMON_CALIBRATION_STATISTICS_TENSOR_H

#include "common/calibration/statistics.h"
#include "common/formats/safetensors/safetensors.h"

#define STATISTICS_TENSOR_FORMAT  "qfleet-statistics/1"
#define STATISTICS_TENSOR_COLUMNS ".columns" /* I64 []: every site has it */

enum statistics_tensor {
    STATISTICS_TENSOR_SUM_X2,
    STATISTICS_TENSOR_SUM_ABS,
    STATISTICS_TENSOR_MAX_ABS,
    STATISTICS_TENSOR_MIN,
    STATISTICS_TENSOR_MAX,
    STATISTICS_TENSOR_AVERAGE,
    STATISTICS_TENSOR_AVERAGE_CHANNEL,
    STATISTICS_TENSOR_HISTOGRAM,
    STATISTICS_TENSOR_HISTOGRAM_EXPONENT,
    STATISTICS_TENSOR_HISTOGRAM_CHANNEL,
    STATISTICS_TENSOR_HISTOGRAM_CHANNEL_EXPONENT,
    STATISTICS_TENSOR_COUNT
};

/* What follows the site's name, with its dot; the kind that it belongs to. Static. */
const char *statistics_tensor_ending(enum statistics_tensor tensor);
unsigned statistics_tensor_kind(enum statistics_tensor tensor);

/* Where a site keeps the tensor; NULL while it has no memory. */
void *statistics_tensor_memory(enum statistics_tensor tensor, const struct statistics_site *site);

/* Type, shape, bytes and memory of a tensor of `site` over `rows` rows. The name is left empty.
 * ERR_OVERFLOW. */
MUST_CHECK enum err statistics_tensor_describe(enum statistics_tensor tensor,
                                               const struct statistics_site *site, uint64_t rows,
                                               struct safetensor *out);

#endif
