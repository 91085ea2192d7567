/* linear.c - forward beside backward of one linear layer and its adapter. */
#include "worker/engine/nn/linear.h"

#include "common/base/span.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/columns.h"

/* Some rows of a module and the columns that hold their output: runs of `run` rows, `stride` from
 * one to the next, the first at row `first`; in y and dy, (T, rows), they are side by side. */
struct piece {
    size_t first, run, stride, rows;
    float *y;        /* of the forward pass */
    const float *dy; /* of the backward pass */
};

static struct piece whole_piece(size_t rows, float *y, const float *dy)
{
    return (struct piece){0, rows, rows, rows, y, dy};
}

static struct piece part_piece(const struct pass *pass, const struct linear_part *part)
{
    const struct model_param *m = model_param(pass->model, part->param);
    return (struct piece){m->part.first, m->part.run, m->part.stride, m->rows, part->y, part->y};
}

/* A matrix that a product reads as (out, in). */
struct matrix {
    struct pass_weight weight;
    size_t out, in;
    /* Whose rows lie elsewhere where weight.apart says so. */
    const struct model *model;
    const struct model_param *param;
};

static const void *matrix_row(const struct matrix *w, size_t row)
{
    if (w->weight.apart)
        row = model_stored_row(w->model, w->param, row);
    size_t elements = w->weight.turned ? row : row * w->in;
    return (const uint8_t *)w->weight.data + dtype_span_bytes(w->weight.dtype, elements);
}

static struct matrix weight_matrix(const struct pass *pass, size_t param)
{
    const struct model_param *m = model_param(pass->model, param);
    return (struct matrix){pass_weight(pass, param), m->rows, m->columns, pass->model, m};
}

static struct matrix value_matrix(const struct pass *pass, size_t offset, size_t out, size_t in)
{
    return (struct matrix){
        .weight = {.data = pass->values + offset, .dtype = DTYPE_F32}, .out = out, .in = in};
}

static struct matrix anchor_matrix(const struct pass *pass, size_t offset, size_t out, size_t in)
{
    return (struct matrix){
        .weight = {.data = pass->anchor + offset, .dtype = DTYPE_F32}, .out = out, .in = in};
}

/* The module that is multiplied by: of a part the fused one. */
static size_t module_of(const struct pass *pass, size_t param)
{
    ptrdiff_t whole = model_param(pass->model, param)->part.whole;
    return whole != MODEL_NO_PARAM ? (size_t)whole : param;
}

/* Whether the adapter is in the module's weight, as this pass reads it. */
static bool is_merged(const struct pass *pass, size_t param)
{
    return pass_weight(pass, module_of(pass, param)).merged;
}

/* ---- products ---- */

/* piece->y (T, rows) = or += x (T, in) of the piece's rows of w, transposed. */
static void multiply(const struct pass *pass, const float *x, const struct matrix *w,
                     const struct piece *piece, bool accumulate)
{
    for (size_t at = 0; at < piece->rows; at += piece->run) {
        size_t row = piece->first + at / piece->run * piece->stride;
        struct kernel_gemm gemm = {.m = pass->batch->token_count,
                                   .n = piece->run,
                                   .k = w->in,
                                   .a = x,
                                   .a_row_stride = w->in,
                                   .a_col_stride = 1,
                                   .b = matrix_row(w, row),
                                   .b_dtype = w->weight.dtype,
                                   .b_pairs = w->weight.pairs,
                                   .b_row_stride = w->weight.turned ? w->out : 1,
                                   .b_col_stride = w->weight.turned ? 1 : w->in,
                                   .c = piece->y + at,
                                   .c_row_stride = piece->rows,
                                   .accumulate = accumulate};
        kernel_gemm(pass->kernel, &gemm);
    }
}

