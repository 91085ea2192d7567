/* histogram_map.h - the picture of `qctl plot --tensor`: the histogram of |x| at one input, with
 * the clip of every observer. */
#ifndef CLI_STATS_HISTOGRAM_MAP_H
#define CLI_STATS_HISTOGRAM_MAP_H

#include "cli/picture/picture.h"
#include "cli/stats/tensor_view.h"

/* Draws onto a new page: release it with picture_fini. Bars are logarithmic. ERR_STATE: no
 * histogram was recorded; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err histogram_map_draw(const struct tensor_view *view, struct picture *out,
                                       struct err_text *et);

#endif
