/* columns.c - columns over the pool. */
#include "worker/engine/kernel/columns.h"

#include "common/base/check.h"
#include "worker/engine/kernel/kernel_call.h"

/* Columns go to a thread in whole groups that the rows take at once. */
enum { COLUMN_GRAIN = 64 };

static void split_columns(struct kernel *kernel, struct kernel_call *call, kernel_call_part_f part)
{
    size_t worth = KERNEL_GRAIN / MAX(call->T, 1u);
    call->grain = MAX((worth + COLUMN_GRAIN - 1) / COLUMN_GRAIN, (size_t)1) * COLUMN_GRAIN;
    kernel_call_split(kernel, call->C, call->T, call, part);
}

static void column_squares_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->column_squares(c->T, c->C, end - begin, c->a + begin, c->sums + begin);
}

void columns_add_squares(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums)
{
    struct kernel_call call = {.T = T, .C = C, .a = x, .sums = sums};
    split_columns(kernel, &call, column_squares_part);
}

static void column_sizes_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->column_sizes(c->T, c->C, end - begin, c->a + begin, c->sums + begin);
}

void columns_add_sizes(struct kernel *kernel, size_t T, size_t C, const float *x, double *sums)
{
    struct kernel_call call = {.T = T, .C = C, .a = x, .sums = sums};
    split_columns(kernel, &call, column_sizes_part);
}

static void column_range_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->column_range(c->T, c->C, end - begin, c->a + begin, c->x + begin, c->y + begin);
}

void columns_widen_range(struct kernel *kernel, size_t T, size_t C, const float *x, float *least,
                         float *most)
{
    struct kernel_call call = {.T = T, .C = C, .a = x, .x = least, .y = most};
    split_columns(kernel, &call, column_range_part);
}