/* dx (T, in) = or += piece->dy (T, rows) of the piece's rows of w. */
static void multiply_back(const struct pass *pass, const struct piece *piece,
                          const struct matrix *w, float *dx, bool accumulate)
{
    for (size_t at = 0; at < piece->rows; at += piece->run) {
        size_t row = piece->first + at / piece->run * piece->stride;
        struct kernel_gemm gemm = {.m = pass->batch->token_count,
                                   .n = w->in,
                                   .k = piece->run,
                                   .a = piece->dy + at,
                                   .a_row_stride = piece->rows,
                                   .a_col_stride = 1,
                                   .b = matrix_row(w, row),
                                   .b_dtype = w->weight.dtype,
                                   .b_pairs = w->weight.pairs,
                                   .b_row_stride = w->weight.turned ? 1 : w->in,
                                   .b_col_stride = w->weight.turned ? w->out : 1,
                                   .c = dx,
                                   .c_row_stride = w->in,
                                   .accumulate = accumulate || at != 0};
        kernel_gemm(pass->kernel, &gemm);
    }
}

/* For each row of the batch: the gradient at `offset` += dy^T x over the row's tokens, at the
 * piece's rows of a matrix (out, in), or (in, out) when it is turned. */
static void gradient_rows(const struct pass *pass, size_t offset, const struct matrix *w,
                          const struct piece *piece, const float *x)
{
    const struct batch *batch = pass->batch;
    for (size_t r = 0; r < batch->row_count; r++) {
        const struct batch_row *row = &batch->rows[r];
        for (size_t at = 0; at < piece->rows; at += piece->run) {
            size_t first = piece->first + at / piece->run * piece->stride;
            const float *dy = piece->dy + row->start * piece->rows + at;
            struct kernel_gemm gemm = {.m = piece->run,
                                       .n = w->in,
                                       .k = row->count,
                                       .a = dy,
                                       .a_row_stride = 1,
                                       .a_col_stride = piece->rows,
                                       .b = x + row->start * w->in,
                                       .b_dtype = DTYPE_F32,
                                       .b_row_stride = w->in,
                                       .b_col_stride = 1,
                                       .c = pass->gradients[r] + offset + first * w->in,
                                       .c_row_stride = w->in,
                                       .accumulate = true};
            if (w->weight.turned) {
                gemm.m = w->in;
                gemm.n = piece->run;
                gemm.a = x + row->start * w->in;
                gemm.a_col_stride = w->in;
                gemm.b = dy;
                gemm.b_row_stride = piece->rows;
                gemm.c = pass->gradients[r] + offset + first;
                gemm.c_row_stride = w->out;
            }
            kernel_gemm(pass->kernel, &gemm);
        }
    }
}

/* ---- biases ---- */

static void add_bias(const struct pass *pass, size_t param, const struct piece *piece)
{
    ptrdiff_t bias = model_param(pass->model, param)->bias;
    if (bias == MODEL_NO_PARAM)
        return;
    const float *values = pass_weight(pass, (size_t)bias).data;
    for (size_t at = 0; at < piece->rows; at += piece->run) {
        size_t row = piece->first + at / piece->run * piece->stride;
        if (piece->run == piece->rows)
            kernel_add_bias(pass->kernel, pass->batch->token_count, piece->rows, values + row,
                            piece->y);
        else
            kernel_add_columns(pass->kernel, pass->batch->token_count, piece->run, values + row, 0,
                               piece->y + at, piece->rows);
    }
}

static void bias_gradient(const struct pass *pass, size_t param, const struct piece *piece)
{
    ptrdiff_t bias = model_param(pass->model, param)->bias;
    size_t offset = bias != MODEL_NO_PARAM ? pass_offset(pass, (size_t)bias) : BINDING_NONE;
    for (size_t r = 0; offset != BINDING_NONE && r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        for (size_t at = 0; at < piece->rows; at += piece->run) {
            size_t first = piece->first + at / piece->run * piece->stride;
            const float *dy = piece->dy + row->start * piece->rows + at;
            if (piece->run != piece->rows) {
                kernel_copy_columns(pass->kernel, row->count, piece->run, dy, piece->rows,
                                    pass->scratch, piece->run);
                dy = pass->scratch;
            }
            kernel_bias_gradient(pass->kernel, row->count, piece->run, dy,
                                 pass->gradients[r] + offset + first);
        }
    }
}

