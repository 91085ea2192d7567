/* range_cut.h - the least costly window around zero; for this folder only.
 *
 * Candidates of a side are its bins from `first` up to the last in use, each at an offset from its
 * lower edge, and the upper edge of the last; a side without values stays at zero.
 */
#ifndef COMMON_CALIBRATION_RANGE_CUT_H
#define COMMON_CALIBRATION_RANGE_CUT_H

#include <stdbool.h>

#include "common/calibration/range_density.h"

/* Cost of the window [-low, high], in fine bins; may be INFINITY. */
typedef double (*range_cut_f)(void *context, double low, double high);

struct range_cut {
    range_cut_f cost;
    void *context;
    size_t first;     /* bin; the last in use where that is less */
    double offset;    /* of a candidate in its bin: 0 the lower edge, 0.5 the middle */
    bool takes_wider; /* of equals: the widest, else the narrowest */
};

struct range_window {
    double low, high; /* fine bins from zero, none negative */
};

/* low == high, over what the wider side uses. */
struct range_window range_cut_even(const struct range_cut *cut, const struct range_density *d);

/* One end after the other, the upper first, until neither moves, at most RANGE_CUT_ROUNDS times. */
enum { RANGE_CUT_ROUNDS = 4 };
struct range_window range_cut_ends(const struct range_cut *cut, const struct range_density *d);

#endif
