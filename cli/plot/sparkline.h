/* sparkline.h - a curve in one line of text. */
#ifndef CLI_PLOT_SPARKLINE_H
#define CLI_PLOT_SPARKLINE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes `width` characters or fewer, each the mean of its share of the values between the least
 * and the largest of these means: blocks of eighths, or "_.-=+*#@" without `unicode`. Values that
 * are not finite are passed over; nothing is written where there is none. Returns `out`, which has
 * room for 3 * width + 1 bytes. */
char *sparkline_print(const double *values, size_t count, size_t width, bool unicode, char *out);

#endif