/* ---- the base product ---- */

static bool is_scaled(const struct pass_weight *weight)
{
    return weight->scale < 1 || weight->scale > 1;
}

/* What the product of a module sees of x: x itself, or its rounded copy in the pass's scratch. */
static const float *rounded_input(const struct pass *pass, const struct pass_weight *weight,
                                  size_t in, const float *x)
{
    size_t T = pass->batch->token_count;
    float *rounded = pass->scratch;
    switch (weight->rounding) {
    case PASS_ROUNDING_NONE:
        return x;
    case PASS_ROUNDING_INT8:
        kernel_round_int8(pass->kernel, T, in, x, rounded);
        break;
    case PASS_ROUNDING_GRID8:
        kernel_round_grid8(pass->kernel, T, in, weight->input_scale, x, rounded);
        break;
    }
    if (weight->rounded_part < 1) {
        kernel_scale(pass->kernel, T * in, weight->rounded_part, rounded);
        kernel_add_scaled(pass->kernel, T * in, 1 - weight->rounded_part, x, rounded);
    }
    return rounded;
}

/* A ternary weight's scale goes to its input, where nothing is added. */
static void base_forward(const struct pass *pass, size_t param, const float *x,
                         const struct piece *pieces, size_t count, bool accumulate, bool with_bias)
{
    struct matrix w = weight_matrix(pass, param);
    const float *input = rounded_input(pass, &w.weight, w.in, x);
    if (is_scaled(&w.weight)) {
        size_t size = pass->batch->token_count * w.in;
        if (input != pass->scratch)
            kernel_copy(pass->kernel, size, input, pass->scratch);
        kernel_scale(pass->kernel, size, w.weight.scale, pass->scratch);
        input = pass->scratch;
    }
    for (size_t i = 0; i < count; i++) {
        multiply(pass, input, &w, &pieces[i], accumulate);
        if (with_bias)
            add_bias(pass, param, &pieces[i]);
    }
}

static void base_backward(const struct pass *pass, size_t param, const struct piece *pieces,
                          size_t count, float *dx, bool accumulate)
{
    struct matrix w = weight_matrix(pass, param);
    for (size_t i = 0; i < count; i++) {
        struct piece piece = pieces[i];
        if (is_scaled(&w.weight)) {
            size_t size = pass->batch->token_count * piece.rows;
            kernel_copy(pass->kernel, size, piece.dy, pass->scratch);
            kernel_scale(pass->kernel, size, w.weight.scale, pass->scratch);
            piece.dy = pass->scratch;
        }
        multiply_back(pass, &piece, &w, dx, accumulate || i != 0);
    }
}

/* The gradient of a weight that trains, as if the product read it and not what became of it. */
static void weight_gradient(const struct pass *pass, size_t param, const float *x,
                            const struct piece *pieces, size_t count)
{
    size_t offset = pass_offset(pass, param);
    if (offset == BINDING_NONE)
        return;
    const struct model_param *m = model_param(pass->model, param);
    struct pass_weight read = pass_weight(pass, param);
    struct matrix trained = value_matrix(pass, offset, m->rows, m->columns);
    trained.weight.turned = m->turned;
    const float *input = rounded_input(pass, &read, m->columns, x);
    for (size_t i = 0; i < count; i++)
        gradient_rows(pass, offset, &trained, &pieces[i], input);
}

/* ---- the adapter ---- */

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

/* The input that the adapter sees: x itself, or in the pass's scratch its dropped copy, or what the
 * product sees where the adapter is in the weight. */
