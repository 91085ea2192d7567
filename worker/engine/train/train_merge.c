/* train_merge.c - which adapters reach a row, and what they add to it. */
#include "worker/engine/train/train_merge.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/lanes.h"
#include "worker/engine/nn/model_values.h"

static const struct binding_slot *slot_of(const struct train_merge *merge, size_t param)
{
    const struct binding *binding = train_layout_binding(merge->layout);
    ASSERT(param < binding->slot_count);
    return &binding->slots[param];
}

/* A matrix that is two modules can take no adapter of one of them. */
static enum err check_tied(const struct train_merge *merge, struct err_text *et)
{
    const struct binding *binding = train_layout_binding(merge->layout);
    ptrdiff_t words = model_param_index(merge->model, MODEL_EMBEDDING, 0);
    if (!model_shape(merge->model)->tied ||
        (binding->lookup.rank == 0 && slot_of(merge, (size_t)words)->adapter.rank == 0))
        return ERR_OK;
    return error_set(
        et, ERR_RECIPE,
        "merge: excludes lora_target_modules with %s or the head, which are one matrix "
        "of base_model (tie_word_embeddings); remove one",
        model_param(merge->model, (size_t)words)->name);
}

enum err train_merge_check(const struct train_merge *merge, const struct model *trained,
                           struct err_text *et)
{
    size_t count = model_param_count(trained), found = model_param_count(merge->model);
    if (count != found)
        return error_set(et, ERR_SHAPE, "expected a model of %zu parameters, found %zu", count,
                         found);
    for (size_t i = 0; i < count; i++) {
        const struct model_param *p = model_param(trained, i), *q = model_param(merge->model, i);
        if (strcmp(p->name, q->name) != 0 || p->rows != q->rows || p->columns != q->columns)
            return error_set(et, ERR_SHAPE,
                             "expected parameter %s (%zu x %zu), found %s (%zu x "
                             "%zu)",
                             p->name, p->rows, p->columns, q->name, q->rows, q->columns);
    }
    return check_tied(merge, et);
}

/* Whether there is an adapter on `param` that is the module, or on a part of it. */
static bool is_on(const struct train_merge *merge, size_t param, size_t module)
{
    if (slot_of(merge, param)->adapter.rank == 0)
        return false;
    return param == module || model_param(merge->model, param)->part.whole == (ptrdiff_t)module;
}

static bool is_looked_up(const struct train_merge *merge, size_t param)
{
    return model_param(merge->model, param)->role == MODEL_EMBEDDING &&
           train_layout_binding(merge->layout)->lookup.rank != 0;
}

bool train_merge_touches(const struct train_merge *merge, size_t param)
{
    if (model_param(merge->model, param)->part.whole != MODEL_NO_PARAM)
        return false;
    bool touches =
        slot_of(merge, param)->weight_offset != BINDING_NONE || is_looked_up(merge, param);
    for (size_t i = 0; i < model_param_count(merge->model) && !touches; i++)
        touches = is_on(merge, i, param);
    return touches;
}

/* Rows of a parameter that trained as a whole; the vector has it as its file would. */
static void read_trained(const struct train_merge *merge, size_t param, size_t first, size_t count,
                         float *out)
{
    const struct model_param *p = model_param(merge->model, param);
    const float *values = merge->values + slot_of(merge, param)->weight_offset;
    if (!p->turned) {
        memcpy(out, values + first * p->columns, count * p->columns * sizeof *out);
        return;
    }
    for (size_t c = 0; c < p->columns; c++) {
        for (size_t r = 0; r < count; r++)
            out[r * p->columns + c] = values[c * p->rows + first + r];
    }
}

/* ---- adapters ---- */

/* What one adapter adds to a range of its module's rows. */
struct addition {
    size_t *to;   /* owned: (rows) rows of the range */
    float *b;     /* owned, of the kernel: (rows, rank) */
    float *delta; /* owned, of the kernel: (rows, columns) */
    size_t rows;
};

