/* model.c - opening a model: config, then the list of parameters, then their data. */
#include "worker/engine/nn/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/attention.h"
#include "worker/engine/nn/frequency.h"

enum { ROLES_OF_LAYER = MODEL_DOWN - MODEL_ATTENTION_NORM + 1 };

struct model {
    struct model_shape shape;
    const struct family *family;
    struct hf_config config;
    struct safetensors files; /* owned: zeroed without files */
    struct arena arena;       /* owned: names, gains, weights of a random start */
    struct model_param *params;
    size_t param_count;
    double *frequency;
};

/* ---- from config to shapes ---- */

static enum err check_family(const struct hf_config *c, const struct family *family,
                             struct err_text *et)
{
    if (family == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: model_type \"%s\"; this version runs %s", c->model_type,
                         family_list());
    if (c->hidden_act[0] != '\0' && strcmp(c->hidden_act, "silu") != 0 &&
        strcmp(c->hidden_act, "swish") != 0)
        return error_set(et, ERR_UNSUPPORTED, "config.json: hidden_act \"%s\"; expected silu",
                         c->hidden_act);
    if (c->attention_bias || c->mlp_bias || c->bias)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: a bias in linear layers is not supported");
    if (c->quantized)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: quantization_config: the weights are not plain f32, f16 or "
                         "bf16; take the unquantized model");
    if (c->partial_rotary_factor < 1 || c->attn_logit_softcapping > 0 ||
        c->final_logit_softcapping > 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: partial rotation and soft caps are not supported");
    return ERR_OK;
}

static enum err shape_of(const struct hf_config *c, const struct family *family,
                         struct model_shape *shape, struct err_text *et)
{
    TRY(check_family(c, family, et));
    if (c->num_hidden_layers == 0 || c->hidden_size == 0 || c->vocab_size == 0 ||
        c->intermediate_size == 0 || c->num_attention_heads == 0)
        return error_set(et, ERR_FORMAT,
                         "config.json: layers, heads, vocab_size and widths must be above 0");
    if (c->head_dim == 0 || c->head_dim % 2 != 0 || c->head_dim > ATTENTION_HEAD_WIDTH_MAX)
        return error_set(et, ERR_UNSUPPORTED,
                         "config.json: head_dim %" PRIu32 "; expected an even number up to %d",
                         c->head_dim, ATTENTION_HEAD_WIDTH_MAX);
    if (c->num_key_value_heads == 0 || c->num_attention_heads % c->num_key_value_heads != 0)
        return error_set(et, ERR_FORMAT,
                         "config.json: num_key_value_heads %" PRIu32
                         " does not divide num_attention_heads %" PRIu32,
                         c->num_key_value_heads, c->num_attention_heads);
    *shape = (struct model_shape){.layers = c->num_hidden_layers,
                                  .width = c->hidden_size,
                                  .heads = c->num_attention_heads,
                                  .kv_heads = c->num_key_value_heads,
                                  .head_width = c->head_dim,
                                  .mlp_width = c->intermediate_size,
                                  .vocabulary = c->vocab_size,
                                  .positions = c->max_position_embeddings,
                                  .window = c->sliding_window,
                                  .norm_epsilon = (float)c->norm_eps,
                                  .tied = c->tie_word_embeddings};
    return ERR_OK;
}

static size_t dimension(const struct model_shape *s, char letter)
{
    switch (letter) {
    case 'V':
        return s->vocabulary;
    case 'C':
        return s->width;
    case 'Q':
        return s->heads * s->head_width;
    case 'K':
        return s->kv_heads * s->head_width;
    case 'F':
        return s->mlp_width;
    default:
        ASSERT(letter == '1');
        return 1;
    }
}

struct role_shape {
    char rows, columns;
};

static const struct role_shape role_shapes[MODEL_ROLE_COUNT] = {
#define MODEL_SHAPE_ROW(role, place, kind, rows, columns) [MODEL_##role] = {#rows[0], #columns[0]},
    MODEL_ROLE_ROWS(MODEL_SHAPE_ROW)
#undef MODEL_SHAPE_ROW
};

/* "%u" of a family's tensor name becomes the layer. */
static const char *name_of(struct model *model, enum model_role role, size_t layer)
{
    const char *pattern = model->family->names[role], *mark = strstr(pattern, "%u");
    if (mark == NULL)
        return arena_copy_text(&model->arena, text_of(pattern));
    return arena_print(&model->arena, "%.*s%zu%s", (int)(mark - pattern), pattern, layer, mark + 2);
}

