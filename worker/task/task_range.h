/* task_range.h - how a number of rows is shared among the tasks of a stage. Internal to task. */
#ifndef WORKER_TASK_TASK_RANGE_H
#define WORKER_TASK_TASK_RANGE_H

#include <stdint.h>

/* First row of task i of n, floor(rows i / n) without overflow; that of task n is `rows`. */
static inline uint64_t task_range_first(uint64_t rows, uint64_t i, uint64_t n)
{
    return rows / n * i + rows % n * i / n;
}

#endif
