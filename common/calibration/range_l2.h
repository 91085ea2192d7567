/* range_l2.h - torch.ao's search by the integral of squared error; for this folder only. */
#ifndef COMMON_CALIBRATION_RANGE_L2_H
#define COMMON_CALIBRATION_RANGE_L2_H

#include "common/calibration/range_cut.h"

/* The window in fine bins, as its two edges from zero; `low` may be negative: a lower edge above
 * zero. `levels`: of the grid. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err range_l2(const struct range_density *density, size_t levels,
                             struct range_window *out);

#endif
