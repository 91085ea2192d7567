/* calibration_events.h - what calibration saw at the inputs of layers, as histograms of an event
 * file. */
#ifndef CLI_COMMAND_CALIBRATION_EVENTS_H
#define CLI_COMMAND_CALIBRATION_EVENTS_H

#include "common/calibration/statistics.h"
#include "common/mem/bytes.h"

/* Appends an event file of one histogram a site that has counts, named "calibration/<site>", at
 * `wall_s`: nothing where no site has any. *count of them. ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err calibration_events_print(const struct statistics *statistics, double wall_s,
                                             struct bytes *out, size_t *count);

#endif