static const float *adapter_input(const struct pass *pass, size_t param, size_t in, const float *x)
{
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    if (is_merged(pass, param)) {
        struct pass_weight weight = pass_weight(pass, module_of(pass, param));
        return rounded_input(pass, &weight, in, x);
    }
    if (!pass->dropout || adapter->dropout <= 0)
        return x;
    struct kernel_dropout dropout = dropout_of(pass, param, adapter->dropout);
    kernel_dropout(pass->kernel, pass->batch->token_count, in, &dropout, x, false, pass->scratch);
    return pass->scratch;
}

/* pieces += -s dropout(x) A0^T B0^T: what the adapter was at first is no part of what it adds. */
static void anchor_forward(const struct pass *pass, size_t param, const float *x,
                           const struct piece *pieces, size_t count)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    size_t R = adapter->rank;
    struct matrix a = anchor_matrix(pass, adapter->a_offset, R, m->columns);
    struct matrix b = anchor_matrix(pass, adapter->b_offset, m->rows, R);
    struct piece to_mid = whole_piece(R, pass->scratch_mid, NULL);
    multiply(pass, adapter_input(pass, param, m->columns, x), &a, &to_mid, false);
    kernel_scale(pass->kernel, pass->batch->token_count * R, -adapter->scale, pass->scratch_mid);
    for (size_t i = 0; i < count; i++)
        multiply(pass, pass->scratch_mid, &b, &pieces[i], true);
}

static void adapter_forward(const struct pass *pass, size_t param, const float *x, float *mid,
                            const struct piece *pieces, size_t count)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    bool merged = adapter != NULL && is_merged(pass, param);
    if (adapter == NULL || (merged && pass->gradients == NULL))
        return;
    size_t T = pass->batch->token_count, R = adapter->rank;
    struct matrix a = value_matrix(pass, adapter->a_offset, R, m->columns);
    struct matrix b = value_matrix(pass, adapter->b_offset, m->rows, R);
    struct piece to_mid = whole_piece(R, mid, NULL);
    multiply(pass, adapter_input(pass, param, m->columns, x), &a, &to_mid, false);
    kernel_scale(pass->kernel, T * R, adapter->scale, mid);
    for (size_t i = 0; !merged && i < count; i++)
        multiply(pass, mid, &b, &pieces[i], true);
    if (pass->anchor != NULL && !merged)
        anchor_forward(pass, param, x, pieces, count);
}

/* dx (T, in) = or += (`accumulate`) what the adapter lets through: B A, less B0 A0 of an anchor;
 * dmid is the gradient at mid. */
static void adapter_back(const struct pass *pass, size_t param, float *dmid,
                         const struct piece *pieces, size_t count, float *dx, bool accumulate)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    struct matrix a = value_matrix(pass, adapter->a_offset, adapter->rank, m->columns);
    struct piece from_mid = whole_piece(adapter->rank, NULL, dmid);
    multiply_back(pass, &from_mid, &a, dx, accumulate);
    if (pass->anchor == NULL)
        return;
    struct matrix a0 = anchor_matrix(pass, adapter->a_offset, adapter->rank, m->columns);
    struct matrix b0 = anchor_matrix(pass, adapter->b_offset, m->rows, adapter->rank);
    for (size_t i = 0; i < count; i++)
        multiply_back(pass, &pieces[i], &b0, dmid, i != 0);
    kernel_scale(pass->kernel, pass->batch->token_count * adapter->rank, -adapter->scale, dmid);
    multiply_back(pass, &from_mid, &a0, dx, true);
}

