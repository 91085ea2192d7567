/* error_map.h - the picture of `qctl plot`: rows are layers, columns are modules, colours are what
 * quantizing them cost.
 */
#ifndef CLI_STATS_ERROR_MAP_H
#define CLI_STATS_ERROR_MAP_H

#include "cli/picture/picture.h"
#include "cli/stats/figures.h"

enum error_map_value { ERROR_MAP_WEIGHTED, ERROR_MAP_RELATIVE, ERROR_MAP_OUTPUT };

/* Draws onto a new page: release it with picture_fini. `title` is the job's name. The scale of
 * colours is logarithmic and covers at least a factor of four. ERR_STATE: no figure has this error;
 * ERR_LIMIT: more layers or modules than a page takes; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err error_map_draw(const struct figures *figures, enum error_map_value value,
                                   struct text title, struct picture *out, struct err_text *et);

#endif
