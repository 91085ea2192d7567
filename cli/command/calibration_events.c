/* calibration_events.c - fine bins added up to as many as a viewer can show. */
#include "cli/command/calibration_events.h"

#include <math.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/tensorboard/event_file.h"

enum { BUCKETS = 64, TAG_BYTES = STATISTICS_NAME_BYTES_MAX + 16 };

/* Upper edge of count `index`. */
static double edge_above(const struct histogram *h, size_t index)
{
    return histogram_edge(h, 0, index) + ldexp(1.0, h->exponents[0]);
}

/* Buckets of equal numbers of bins, without the empty ones at both ends; the sum is that of the
 * middles of bins. Returns the lower edge of the first bucket. */
static double fill(const struct histogram *h, double limits[BUCKETS], double counts[BUCKETS],
                   struct event_file_histogram *out)
{
    size_t width = histogram_width(h), bins = (width + BUCKETS - 1) / BUCKETS;
    size_t first = BUCKETS, end = 0;
    for (size_t b = 0; b * bins < width; b++) {
        size_t last = MIN((b + 1) * bins, width) - 1;
        limits[b] = edge_above(h, last);
        counts[b] = 0;
        for (size_t i = b * bins; i <= last; i++) {
            double count = (double)h->counts[i];
            counts[b] += count;
            out->sum += count * (histogram_edge(h, 0, i) + edge_above(h, i)) / 2;
        }
        out->total += counts[b];
        first = counts[b] > 0 ? MIN(first, b) : first;
        end = counts[b] > 0 ? b + 1 : end;
    }
    out->limits = limits + MIN(first, end);
    out->counts = counts + MIN(first, end);
    out->count = end - MIN(first, end);
    return out->count > 0 ? histogram_edge(h, 0, first * bins) : 0;
}

static void print_site(const struct statistics_site *site, double wall_s, struct bytes *out,
                       size_t *count)
{
    double limits[BUCKETS], counts[BUCKETS];
    char tag[TAG_BYTES];
    struct event_file_histogram h = {.tag = tag};
    double least = fill(&site->histogram, limits, counts, &h);
    if (h.count == 0)
        return;
    (void)snprintf(tag, sizeof tag, "calibration/%.*s", TEXT_ARGS(site->name));
    h.min = least;
    h.max = h.limits[h.count - 1];
    if ((site->kinds & STATISTICS_MIN_MAX) != 0) {
        h.min = (double)site->min[0];
        h.max = (double)site->max[0];
    }
    for (size_t c = 0; c < site->columns; c++) {
        if ((site->kinds & STATISTICS_MIN_MAX) != 0) {
            h.min = MIN(h.min, (double)site->min[c]);
            h.max = MAX(h.max, (double)site->max[c]);
        }
        if ((site->kinds & STATISTICS_SUM_X2) != 0)
            h.sum_squares += site->sum_x2[c];
    }
    if (*count == 0)
        event_file_begin(wall_s, out);
    event_file_histogram(wall_s, 0, &h, out);
    (*count)++;
}

enum err calibration_events_print(const struct statistics *statistics, double wall_s,
                                  struct bytes *out, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < statistics->count; i++) {
        if ((statistics->sites[i].kinds & STATISTICS_HISTOGRAM) != 0)
            print_site(&statistics->sites[i], wall_s, out, count);
    }
    return bytes_status(out);
}
