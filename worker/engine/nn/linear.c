/* linear.c - forward beside backward of one linear layer and its adapter. */
#include "worker/engine/nn/linear.h"

#include "common/base/span.h"
#include "common/numeric/random.h"

/* The mask of an adapter's input is a function of (seed, round, module, row, position). */
static struct kernel_dropout dropout_of(const struct pass *pass, size_t param, float p)
{
    const struct model_param *m = model_param(pass->model, param);
    uint64_t module = random_name(text_of(m->name));
    return (struct kernel_dropout){
        .key = random_key(pass->seed, RANDOM_DROPOUT, module, m->layer, pass->round),
        .p = p,
        .places = pass->batch->places};
}

/* The input that the adapter sees: x itself, or its dropped copy in the pass's scratch. */
static const float *adapter_input(const struct pass *pass, size_t param, size_t in, const float *x)
{
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    if (!pass->dropout || adapter->dropout <= 0)
        return x;
    struct kernel_dropout dropout = dropout_of(pass, param, adapter->dropout);
    kernel_dropout(pass->kernel, pass->batch->token_count, in, &dropout, x, false, pass->scratch);
    return pass->scratch;
}

/* c (m, n) = or += a (m, k) w^T for a row-major w (n, k). */
static void product_transposed(const struct pass *pass, size_t m, size_t n, size_t k,
                               const float *a, struct pass_weight w, float *c, bool accumulate)
{
    struct kernel_gemm gemm = {.m = m,
                               .n = n,
                               .k = k,
                               .a = a,
                               .a_row_stride = k,
                               .a_col_stride = 1,
                               .b = w.data,
                               .b_dtype = w.dtype,
                               .b_row_stride = 1,
                               .b_col_stride = k,
                               .c = c,
                               .c_row_stride = n,
                               .accumulate = accumulate};
    kernel_gemm(pass->kernel, &gemm);
}

/* c (m, n) = or += a (m, k) w for a row-major w (k, n). */
static void product_plain(const struct pass *pass, size_t m, size_t n, size_t k, const float *a,
                          struct pass_weight w, float *c, bool accumulate)
{
    struct kernel_gemm gemm = {.m = m,
                               .n = n,
                               .k = k,
                               .a = a,
                               .a_row_stride = k,
                               .a_col_stride = 1,
                               .b = w.data,
                               .b_dtype = w.dtype,
                               .b_row_stride = n,
                               .b_col_stride = 1,
                               .c = c,
                               .c_row_stride = n,
                               .accumulate = accumulate};
    kernel_gemm(pass->kernel, &gemm);
}

void linear_forward(const struct pass *pass, size_t param, const float *x, float *mid, float *y,
                    bool accumulate)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    size_t T = pass->batch->token_count, in = m->columns, out = m->rows;
    product_transposed(pass, T, out, in, x, pass_weight(pass, param), y, accumulate);
    if (adapter == NULL)
        return;
    struct pass_weight a = {pass->values + adapter->a_offset, DTYPE_F32};
    struct pass_weight b = {pass->values + adapter->b_offset, DTYPE_F32};
    const float *seen = adapter_input(pass, param, in, x);
    product_transposed(pass, T, adapter->rank, in, seen, a, mid, false);
    kernel_scale(pass->kernel, T * adapter->rank, adapter->scale, mid);
    product_transposed(pass, T, out, adapter->rank, mid, b, y, true);
}

/* For each row: gradient (out, in) at `offset` += dy^T x over the row's tokens. */
static void gradient_rows(const struct pass *pass, size_t offset, size_t out, size_t in,
                          const float *dy, const float *x)
{
    const struct batch *batch = pass->batch;
    for (size_t r = 0; r < batch->row_count; r++) {
        const struct batch_row *row = &batch->rows[r];
        struct kernel_gemm gemm = {.m = out,
                                   .n = in,
                                   .k = row->count,
                                   .a = dy + row->start * out,
                                   .a_row_stride = 1,
                                   .a_col_stride = out,
                                   .b = x + row->start * in,
                                   .b_dtype = DTYPE_F32,
                                   .b_row_stride = in,
                                   .b_col_stride = 1,
                                   .c = pass->gradients[r] + offset,
                                   .c_row_stride = in,
                                   .accumulate = true};
        kernel_gemm(pass->kernel, &gemm);
    }
}

static void backward_adapter(const struct pass *pass, size_t param, const float *x,
                             const float *mid, const float *dy, float *dx)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    size_t T = pass->batch->token_count, in = m->columns, out = m->rows, R = adapter->rank;
    struct pass_weight a = {pass->values + adapter->a_offset, DTYPE_F32};
    struct pass_weight b = {pass->values + adapter->b_offset, DTYPE_F32};
    float *dmid = pass->scratch_mid;
    product_plain(pass, T, R, out, dy, b, dmid, false);
    kernel_scale(pass->kernel, T * R, adapter->scale, dmid);
    gradient_rows(pass, adapter->b_offset, out, R, dy, mid);
    gradient_rows(pass, adapter->a_offset, R, in, dmid, adapter_input(pass, param, in, x));
    if (dx == NULL)
        return;
    if (!pass->dropout || adapter->dropout <= 0) {
        product_plain(pass, T, in, R, dmid, a, dx, true);
        return;
    }
    struct kernel_dropout dropout = dropout_of(pass, param, adapter->dropout);
    product_plain(pass, T, in, R, dmid, a, pass->scratch, false);
    kernel_dropout(pass->kernel, T, in, &dropout, pass->scratch, true, dx);
}

void linear_backward(const struct pass *pass, size_t param, const float *x, const float *mid,
                     const float *dy, float *dx, bool accumulate)
{
    const struct model_param *m = model_param(pass->model, param);
    size_t T = pass->batch->token_count, in = m->columns, out = m->rows;
    size_t offset = pass_offset(pass, param);
    if (dx != NULL)
        product_plain(pass, T, in, out, dy, pass_weight(pass, param), dx, accumulate);
    if (offset != BINDING_NONE)
        gradient_rows(pass, offset, out, in, dy, x);
    if (pass_adapter(pass, param) != NULL)
        backward_adapter(pass, param, x, mid, dy, dx);
}
