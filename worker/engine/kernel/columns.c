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

/* ---- a factor a column ---- */

enum { RUN = 256 }; /* elements of a row that are multiplied at a time */

static void scale_part(const struct kernel_call *c, size_t begin, size_t end)
{
    float product[RUN];
    for (size_t t = begin; t < end; t++) {
        const float *from = c->a + t * c->a_stride;
        float *to = c->y + t * c->y_stride;
        for (size_t at = 0; at < c->C; at += RUN) {
            size_t n = MIN(c->C - at, (size_t)RUN);
            float *out = c->accumulate ? product : to + at;
            c->rows->lanes.mul_shifted(n, c->b + at, from + at, 0, out);
            if (c->accumulate)
                c->rows->lanes.add(n, product, to + at);
        }
    }
}

void columns_scale(struct kernel *kernel, size_t T, size_t width, const float *factors,
                   const float *from, size_t from_stride, bool accumulate, float *to,
                   size_t to_stride)
{
    struct kernel_call call = {.C = width,
                               .a = from,
                               .a_stride = from_stride,
                               .b = factors,
                               .accumulate = accumulate,
                               .y = to,
                               .y_stride = to_stride};
    kernel_call_split(kernel, width == 0 ? 0 : T, width, &call, scale_part);
}

static void products_part(const struct kernel_call *c, size_t begin, size_t end)
{
    float product[RUN];
    for (size_t at = begin; at < end; at += RUN) {
        size_t n = MIN(end - at, (size_t)RUN);
        for (size_t t = 0; t < c->T; t++) {
            c->rows->lanes.mul_shifted(n, c->a + t * c->a_stride + at, c->b + t * c->y_stride + at,
                                       0, product);
            c->rows->lanes.mul_shifted(n, c->c + at, product, 0, product);
            c->rows->lanes.add(n, product, c->y + at);
        }
    }
}

void columns_add_products(struct kernel *kernel, size_t T, size_t width, const float *a,
                          size_t a_stride, const float *b, size_t b_stride, const float *factors,
                          float *sums)
{
    struct kernel_call call = {.T = T,
                               .C = width,
                               .a = a,
                               .a_stride = a_stride,
                               .b = b,
                               .y_stride = b_stride,
                               .c = factors,
                               .y = sums};
    split_columns(kernel, &call, products_part);
}

/* ---- columns that are looked up ---- */

static void gather_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++) {
        for (size_t r = 0; r < c->C; r++)
            c->y[t * c->C + r] = c->a[r * c->a_stride + c->ids[t]];
    }
}

void columns_gather(struct kernel *kernel, size_t T, size_t R, size_t V, const uint32_t *ids,
                    const float *table, float *y)
{
    struct kernel_call call = {.C = R, .ids = ids, .a = table, .a_stride = V, .y = y};
    kernel_call_split(kernel, T, R, &call, gather_part);
}

/* Items are rows of the table, so that each element's chain stays with one thread. */
static void scatter_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t r = begin; r < end; r++) {
        for (size_t t = 0; t < c->T; t++)
            c->y[r * c->y_stride + c->ids[t]] += c->a[t * c->C + r];
    }
}

void columns_scatter_add(struct kernel *kernel, size_t T, size_t R, size_t V, const uint32_t *ids,
                         const float *dy, float *dtable)
{
    struct kernel_call call = {.T = T, .C = R, .ids = ids, .a = dy, .y = dtable, .y_stride = V};
    kernel_call_split(kernel, R, T, &call, scatter_part);
}