static enum err add_param(struct model *model, enum model_role role, size_t layer)
{
    struct model_param *p = &model->params[model->param_count];
    p->name = name_of(model, role, layer);
    if (p->name == NULL)
        return ERR_OUT_OF_MEMORY;
    p->role = role;
    p->layer = (uint32_t)layer;
    p->rows = dimension(&model->shape, role_shapes[role].rows);
    p->columns = dimension(&model->shape, role_shapes[role].columns);
    p->dtype = DTYPE_F32;
    model->param_count++;
    return ERR_OK;
}

static enum err add_params(struct model *model)
{
    size_t count = model->shape.layers * ROLES_OF_LAYER + 3;
    model->params = arena_alloc(&model->arena, count, sizeof *model->params);
    if (model->params == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(add_param(model, MODEL_EMBEDDING, 0));
    for (size_t layer = 0; layer < model->shape.layers; layer++) {
        for (unsigned role = MODEL_ATTENTION_NORM; role <= MODEL_DOWN; role++)
            TRY(add_param(model, (enum model_role)role, layer));
    }
    TRY(add_param(model, MODEL_FINAL_NORM, 0));
    return model->shape.tied ? ERR_OK : add_param(model, MODEL_HEAD, 0);
}

/* A model without data yet. */
static enum err create_empty(const struct hf_config *config, struct model **out,
                             struct err_text *et)
{
    struct model_shape shape;
    const struct family *family = family_find(text_of(config->model_type));
    TRY(shape_of(config, family, &shape, et));
    struct model *model = mem_alloc(1, sizeof *model);
    if (model == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    model->shape = shape;
    model->family = family;
    model->config = *config;
    arena_init(&model->arena, SIZE_MAX);
    model->frequency = arena_alloc(&model->arena, shape.head_width / 2, sizeof *model->frequency);
    if (model->frequency == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(frequency_fill(config, model->frequency, et));
    TRY_OUT(add_params(model));
    *out = model;
    return ERR_OK;
out:
    model_destroy(&model);
    return err;
}

void model_destroy(struct model **model)
{
    if (*model == NULL)
        return;
    safetensors_close(&(*model)->files);
    arena_fini(&(*model)->arena);
    mem_free(*model);
    *model = NULL;
}

/* ---- weights from files ---- */

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
    uint64_t wanted[2] = {p->rows, p->columns};
    uint32_t rank = family_role_kind(p->role) == MODEL_KIND_GAIN ? 1 : 2;
    if (t->rank == rank && memcmp(t->shape, wanted, rank * sizeof wanted[0]) == 0)
        return ERR_OK;
    char expected[64], found[256];
    print_shape(expected, sizeof expected, rank, wanted);
    print_shape(found, sizeof found, t->rank, t->shape);
    return error_set(et, ERR_SHAPE, "tensor %s: expected %s by config.json, found %s", t->name.data,
                     expected, found);
}

/* Gains become f32, and what a file put at an odd address is copied: kernels read aligned elements.
 */
static enum err take_data(struct model *model, struct model_param *p, const struct safetensor *t)
{
    size_t count = p->rows * p->columns, size = dtype_size_bytes(p->dtype);
    if (family_role_kind(p->role) == MODEL_KIND_GAIN) {
        float *gain = arena_alloc(&model->arena, count, sizeof *gain);
        if (gain == NULL)
            return ERR_OUT_OF_MEMORY;
        dtype_decode(p->dtype, count, t->data.data, gain);
        p->dtype = DTYPE_F32;
        p->data = gain;
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

/* The tensor of a parameter; a tied matrix may be stored under either of its names. */
static const struct safetensor *find_tensor(const struct model *model, const struct model_param *p)
{
    const struct safetensor *t = safetensors_find(&model->files, text_of(p->name));
    if (t == NULL && p->role == MODEL_EMBEDDING && model->shape.tied)
        t = safetensors_find(&model->files, text_of(model->family->names[MODEL_HEAD]));
    return t;
}

static enum err load_params(struct model *model, struct err_text *et)
{
    for (size_t i = 0; i < model->param_count; i++) {
        struct model_param *p = &model->params[i];
        const struct safetensor *t = find_tensor(model, p);
        if (t == NULL)
            return error_set(et, ERR_NOT_FOUND,
                             "tensor %s is missing; config.json says model_type %s with %zu "
                             "layers%s",
                             p->name, model->config.model_type, model->shape.layers,
                             model->shape.tied ? "" : " and an untied head");
        TRY(check_shape(p, t, et));
        TRY(dtype_of(t, &p->dtype, et));
        TRY(take_data(model, p, t));
    }
    return ERR_OK;
}

static enum err open_config(const char *path, struct model **out, struct err_text *et)
{
    struct hf_config *config = mem_alloc(1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = hf_config_open(config, path, et);
    if (err == ERR_OK) {
        err = create_empty(config, out, et);
        if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
            (void)error_prefix(et, err, "%s", path);
    }
    mem_free(config);
    return err;
}

enum err model_open(const char *folder, struct model **out, struct err_text *et)
{
    struct arena paths;
    arena_init(&paths, 1 << 16);
    struct model *model = NULL;
    enum err err;
    const char *config = folder_join(&paths, folder, "config.json");
    if (config == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(open_config(config, &model, et));
    TRY_OUT(safetensors_index_open_folder(&model->files, folder, "model", et));
    err = load_params(model, et);
    if (err != ERR_OK)
        TRY_OUT(error_prefix(et, err, "%s", folder));
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    arena_fini(&paths);
    return err;
}

enum err model_open_files(const char *config_path, const char *weights_path, struct model **out,
                          struct err_text *et)
{
    struct model *model = NULL;
    enum err err;
    TRY_OUT(open_config(config_path, &model, et));
    TRY_OUT(safetensors_open(&model->files, weights_path, et));
    err = load_params(model, et);
    if (err != ERR_OK)
        TRY_OUT(error_prefix(et, err, "%s", weights_path));
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    return err;
}

/* ---- weights from a random start ---- */

enum err model_create_random(const struct hf_config *config, uint64_t seed, struct model **out,
                             struct err_text *et)
{
    struct model *model = NULL;
    enum err err;
    TRY_OUT(create_empty(config, &model, et));
    for (size_t i = 0; i < model->param_count; i++) {
        struct model_param *p = &model->params[i];
        size_t count = 0;
        float *data = NULL;
        if (check_mul(p->rows, p->columns, &count))
            data = arena_alloc(&model->arena, count, sizeof *data);
        if (data == NULL)
            TRY_OUT(ERR_OUT_OF_MEMORY);
        uint64_t key = random_key(seed, RANDOM_INIT, random_name(text_of(p->name)), p->layer, 0);
        if (family_role_kind(p->role) != MODEL_KIND_GAIN)
            init_normal(key, (float)config->initializer_range, 0, count, data);
        for (size_t j = 0; j < count && family_role_kind(p->role) == MODEL_KIND_GAIN; j++)
            data[j] = 1;
        p->data = data;
    }
    *out = model;
    model = NULL;
out:
    model_destroy(&model);
    return err;
}

/* ---- reading ---- */

const struct model_shape *model_shape(const struct model *model)
{
    return &model->shape;
}

const struct hf_config *model_config(const struct model *model)
{
    return &model->config;
}

size_t model_param_count(const struct model *model)
{
    return model->param_count;
}

const struct model_param *model_param(const struct model *model, size_t index)
{
    ASSERT(index < model->param_count);
    return &model->params[index];
}

ptrdiff_t model_param_index(const struct model *model, enum model_role role, size_t layer)
{
    size_t layers = model->shape.layers;
    ASSERT(!family_role_in_layer(role) || layer < layers);
    if (role == MODEL_EMBEDDING || (role == MODEL_HEAD && model->shape.tied))
        return 0;
    if (role == MODEL_FINAL_NORM || role == MODEL_HEAD)
        return (ptrdiff_t)(1 + layers * ROLES_OF_LAYER + (role == MODEL_HEAD ? 1 : 0));
    return (ptrdiff_t)(1 + layer * ROLES_OF_LAYER + (size_t)(role - MODEL_ATTENTION_NORM));
}

size_t model_element_count(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->param_count; i++)
        count += model->params[i].rows * model->params[i].columns;
    return count;
}

size_t model_size_bytes(const struct model *model)
{
    size_t size = 0;
    for (size_t i = 0; i < model->param_count; i++)
        size += model->params[i].rows * model->params[i].columns *
                dtype_size_bytes(model->params[i].dtype);
    return size;
}

const double *model_rope_frequency(const struct model *model)
{
    return model->frequency;
}
