/* log_filter.h - which log points a log of text gets: the first and the last, and between them one
 * when a hundredth of the training is done or half a minute has gone by since the one before, for
 * training and evaluations of each variant apart. A log grows with the job's time and not with its
 * steps.
 */
#ifndef CLI_PLOT_LOG_FILTER_H
#define CLI_PLOT_LOG_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/message/message.h"

enum { LOG_FILTER_PARTS = 100, LOG_FILTER_EVERY_MS = 30000 };

struct log_filter {
    struct {
        uint64_t step, unix_ms; /* of the last one taken */
        bool is_begun;
    } lines[LIMIT_VARIANTS][2]; /* of training, of evaluations */
};

/* Whether the point is taken. `steps_total` 0: not known. */
bool log_filter_takes(struct log_filter *filter, const struct log_point *point,
                      uint64_t steps_total);

#endif