static void adapter_backward(const struct pass *pass, size_t param, const float *x,
                             const float *mid, const struct piece *pieces, size_t count, float *dx)
{
    const struct model_param *m = model_param(pass->model, param);
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    if (adapter == NULL)
        return;
    size_t T = pass->batch->token_count, in = m->columns, R = adapter->rank;
    struct matrix a = value_matrix(pass, adapter->a_offset, R, in);
    struct matrix b = value_matrix(pass, adapter->b_offset, m->rows, R);
    float *dmid = pass->scratch_mid;
    struct piece from_mid = whole_piece(R, NULL, dmid);
    for (size_t i = 0; i < count; i++)
        multiply_back(pass, &pieces[i], &b, dmid, i != 0);
    kernel_scale(pass->kernel, T * R, adapter->scale, dmid);
    for (size_t i = 0; i < count; i++)
        gradient_rows(pass, adapter->b_offset, &b, &pieces[i], mid);
    gradient_rows(pass, adapter->a_offset, &a, &from_mid, adapter_input(pass, param, in, x));
    if (dx == NULL || is_merged(pass, param))
        return;
    if (!pass->dropout || adapter->dropout <= 0) {
        adapter_back(pass, param, dmid, pieces, count, dx, true);
        return;
    }
    struct kernel_dropout dropout = dropout_of(pass, param, adapter->dropout);
    adapter_back(pass, param, dmid, pieces, count, pass->scratch, false);
    kernel_dropout(pass->kernel, T, in, &dropout, pass->scratch, true, dx);
}

/* ---- magnitudes ---- */

static bool has_magnitude(const struct pass *pass, size_t param)
{
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    return adapter != NULL && adapter->has_magnitude;
}

/* The module's output before magnitude and bias, (T, rows), kept behind mid. */
static const float *plain_output(const struct pass *pass, size_t param, const float *mid)
{
    return mid + pass->batch->token_count * pass_adapter(pass, param)->rank;
}

/* pieces = or += (W + s B A) x in its plain form, each column times m / norm, then the bias. */
static void magnitude_forward(const struct pass *pass, size_t param, const float *x, float *mid,
                              const struct piece *pieces, size_t count, bool accumulate)
{
    size_t T = pass->batch->token_count, rows = model_param(pass->model, param)->rows;
    float *plain = mid + T * pass_adapter(pass, param)->rank;
    const float *factors = pass->norms + pass_adapter(pass, param)->norm_offset;
    struct piece whole = whole_piece(rows, plain, NULL);
    base_forward(pass, param, x, &whole, 1, false, false);
    adapter_forward(pass, param, x, mid, &whole, 1);
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < pieces[i].rows; at += pieces[i].run) {
            size_t row = pieces[i].first + at / pieces[i].run * pieces[i].stride;
            columns_scale(pass->kernel, T, pieces[i].run, factors + row, plain + row, rows,
                          accumulate, pieces[i].y + at, pieces[i].rows);
        }
        add_bias(pass, param, &pieces[i]);
    }
}

/* The gradient of the magnitude: that at each column times its plain output over its norm. */
static void magnitude_gradient(const struct pass *pass, size_t param, const float *plain,
                               const struct piece *piece)
{
    const struct binding_adapter *adapter = pass_adapter(pass, param);
    const float *shares = pass->norms + pass->binding->norm_count + adapter->norm_offset;
    size_t rows = model_param(pass->model, param)->rows;
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        for (size_t at = 0; at < piece->rows; at += piece->run) {
            size_t first = piece->first + at / piece->run * piece->stride;
            columns_add_products(pass->kernel, row->count, piece->run,
                                 piece->dy + row->start * piece->rows + at, piece->rows,
                                 plain + row->start * rows + first, rows, shares + first,
                                 pass->gradients[r] + adapter->magnitude_offset + first);
        }
    }
}

/* The pieces' gradients as that at the plain output, (T, rows) in the pass's scratch. */
static struct piece magnitude_backward(const struct pass *pass, size_t param, const float *mid,
                                       const struct piece *pieces, size_t count)
{
    size_t T = pass->batch->token_count, rows = model_param(pass->model, param)->rows;
    const float *factors = pass->norms + pass_adapter(pass, param)->norm_offset;
    for (size_t i = 0; i < count; i++) {
        magnitude_gradient(pass, param, plain_output(pass, param, mid), &pieces[i]);
        for (size_t at = 0; at < pieces[i].rows; at += pieces[i].run) {
            size_t row = pieces[i].first + at / pieces[i].run * pieces[i].stride;
            columns_scale(pass->kernel, T, pieces[i].run, factors + row, pieces[i].dy + at,
                          pieces[i].rows, false, pass->scratch_magnitude + row, rows);
        }
    }
    return whole_piece(rows, NULL, pass->scratch_magnitude);
}

