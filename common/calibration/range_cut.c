/* range_cut.c - one scan over candidates, used for one end or for both at once. */
#include "common/calibration/range_cut.h"

#include <math.h>

#include "common/base/check.h"

enum end { LOW, HIGH, BOTH };

/* Moves one end, or both together, to where the cost is least. */
static struct range_window scan(const struct range_cut *cut, const struct range_density *d,
                                enum end end, size_t used, struct range_window window)
{
    struct range_window best = window;
    double least = INFINITY;
    if (used == 0)
        return window;
    for (size_t bin = MIN(cut->first, used - 1); bin <= used; bin++) {
        double offset = bin < used ? cut->offset : 0.0; /* the last: all of the side */
        double position = ((double)bin + offset) * (double)d->step;
        window.low = end == HIGH ? window.low : position;
        window.high = end == LOW ? window.high : position;
        double cost = cut->cost(cut->context, window.low, window.high);
        if (cost < least || (cost == least && cut->takes_wider)) {
            least = cost;
            best = window;
        }
    }
    return best;
}

struct range_window range_cut_even(const struct range_cut *cut, const struct range_density *d)
{
    size_t used = MAX(d->low, d->high);
    double full = (double)(used * d->step);
    return scan(cut, d, BOTH, used, (struct range_window){full, full});
}

struct range_window range_cut_ends(const struct range_cut *cut, const struct range_density *d)
{
    struct range_window window = {(double)(d->low * d->step), (double)(d->high * d->step)};
    for (int round = 0; round < RANGE_CUT_ROUNDS; round++) {
        struct range_window before = window;
        window = scan(cut, d, HIGH, d->high, window);
        window = scan(cut, d, LOW, d->low, window);
        if (window.low == before.low && window.high == before.high)
            break;
    }
    return window;
}
