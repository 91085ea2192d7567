/* metric.h - the rows of metric.def as text that Prometheus reads (exposition format 0.0.4).
 *
 * A family is begun once and then has its values; the caller writes each family once.
 *
 *     metric_begin(out, METRIC_JOBS);
 *     metric_count(out, METRIC_JOBS, "running", 3);
 *
 * Refuses to know: where values come from, sockets, clocks.
 */
#ifndef COMMON_METRICS_METRIC_H
#define COMMON_METRICS_METRIC_H

#include <stdint.h>

#include "common/mem/bytes.h"
#include "schemas/metric.def"

#define METRIC_ENUM(NAME, name, type, label, help) METRIC_##NAME,
enum metric { METRIC_ROWS(METRIC_ENUM) METRIC_COUNT };
#undef METRIC_ENUM

/* The content type of the text. */
#define METRIC_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Seconds in buckets from 10 us to 10 s; zeroed is empty. */
enum { METRIC_BUCKETS = 19 };
struct metric_histogram {
    uint64_t counts[METRIC_BUCKETS + 1]; /* each its own; the last is beyond all bounds */
    double sum;
};

void metric_observe(struct metric_histogram *histogram, double seconds);

/* The lines HELP and TYPE. */
void metric_begin(struct bytes *out, enum metric metric);

/* One value; `label` is the value of the row's label, NULL where it has none. Errors stay in
 * `out`. */
void metric_count(struct bytes *out, enum metric metric, const char *label, uint64_t value);
void metric_number(struct bytes *out, enum metric metric, const char *label, double value);

/* A family of one value, begun and written. */
void metric_single(struct bytes *out, enum metric metric, double value);

/* All of a histogram, begun and written. */
void metric_seconds(struct bytes *out, enum metric metric,
                    const struct metric_histogram *histogram);

#endif
