/* model_tensor.c - checking and placing tensors. */
#include "worker/engine/nn/model_tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/quant/blocks.h"

static bool is_vector(const struct model_param *p)
{
    return p->kind == MODEL_KIND_GAIN || p->kind == MODEL_KIND_BIAS;
}

static void print_shape(char *out, size_t size, uint32_t rank, const uint64_t *shape)
{
    (void)snprintf(out, size, "a scalar");
    for (uint32_t i = 0, at = 0; i < rank && at < size; i++)
        at +=
            (uint32_t)snprintf(out + at, size - at, i == 0 ? "%" PRIu64 : " x %" PRIu64, shape[i]);
}

static const char *config_of(const struct model *model)
{
    return model->gguf.tensor_count > 0 ? "the file's keys" : "config.json";
}

static enum err check_shape(const struct model *model, const struct model_param *p,
                            const struct model_tensor *t, struct err_text *et)
{
    uint64_t wanted[2] = {p->turned ? p->columns : p->rows, p->turned ? p->rows : p->columns};
    uint32_t rank = is_vector(p) ? 1 : 2;
    size_t elements = dtype_block_elements(t->dtype);
    if (t->rank != rank || memcmp(t->shape, wanted, rank * sizeof wanted[0]) != 0) {
        char expected[64], found[256];
        print_shape(expected, sizeof expected, rank, wanted);
        print_shape(found, sizeof found, t->rank, t->shape);
        return error_set(et, ERR_SHAPE, "tensor %.*s: expected %s by %s, found %s",
                         TEXT_ARGS(t->name), expected, config_of(model), found);
    }
    if (wanted[rank - 1] % elements != 0)
        return error_set(et, ERR_SHAPE,
                         "tensor %.*s: rows of %" PRIu64 " are not whole blocks of %s, which has "
                         "%zu elements a block",
                         TEXT_ARGS(t->name), wanted[rank - 1], dtype_name(t->dtype), elements);
    return ERR_OK;
}

static enum err place_vector(struct model *model, struct model_param *p,
                             const struct model_tensor *t)
{
    float *vector = arena_alloc(&model->arena, p->rows, sizeof *vector);
    if (vector == NULL)
        return ERR_OUT_OF_MEMORY;
    block_decode(t->dtype, p->rows, t->data.data, vector);
    p->dtype = DTYPE_F32;
    p->data = vector;
    return ERR_OK;
}

enum err model_tensor_place(struct model *model, struct model_param *p,
                            const struct model_tensor *t, struct err_text *et)
{
    TRY(check_shape(model, p, t, et));
    ASSERT(t->data.size == dtype_span_bytes(t->dtype, p->rows * p->columns));
    p->file_dtype = t->dtype;
    if (is_vector(p))
        return place_vector(model, p, t);
    p->dtype = t->dtype;
    p->data = t->data.data;
    if (!dtype_is_plain(t->dtype) || (uintptr_t)t->data.data % dtype_block_bytes(t->dtype) == 0)
        return ERR_OK;
    void *copy = arena_alloc(&model->arena, t->data.size, 1);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(copy, t->data.data, t->data.size);
    p->data = copy;
    return ERR_OK;
}

static const char *says(const struct model *model)
{
    return model->gguf.tensor_count > 0 ? "the file's keys say" : "config.json says";
}

enum err model_tensor_missing(const struct model *model, const char *name, struct err_text *et)
{
    return error_set(et, ERR_NOT_FOUND, "tensor %s is missing; %s model_type %s with %zu layers%s",
                     name, says(model), model->config.model_type, model->shape.layers,
                     model->shape.tied ? "" : " and an untied head");
}

enum err model_tensor_check_layer(const struct model *model, const char *front, const char *pattern,
                                  struct text name, struct err_text *et)
{
    char start[128];
    const char *mark = strstr(pattern, "%u");
    ASSERT(mark != NULL);
    int size = snprintf(start, sizeof start, "%s%.*s", front, (int)(mark - pattern), pattern);
    ASSERT(size > 0 && (size_t)size < sizeof start);
    size_t at = (size_t)size;
    if (name.size < at || memcmp(name.data, start, at) != 0)
        return ERR_OK;
    uint64_t layer = 0;
    for (; at < name.size && name.data[at] >= '0' && name.data[at] <= '9'; at++) {
        if (layer <= UINT32_MAX)
            layer = layer * 10 + (uint64_t)(name.data[at] - '0');
    }
    if (at == (size_t)size || at == name.size || name.data[at] != '.' ||
        layer < model->shape.layers)
        return ERR_OK;
    return error_set(et, ERR_SHAPE,
                     "%s %zu layers, the weights have more (%.*s): do they belong together?",
                     says(model), model->shape.layers, TEXT_ARGS(name));
}
