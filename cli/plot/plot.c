/* plot.c - ends and ticks. */
#include "cli/plot/plot.h"

#include <math.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/numeric/scalar.h"

static double log10_of(double x)
{
    return scalar_log(x) / scalar_log(10.0);
}

static bool is_drawn(const struct plot *plot, const struct plot_point *p)
{
    return isfinite(p->x) && isfinite(p->y) && (!plot->is_log || p->y > 0);
}

/* 1, 2 or 5 times a power of ten, so that `count` of it reach across `range`. */
static double step_of(double range, size_t count)
{
    double least = range / (double)count;
    double power = scalar_pow(10.0, floor(log10_of(least)));
    static const double factors[] = {1, 2, 5, 10};
    for (size_t i = 0; i + 1 < COUNT_OF(factors); i++) {
        if (factors[i] * power >= least * (1 - 1e-9))
            return factors[i] * power;
    }
    return 10 * power;
}

static void add_tick(struct plot_axis *axis, double value)
{
    if (axis->tick_count < PLOT_TICKS_MAX)
        axis->ticks[axis->tick_count++] = value;
}

/* Powers of ten; where these are few, other multiples of them too. */
static void tick_decades(struct plot_axis *axis, size_t count)
{
    static const struct {
        size_t count;
        double factors[9];
    } rows[] = {{9, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, {3, {1, 2, 5}}, {1, {1}}};
    double first = floor(log10_of(axis->low)), last = ceil(log10_of(axis->high));
    double decades = log10_of(axis->high / axis->low);
    double stride = MAX(ceil(decades / (double)count), 1.0);
    size_t r = 0;
    while (r + 1 < COUNT_OF(rows) && decades * (double)rows[r].count > (double)count)
        r++;
    for (double power = first; power <= last; power += stride) {
        for (size_t k = 0; k < rows[r].count; k++) {
            double value = rows[r].factors[k] * scalar_pow(10.0, power);
            if (value >= axis->low * (1 - 1e-9) && value <= axis->high * (1 + 1e-9))
                add_tick(axis, value);
        }
    }
}

static void settle(struct plot_axis *axis, size_t count, double step_min)
{
    count = MIN(MAX(count, (size_t)2), (size_t)PLOT_TICKS_MAX - 1);
    if (axis->is_log && axis->high < axis->low * 1.0001) {
        axis->low /= 1.1;
        axis->high *= 1.1;
    }
    if (axis->is_log && log10_of(axis->high / axis->low) >= 0.5) {
        tick_decades(axis, count);
        return;
    }
    double range = axis->high - axis->low;
    if (range <= fabs(axis->high) * 1e-12 || range < 1e-300) { /* one value: in the middle */
        double half = axis->high != 0 ? fabs(axis->high) / 10 : 1;
        axis->low -= half;
        axis->high += half;
        range = 2 * half;
    }
    axis->step = MAX(step_of(range, count), step_min);
    for (double k = ceil(axis->low / axis->step - 1e-9);
         k * axis->step <= axis->high + axis->step * 1e-9; k++)
        add_tick(axis, k * axis->step);
}

enum err plot_axes(const struct plot *plot, size_t x_ticks, size_t y_ticks, struct plot_axis *x,
                   struct plot_axis *y, struct err_text *et)
{
    size_t seen = 0, drawn = 0;
    *x = (struct plot_axis){.low = (double)INFINITY, .high = -(double)INFINITY};
    *y = *x;
    y->is_log = plot->is_log;
    for (size_t l = 0; l < plot->line_count; l++) {
        const struct plot_line *line = &plot->lines[l];
        for (size_t i = 0; i < line->count; i++, seen++) {
            const struct plot_point *p = line->raw != NULL ? &line->raw[i] : &line->points[i];
            if (!is_drawn(plot, p))
                continue;
            x->low = MIN(x->low, p->x);
            x->high = MAX(x->high, p->x);
            y->low = MIN(y->low, p->y);
            y->high = MAX(y->high, p->y);
            drawn++;
        }
    }
    if (drawn == 0)
        return error_set(et, ERR_STATE, "%s: %s", plot->title,
                         seen == 0      ? "nothing has been logged (yet)"
                         : plot->is_log ? "no value is positive, as a logarithmic axis needs"
                                        : "no value is a number");
    settle(x, x_ticks, plot->x_is_whole ? 1 : 0);
    settle(y, y_ticks, 0);
    return ERR_OK;
}

double plot_axis_place(const struct plot_axis *axis, double value)
{
    if (!isfinite(value) || (axis->is_log && value <= 0))
        return (double)NAN;
    if (axis->is_log)
        return scalar_log(value / axis->low) / scalar_log(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

const char *plot_axis_label(const struct plot_axis *axis, double value, char out[PLOT_LABEL_BYTES])
{
    double size = MAX(fabs(axis->low), fabs(axis->high));
    if (axis->step == 0) {
        (void)snprintf(out, PLOT_LABEL_BYTES, value >= 1e5 || value < 1e-3 ? "%.0e" : "%g", value);
    } else if (size >= 1e5 || size < 1e-3) {
        int digits = (int)floor(log10_of(size)) - (int)floor(log10_of(axis->step) + 1e-9);
        (void)snprintf(out, PLOT_LABEL_BYTES, "%.*e", MIN(MAX(digits, 0), 6), value);
        if (value == 0)
            (void)snprintf(out, PLOT_LABEL_BYTES, "0");
    } else {
        int digits = -(int)floor(log10_of(axis->step) + 1e-9);
        (void)snprintf(out, PLOT_LABEL_BYTES, "%.*f", MIN(MAX(digits, 0), 6), value + 0.0);
    }
    return out;
}

void plot_smooth(const struct plot_point *points, size_t count, double weight,
                 struct plot_point *out)
{
    double mean = 0, mass = 0;
    for (size_t i = 0; i < count; i++) {
        out[i] = points[i];
        if (!isfinite(points[i].y))
            continue;
        mean = weight * mean + (1 - weight) * points[i].y;
        mass = weight * mass + (1 - weight);
        out[i].y = mean / mass;
    }
}

/* The points of one column, from `first` to `end`. */
static size_t thin_column(const struct plot_point *points, size_t first, size_t end,
                          struct plot_point *out)
{
    size_t least = first, most = first, count = 0;
    for (size_t i = first; i < end; i++) {
        least = points[i].y < points[least].y ? i : least;
        most = points[i].y > points[most].y ? i : most;
    }
    size_t keep[] = {first, MIN(least, most), MAX(least, most), end - 1};
    for (size_t k = 0; k < COUNT_OF(keep); k++) {
        if (k == 0 || keep[k] != keep[k - 1])
            out[count++] = points[keep[k]];
    }
    return count;
}

size_t plot_thin(const struct plot_point *points, size_t count, const struct plot_axis *x,
                 size_t columns, struct plot_point *out)
{
    size_t n = 0;
    for (size_t i = 0, end; i < count; i = end) {
        double column = floor(plot_axis_place(x, points[i].x) * (double)columns);
        bool is_gap = !isfinite(points[i].y);
        for (end = i + 1; end < count; end++) {
            if (floor(plot_axis_place(x, points[end].x) * (double)columns) != column ||
                !isfinite(points[end].y) != is_gap)
                break;
        }
        if (n + 5 > 4 * columns + 4)
            break; /* gaps in every column: what is drawn is full of them */
        if (is_gap)
            out[n++] = (struct plot_point){points[i].x, (double)NAN};
        else
            n += thin_column(points, i, end, out + n);
    }
    return n;
}
