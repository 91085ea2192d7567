/* range_cut.c - one scan over candidates, used for one end or for both at once. */
#include "common/calibration/range_cut.h"

#include <math.h>

#include "common/base/check.h"

enum end { LOW, HIGH, BOTH };

/* The first candidate bin and the one behind the last. */
struct candidates {
    size_t first, end;
};

static struct candidates candidates_of(const struct range_cut *cut, const struct range_density *d,
                                       size_t used)
{
    size_t end = cut->offset > 0.0 ? used : used + 1;
    size_t first = d->side / d->step / 16;
    return (struct candidates){MIN(MAX(first, 1u), end - 1), end};
}

static double widest(const struct range_cut *cut, const struct range_density *d, size_t used)
{
    if (used == 0)
        return 0.0;
    size_t last = candidates_of(cut, d, used).end - 1;
    return ((double)last + cut->offset) * (double)d->step;
}

/* Moves one end, or both together, to where the cost is least. */
static struct range_window scan(const struct range_cut *cut, const struct range_density *d,
                                enum end end, size_t used, struct range_window window)
{
    struct range_window best = window;
    double least = INFINITY;
    if (used == 0)
        return window;
    struct candidates c = candidates_of(cut, d, used);
    for (size_t bin = c.first; bin < c.end; bin++) {
        double position = ((double)bin + cut->offset) * (double)d->step;
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
    double full = widest(cut, d, used);
    return scan(cut, d, BOTH, used, (struct range_window){full, full});
}

struct range_window range_cut_ends(const struct range_cut *cut, const struct range_density *d)
{
    struct range_window window = {widest(cut, d, d->low), widest(cut, d, d->high)};
    for (int round = 0; round < RANGE_CUT_ROUNDS; round++) {
        struct range_window before = window;
        window = scan(cut, d, HIGH, d->high, window);
        window = scan(cut, d, LOW, d->low, window);
        if (window.low == before.low && window.high == before.high)
            break;
    }
    return window;
}