/* ---- the module ---- */

static void forward(const struct pass *pass, size_t param, const float *x, float *mid,
                    const struct piece *pieces, size_t count, bool accumulate)
{
    pass_observe(pass, param, x);
    if (has_magnitude(pass, param)) {
        magnitude_forward(pass, param, x, mid, pieces, count, accumulate);
        return;
    }
    base_forward(pass, param, x, pieces, count, accumulate, true);
    adapter_forward(pass, param, x, mid, pieces, count);
}

static void backward(const struct pass *pass, size_t param, const float *x, const float *mid,
                     const struct piece *pieces, size_t count, float *dx, bool accumulate)
{
    struct piece plain;
    for (size_t i = 0; i < count; i++)
        bias_gradient(pass, param, &pieces[i]);
    if (has_magnitude(pass, param)) {
        plain = magnitude_backward(pass, param, mid, pieces, count);
        pieces = &plain;
        count = 1;
    }
    if (dx != NULL)
        base_backward(pass, param, pieces, count, dx, accumulate);
    weight_gradient(pass, param, x, pieces, count);
    adapter_backward(pass, param, x, mid, pieces, count, dx);
}

size_t linear_mid_count(const struct binding *binding, const struct model *model, size_t param,
                        size_t T)
{
    if (binding == NULL)
        return 0;
    const struct binding_adapter *adapter = &binding->slots[param].adapter;
    return T * (adapter->rank + (adapter->has_magnitude ? model_param(model, param)->rows : 0));
}

void linear_forward(const struct pass *pass, size_t param, const float *x, float *mid, float *y,
                    bool accumulate)
{
    struct piece piece = whole_piece(model_param(pass->model, param)->rows, y, NULL);
    forward(pass, param, x, mid, &piece, 1, accumulate);
}

void linear_backward(const struct pass *pass, size_t param, const float *x, const float *mid,
                     const float *dy, float *dx, bool accumulate)
{
    struct piece piece = whole_piece(model_param(pass->model, param)->rows, NULL, dy);
    backward(pass, param, x, mid, &piece, 1, dx, accumulate);
}

void linear_forward_parts(const struct pass *pass, size_t param, const float *x, float *mid,
                          const struct linear_part *parts, size_t count)
{
    struct piece pieces[LINEAR_PARTS_MAX] = {{0}};
    for (size_t i = 0; i < count; i++)
        pieces[i] = part_piece(pass, &parts[i]);
    forward(pass, param, x, mid, pieces, count, false);
    for (size_t i = 0; i < count; i++) {
        struct piece own = whole_piece(pieces[i].rows, parts[i].y, parts[i].y);
        adapter_forward(pass, parts[i].param, x, parts[i].mid, &own, 1);
    }
}

void linear_backward_parts(const struct pass *pass, size_t param, const float *x, const float *mid,
                           const struct linear_part *parts, size_t count, float *dx,
                           bool accumulate)
{
    struct piece pieces[LINEAR_PARTS_MAX] = {{0}};
    for (size_t i = 0; i < count; i++)
        pieces[i] = part_piece(pass, &parts[i]);
    backward(pass, param, x, mid, pieces, count, dx, accumulate);
    for (size_t i = 0; i < count; i++) {
        struct piece own = whole_piece(pieces[i].rows, parts[i].y, parts[i].y);
        adapter_backward(pass, parts[i].param, x, parts[i].mid, &own, 1, dx);
    }
}
