/* lookup.c - see the header. */
#include "worker/engine/nn/lookup.h"

#include "worker/engine/kernel/columns.h"

const struct binding_adapter *lookup_adapter(const struct pass *pass)
{
    if (pass->binding == NULL || pass->values == NULL || pass->binding->lookup.rank == 0)
        return NULL;
    return &pass->binding->lookup;
}

/* mid (T, R) in the pass's scratch. */
static void look_up(const struct pass *pass, const struct binding_adapter *adapter)
{
    size_t T = pass->batch->token_count, R = adapter->rank;
    columns_gather(pass->kernel, T, R, model_shape(pass->model)->vocabulary, pass->batch->tokens,
                   pass->values + adapter->a_offset, pass->scratch_mid);
    kernel_scale(pass->kernel, T * R, adapter->scale, pass->scratch_mid);
}

void lookup_forward(const struct pass *pass, float *x)
{
    const struct binding_adapter *adapter = lookup_adapter(pass);
    if (adapter == NULL)
        return;
    size_t C = model_shape(pass->model)->width, R = adapter->rank;
    look_up(pass, adapter);
    struct kernel_gemm gemm = {.m = pass->batch->token_count,
                               .n = C,
                               .k = R,
                               .a = pass->scratch_mid,
                               .a_row_stride = R,
                               .a_col_stride = 1,
                               .b = pass->values + adapter->b_offset,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = 1,
                               .b_col_stride = R,
                               .c = x,
                               .c_row_stride = C,
                               .accumulate = true};
    kernel_gemm(pass->kernel, &gemm);
}

/* The gradient of B (C, R) += dx^T mid over each row's tokens. */
static void gradient_b(const struct pass *pass, const struct binding_adapter *adapter,
                       const float *dx)
{
    size_t C = model_shape(pass->model)->width, R = adapter->rank;
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        struct kernel_gemm gemm = {.m = C,
                                   .n = R,
                                   .k = row->count,
                                   .a = dx + row->start * C,
                                   .a_row_stride = 1,
                                   .a_col_stride = C,
                                   .b = pass->scratch_mid + row->start * R,
                                   .b_dtype = DTYPE_F32,
                                   .b_row_stride = R,
                                   .b_col_stride = 1,
                                   .c = pass->gradients[r] + adapter->b_offset,
                                   .c_row_stride = R,
                                   .accumulate = true};
        kernel_gemm(pass->kernel, &gemm);
    }
}

void lookup_backward(const struct pass *pass, const float *dx)
{
    const struct binding_adapter *adapter = lookup_adapter(pass);
    if (adapter == NULL)
        return;
    const struct model_shape *s = model_shape(pass->model);
    size_t T = pass->batch->token_count, R = adapter->rank;
    look_up(pass, adapter);
    gradient_b(pass, adapter, dx);
    struct kernel_gemm gemm = {.m = T,
                               .n = R,
                               .k = s->width,
                               .a = dx,
                               .a_row_stride = s->width,
                               .a_col_stride = 1,
                               .b = pass->values + adapter->b_offset,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = R,
                               .b_col_stride = 1,
                               .c = pass->scratch_mid,
                               .c_row_stride = R};
    kernel_gemm(pass->kernel, &gemm);
    kernel_scale(pass->kernel, T * R, adapter->scale, pass->scratch_mid);
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        columns_scatter_add(pass->kernel, row->count, R, s->vocabulary,
                            pass->batch->tokens + row->start, pass->scratch_mid + row->start * R,
                            pass->gradients[r] + adapter->a_offset);
    }
}
