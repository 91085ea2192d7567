/* gram.c - a panel of rows at a time, from the diagonal on. */
#include "worker/engine/kernel/gram.h"

#include "common/base/check.h"
#include "worker/engine/kernel/kernel.h"

/* panel (rows, C - first) = x[:, first .. first + rows)^T x[:, first .. C) */
static void multiply_panel(struct kernel *kernel, size_t T, size_t C, size_t first, size_t rows,
                           const float *x, float *panel)
{
    struct kernel_gemm gemm = {.m = rows,
                               .n = C - first,
                               .k = T,
                               .a = x + first,
                               .a_row_stride = 1,
                               .a_col_stride = C,
                               .b = x + first,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = C,
                               .b_col_stride = 1,
                               .c = panel,
                               .c_row_stride = C - first};
    kernel_gemm(kernel, &gemm);
}

void gram_add(struct kernel *kernel, size_t T, size_t C, const float *x, float *panel,
              double *triangle)
{
    double *to = triangle;
    for (size_t first = 0; first < C; first += GRAM_PANEL) {
        size_t rows = MIN((size_t)GRAM_PANEL, C - first), width = C - first;
        multiply_panel(kernel, T, C, first, rows, x, panel);
        for (size_t r = 0; r < rows; r++) {
            kernel_add_wide(kernel, width - r, panel + r * width + r, to);
            to += width - r;
        }
    }
}
