/* kernel_call.h - how a row kernel is cut over the pool; for kernel.c and kernel_rows.c.
 *
 * A row kernel is a call record with the arguments and a part function that computes items
 * [begin, end); kernel_call_split cuts the items into grains that are worth a thread.
 */
#ifndef WORKER_ENGINE_KERNEL_KERNEL_CALL_H
#define WORKER_ENGINE_KERNEL_KERNEL_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/rows_table.h"

enum { KERNEL_GRAIN = 8192 }; /* least work, in elements, that is handed to a thread */

struct kernel_call;
typedef void (*kernel_call_part_f)(const struct kernel_call *call, size_t begin, size_t end);

/* The arguments of one row kernel; each uses what it needs. */
struct kernel_call {
    const struct rows *rows;
    size_t T, C;
    size_t grain; /* items a part */
    size_t count; /* items in all */
    kernel_call_part_f part;
    const float *a, *b, *c, *d;
    float *x, *y;
    float scalar, offset;
    size_t a_stride, y_stride;
    bool accumulate;
    enum kernel_act act;
    const void *table;
    enum dtype dtype;
    const uint32_t *ids;
    const struct kernel_dropout *dropout;
    double *sums;
    size_t *places;
};

/* Runs part over `count` items of `size` elements each; call->grain, where it is not 0, says how
 * many items are one part. */
void kernel_call_split(struct kernel *kernel, size_t count, size_t size, struct kernel_call *call,
                       kernel_call_part_f part);

#endif
