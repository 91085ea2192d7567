/* model_files.c - finding, checking and placing tensors. */
#include "worker/engine/nn/model_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/nn/model_ternary.h"

static enum err dtype_of(const struct safetensor *t, enum dtype *out, struct err_text *et)
{
    for (unsigned i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtype_name((enum dtype)i), safetensors_dtype_name(t->dtype)) == 0) {
            *out = (enum dtype)i;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_UNSUPPORTED, "tensor %s: type %s; expected F32, F16 or BF16",
                     t->name.data, safetensors_dtype_name(t->dtype));
}

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

static enum err check_shape(const struct model_param *p, const struct safetensor *t,
                            struct err_text *et)
{
    uint64_t wanted[2] = {p->turned ? p->columns : p->rows, p->turned ? p->rows : p->columns};
    uint32_t rank = is_vector(p) ? 1 : 2;
    if (t->rank == rank && memcmp(t->shape, wanted, rank * sizeof wanted[0]) == 0)
        return ERR_OK;
    char expected[64], found[256];
    print_shape(expected, sizeof expected, rank, wanted);
    print_shape(found, sizeof found, t->rank, t->shape);
    return error_set(et, ERR_SHAPE, "tensor %s: expected %s by config.json, found %s", t->name.data,
                     expected, found);
}

/* Vectors become f32, and what a file put at an odd address is copied: kernels read aligned
 * elements.
 */
static enum err take_data(struct model *model, struct model_param *p, const struct safetensor *t)
{
    size_t count = p->rows * p->columns, size = dtype_block_bytes(p->dtype);
    if (is_vector(p)) {
        float *vector = arena_alloc(&model->arena, count, sizeof *vector);
        if (vector == NULL)
            return ERR_OUT_OF_MEMORY;
        dtype_decode(p->dtype, count, t->data.data, vector);
        p->dtype = DTYPE_F32;
        p->data = vector;
    } else if ((uintptr_t)t->data.data % size != 0) {
        void *copy = arena_alloc(&model->arena, count, size);
        if (copy == NULL)
            return ERR_OUT_OF_MEMORY;
        memcpy(copy, t->data.data, t->data.size);
        p->data = copy;
    } else {
        p->data = t->data.data;
    }
    return ERR_OK;
}

static const struct safetensor *find_under(const struct model *model, const char *prefix,
                                           const char *name)
{
    char whole[512];
    int size = snprintf(whole, sizeof whole, "%s%s", prefix, name);
    if (size < 0 || (size_t)size >= sizeof whole)
        return NULL;
    return safetensors_find(&model->files, text_of(whole));
}

/* The tensor of a parameter. Files of the network without its head lack the first part of all
 * names, files of a model with pictures have more in front of them; a tied matrix may be stored
 * under either of its names. */
static const struct safetensor *find_tensor(const struct model *model, const struct model_param *p)
{
    const char *dot = strchr(p->name, '.');
    const char *inner = dot != NULL ? dot + 1 : p->name;
    const struct safetensor *t = find_under(model, "", p->name);
    if (t == NULL)
        t = find_under(model, "", inner);
    if (t == NULL)
        t = find_under(model, "language_model.", p->name);
    if (t == NULL)
        t = find_under(model, "model.language_model.", inner);
    if (t == NULL && p->role == MODEL_EMBEDDING && model->shape.tied)
        t = safetensors_find(&model->files, text_of(model->family->names[MODEL_HEAD]));
    return t;
}

/* The scale of a packed matrix, or NULL. */
static const struct safetensor *find_scale(const struct model *model, const struct model_param *p)
{
    char name[512];
    int size = snprintf(name, sizeof name, "%s_scale", p->name);
    return size > 0 && (size_t)size < sizeof name ? find_under(model, "", name) : NULL;
}

enum err model_files_load(struct model *model, struct err_text *et)
{
    for (size_t i = 0; i < model->param_count; i++) {
        struct model_param *p = &model->params[i];
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        const struct safetensor *t = find_tensor(model, p);
        if (t == NULL)
            return error_set(et, ERR_NOT_FOUND,
                             "tensor %s is missing; config.json says model_type %s with %zu "
                             "layers%s",
                             p->name, model->config.model_type, model->shape.layers,
                             model->shape.tied ? "" : " and an untied head");
        if (model_ternary_is(model, p)) {
            TRY(model_ternary_take(model, p, t, find_scale(model, p), et));
            continue;
        }
        TRY(check_shape(p, t, et));
        TRY(dtype_of(t, &p->dtype, et));
        TRY(take_data(model, p, t));
    }
    return ERR_OK;
}
