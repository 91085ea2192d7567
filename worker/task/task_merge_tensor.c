/* task_merge_tensor.c - rows merged, then rounded to the type of the file. */
#include "worker/task/task_merge_tensor.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/blocks.h"

enum { TILE_FLOATS = 1 << 20 };

static const struct {
    enum safetensors_dtype file;
    enum dtype dtype;
    float most; /* no value of this size or above has a finite neighbour in the type */
} types[] = {
    {SAFETENSORS_F32, DTYPE_F32, INFINITY},
    {SAFETENSORS_F16, DTYPE_F16, 65520},
    {SAFETENSORS_BF16, DTYPE_BF16, 0x1.ffp127f},
};

enum dtype task_merge_tensor_type(enum safetensors_dtype dtype)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].file == dtype)
            return types[i].dtype;
    }
    return DTYPE_COUNT;
}

static enum err check_values(const struct safetensor *tensor, enum dtype dtype, size_t count,
                             const float *values, struct err_text *et)
{
    float most = 0;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        most = types[i].dtype == dtype ? types[i].most : most;
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(values[i]) < most))
            return error_set(et, ERR_NOT_FINITE,
                             "tensor %.*s: a weight of %g is more than %s holds",
                             TEXT_ARGS(tensor->name), (double)values[i], dtype_name(dtype));
    }
    return ERR_OK;
}

/* Where values are made and rounded. */
struct desk {
    float *values; /* owned */
    float *turned; /* owned; NULL where nothing is turned */
    void *bytes;   /* owned */
};

static enum err desk_init(struct desk *desk, size_t count, bool turned)
{
    desk->values = mem_alloc(count, sizeof *desk->values);
    desk->turned = turned ? mem_alloc(count, sizeof *desk->turned) : NULL;
    desk->bytes = mem_alloc(count, sizeof(float));
    bool has_all = desk->values != NULL && desk->bytes != NULL && (desk->turned != NULL) == turned;
    return has_all ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static void desk_fini(struct desk *desk)
{
    mem_free(desk->values);
    mem_free(desk->turned);
    mem_free(desk->bytes);
}

static const float *turn(struct desk *desk, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++)
            desk->turned[c * rows + r] = desk->values[r * columns + c];
    }
    return desk->turned;
}

/* Makes, rounds and sends rows [first, first + count). */
static enum err send_rows(const struct task_merge_tensor *t, struct desk *desk, size_t first,
                          size_t count, file_sink_f sink, void *context, struct err_text *et)
{
    size_t columns = model_param(t->merge->model, t->param)->columns, size = count * columns;
    enum dtype dtype = task_merge_tensor_type(t->tensor->dtype);
    TRY(train_merge_rows(t->merge, t->param, first, count, desk->values));
    for (size_t i = 0; t->is_gain && i < size; i++)
        desk->values[i] += t->offset;
    TRY(check_values(t->tensor, dtype, size, desk->values, et));
    const float *values = t->turned ? turn(desk, count, columns) : desk->values;
    block_encode(dtype, 1, size, values, NULL, desk->bytes);
    return sink(context, (struct span){desk->bytes, dtype_span_bytes(dtype, size)});
}

enum err task_merge_tensor_send(const struct task_merge_tensor *t, file_sink_f sink, void *context,
                                struct err_text *et)
{
    const struct model_param *p = model_param(t->merge->model, t->param);
    size_t tile = t->turned ? p->rows : MAX((size_t)TILE_FLOATS / p->columns, (size_t)1), size;
    struct desk desk = {NULL, NULL, NULL};
    tile = MIN(tile, p->rows);
    if (!check_mul(tile, p->columns, &size))
        return ERR_OVERFLOW;
    enum err err = desk_init(&desk, size, t->turned);
    for (size_t first = 0; err == ERR_OK && first < p->rows; first += tile)
        err = send_rows(t, &desk, first, MIN(tile, p->rows - first), sink, context, et);
    desk_fini(&desk);
    return err;
}
