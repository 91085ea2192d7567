/* plot_text.h - a plot in characters: dots of Braille, two by four a cell, or one sign a cell where
 * the page has no such characters. Every line has its name and last value at its right end, so that
 * colours are not needed to tell them apart. */
#ifndef CLI_PLOT_PLOT_TEXT_H
#define CLI_PLOT_PLOT_TEXT_H

#include "cli/plot/plot.h"
#include "cli/render/frame.h"

enum { PLOT_TEXT_WIDTH_MIN = 30, PLOT_TEXT_HEIGHT_MIN = 6 };

/* A part of a page; at least PLOT_TEXT_WIDTH_MIN by PLOT_TEXT_HEIGHT_MIN (asserted). */
struct plot_text_place {
    size_t row, column, width, height;
};

/* Errors of plot_axes, and ERR_OUT_OF_MEMORY: the page is then as it was. */
MUST_CHECK enum err plot_text_draw(const struct plot *plot, struct frame *frame,
                                   struct plot_text_place place, struct err_text *et);

#endif
