/* rows_table.h - the row kernels of one instruction set: serial, over one row or one span.
 *
 * kernel.c splits work over the pool and calls these. Three tables with equal bits come from one
 * body (rows_body.inc); contracts are those of the functions of kernel.h with the same names.
 */
#ifndef WORKER_ENGINE_KERNEL_ROWS_TABLE_H
#define WORKER_ENGINE_KERNEL_ROWS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/lanes.h"
#include "worker/engine/tensor/dtype.h"

struct rows {
    struct lanes lanes;
    /* One row of C elements; returns 1 / rms. */
    float (*rms_norm)(size_t C, float eps, float offset, const float *x, const float *weight,
                      float *y);
    void (*rms_norm_backward)(size_t C, float offset, const float *x, const float *weight,
                              float inv_rms, const float *dy, bool accumulate, float *dx);
    /* dweight (count) continues over T rows that lie C apart. */
    void (*rms_norm_weight)(size_t T, size_t C, size_t count, const float *x, const float *inv_rms,
                            const float *dy, float *dweight);
    /* One row of C elements; stats receives mean and 1 / deviation. */
    void (*layer_norm)(size_t C, float eps, const float *x, const float *weight, const float *bias,
                       float *y, float stats[2]);
    void (*layer_norm_backward)(size_t C, const float *x, const float *weight, const float stats[2],
                                const float *dy, bool accumulate, float *dx);
    /* As rms_norm_weight; stats: (T, 2). */
    void (*layer_norm_weight)(size_t T, size_t C, size_t count, const float *x, const float *stats,
                              const float *dy, float *dweight);
    void (*gated)(enum kernel_act act, size_t count, const float *gate, const float *up, float *y);
    void (*gated_backward)(enum kernel_act act, size_t count, const float *gate, const float *up,
                           const float *dy, float *dgate, float *dup);
    void (*activate)(enum kernel_act act, size_t count, const float *x, float *y);
    void (*activate_backward)(enum kernel_act act, size_t count, const float *x, const float *dy,
                              float *dx);
    /* One row of C elements. */
    void (*round_int8)(size_t C, const float *x, float *y);
    void (*round_grid8)(size_t C, float scale, const float *x, float *y);
    /* The first `count` columns of T rows that lie C apart. */
    void (*column_squares)(size_t T, size_t C, size_t count, const float *x, double *sums);
    void (*column_sizes)(size_t T, size_t C, size_t count, const float *x, double *sums);
    void (*column_range)(size_t T, size_t C, size_t count, const float *x, float *least,
                         float *most);
    void (*add_wide)(size_t count, const float *x, double *sums);
    /* One token: element c is kept when its random number is at least `threshold`. */
    void (*dropout)(size_t C, uint64_t key, uint64_t place, uint32_t threshold, float scale,
                    const float *x, bool accumulate, float *y);
    void (*exp)(size_t count, const float *x, float *y);
    void (*decode)(size_t count, enum dtype dtype, const void *from, float *y);
    const struct block_table *blocks;
};

extern const struct rows rows_portable;
#if defined(__x86_64__)
extern const struct rows rows_avx2;
extern const struct rows rows_avx512;
#endif

#endif
