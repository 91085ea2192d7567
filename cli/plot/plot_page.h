/* plot_page.h - a plot as a picture: a grid, lines, each named at its right end. */
#ifndef CLI_PLOT_PLOT_PAGE_H
#define CLI_PLOT_PLOT_PAGE_H

#include "cli/picture/picture.h"
#include "cli/plot/plot.h"

/* Draws onto a new page: release it with picture_fini. What was smoothed lies pale below its line.
 * Errors of plot_axes, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err plot_page_draw(const struct plot *plot, struct picture *out,
                                   struct err_text *et);

#endif