static enum err addition_init(struct addition *a, struct kernel *kernel, size_t rows, size_t rank,
                              size_t columns)
{
    size_t b, delta;
    if (!check_mul(rows, rank, &b) || !check_mul(rows, columns, &delta))
        return ERR_OVERFLOW;
    a->to = mem_alloc(rows, sizeof *a->to);
    a->b = kernel_alloc(kernel, b);
    a->delta = kernel_alloc(kernel, delta);
    return a->to != NULL && a->b != NULL && a->delta != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static void addition_fini(struct addition *a, struct kernel *kernel)
{
    mem_free(a->to);
    kernel_free(kernel, a->b);
    kernel_free(kernel, a->delta);
}

/* Row of the module that row `r` of a parameter is. */
static size_t row_of(const struct model_param *p, size_t r)
{
    struct model_part part = p->part;
    if (part.whole == MODEL_NO_PARAM)
        return r;
    return part.first + r / part.run * part.stride + r % part.run;
}

/* Takes the rows of B that land in [first, first + count), times `sign`. */
static void gather(const struct train_merge *merge, size_t param, const float *values, float sign,
                   size_t first, size_t count, struct addition *a)
{
    const struct model_param *p = model_param(merge->model, param);
    const struct binding_adapter *adapter = &slot_of(merge, param)->adapter;
    const float *b = values + adapter->b_offset;
    a->rows = 0;
    for (size_t r = 0; r < p->rows; r++) {
        size_t row = row_of(p, r), R = adapter->rank;
        if (row < first || row - first >= count)
            continue;
        for (size_t i = 0; i < R; i++)
            a->b[a->rows * R + i] = sign * b[r * R + i];
        a->to[a->rows++] = row - first;
    }
}

/* delta (rows, columns) = or += b A */
static void multiply(const struct train_merge *merge, const struct binding_adapter *adapter,
                     const float *values, size_t columns, bool accumulate, const struct addition *a)
{
    const struct kernel_gemm gemm = {.m = a->rows,
                                     .n = columns,
                                     .k = adapter->rank,
                                     .a = a->b,
                                     .a_row_stride = adapter->rank,
                                     .a_col_stride = 1,
                                     .b = values + adapter->a_offset,
                                     .b_dtype = DTYPE_F32,
                                     .b_row_stride = columns,
                                     .b_col_stride = 1,
                                     .c = a->delta,
                                     .c_row_stride = columns,
                                     .accumulate = accumulate};
    if (a->rows > 0)
        kernel_gemm(merge->kernel, &gemm);
}

/* Gives a row the length that trained; one of nothing counts as of length 1. */
static void set_length(const struct train_merge *merge, float magnitude, size_t columns, float *row)
{
    float norm = sqrtf(kernel_lanes(merge->kernel)->dot(columns, row, row));
    float factor = norm > 0 ? magnitude / norm : magnitude;
    for (size_t c = 0; c < columns; c++)
        row[c] *= factor;
}

/* out += the adapter at `param`, on the rows [first, first + count) of its module. */
static enum err add_adapter(const struct train_merge *merge, size_t param, size_t first,
                            size_t count, float *out)
{
    const struct binding_adapter *adapter = &slot_of(merge, param)->adapter;
    size_t columns = model_param(merge->model, param)->columns;
    struct addition a = {.rows = 0};
    enum err err = addition_init(&a, merge->kernel, count, adapter->rank, columns);
    if (err == ERR_OK) {
        gather(merge, param, merge->values, 1, first, count, &a);
        multiply(merge, adapter, merge->values, columns, false, &a);
    }
    if (err == ERR_OK && merge->anchor != NULL) {
        gather(merge, param, merge->anchor, -1, first, count, &a);
        multiply(merge, adapter, merge->anchor, columns, true, &a);
    }
    for (size_t r = 0; r < a.rows; r++) {
        float *row = out + a.to[r] * columns;
        for (size_t c = 0; c < columns; c++)
            row[c] += adapter->scale * a.delta[r * columns + c];
    }
    const float *magnitudes = merge->values + adapter->magnitude_offset + first;
    for (size_t r = 0; adapter->has_magnitude && r < a.rows; r++)
        set_length(merge, magnitudes[r], columns, out + r * columns);
    addition_fini(&a, merge->kernel);
    return err;
}

/* out += what the lookup adds to the words [first, first + count). */
static enum err add_lookup(const struct train_merge *merge, size_t param, size_t first,
                           size_t count, float *out)
{
    const struct binding_adapter *adapter = &train_layout_binding(merge->layout)->lookup;
    const struct model_param *p = model_param(merge->model, param);
    size_t size;
    if (!check_mul(count, p->columns, &size))
        return ERR_OVERFLOW;
    float *delta = kernel_alloc(merge->kernel, size);
    if (delta == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct kernel_gemm gemm = {.m = count,
                                     .n = p->columns,
                                     .k = adapter->rank,
                                     .a = merge->values + adapter->a_offset + first,
                                     .a_row_stride = 1,
                                     .a_col_stride = p->rows,
                                     .b = merge->values + adapter->b_offset,
                                     .b_dtype = DTYPE_F32,
                                     .b_row_stride = 1,
                                     .b_col_stride = adapter->rank,
                                     .c = delta,
                                     .c_row_stride = p->columns};
    kernel_gemm(merge->kernel, &gemm);
    for (size_t i = 0; i < size; i++)
        out[i] += adapter->scale * delta[i];
    kernel_free(merge->kernel, delta);
    return ERR_OK;
}

enum err train_merge_rows(const struct train_merge *merge, size_t param, size_t first, size_t count,
                          float *out)
{
    size_t params = model_param_count(merge->model);
    ASSERT(model_param(merge->model, param)->part.whole == MODEL_NO_PARAM);
    if (slot_of(merge, param)->weight_offset != BINDING_NONE)
        read_trained(merge, param, first, count, out);
    else
        model_values_read(merge->model, param, first, count, out);
    for (size_t i = 0; i < params; i++) {
        if (is_on(merge, i, param))
            TRY(add_adapter(merge, i, first, count, out));
    }
    return is_looked_up(merge, param) ? add_lookup(merge, param, first, count, out) : ERR_OK;
}
