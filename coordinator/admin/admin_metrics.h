/* admin_metrics.h - the coordinator in numbers, as text for Prometheus: the rows of metric.def. */
#ifndef COORDINATOR_ADMIN_ADMIN_METRICS_H
#define COORDINATOR_ADMIN_ADMIN_METRICS_H

#include "common/metrics/metric.h"
#include "coordinator/sched/sched_totals.h"

/* What only the loop knows. */
struct admin_process {
    double started_unix_s;
    uint64_t incarnation;
    uint64_t workers_desired;
    uint64_t peer_workers, peer_clients; /* connections */
    uint64_t records;                    /* of the store */
    unsigned store_percent;              /* of its map in use */
    uint64_t disk_free_bytes;            /* UINT64_MAX: cannot be told */
    uint64_t disk_floor_bytes;
    uint64_t rss_bytes;
    const struct metric_histogram *turns, *commits; /* borrowed */
    const uint64_t *http_answers; /* borrowed: by the first digit of their status, 6 of them */
};

/* Appends every family; errors stay in `out`. */
void admin_metrics_write(const struct sched_totals *totals, const struct admin_process *process,
                         struct bytes *out);

#endif
