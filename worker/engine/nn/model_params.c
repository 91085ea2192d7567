/* model_params.c - walking the roles of a family, layer by layer. */
#include "worker/engine/nn/model_params.h"

#include <string.h>

#include "common/base/check.h"

struct role_shape {
    char rows, columns;
};

static const struct role_shape role_shapes[MODEL_ROLE_COUNT] = {
#define MODEL_SHAPE_ROW(role, place, kind, rows, columns, gguf)                                    \
    [MODEL_##role] = {#rows[0], #columns[0]},
    MODEL_ROLE_ROWS(MODEL_SHAPE_ROW)
#undef MODEL_SHAPE_ROW
};

static size_t dimension(const struct model_shape *s, char letter)
{
    switch (letter) {
    case 'V':
        return s->vocabulary;
    case 'P':
        return s->positions;
    case 'C':
        return s->width;
    case 'D':
        return s->head_width;
    case 'Q':
        return s->heads * s->head_width;
    case 'K':
        return s->kv_heads * s->head_width;
    case 'A':
        return (s->heads + 2 * s->kv_heads) * s->head_width;
    case 'F':
        return s->mlp_width;
    case 'U':
        return 2 * s->mlp_width;
    default:
        ASSERT(letter == '1');
        return 1;
    }
}

/* "%u" of a tensor name becomes the layer, ".weight" at its end becomes `ending`. */
static const char *name_of(struct model *model, enum model_role role, size_t layer,
                           const char *ending)
{
    const char *pattern = model->family->names[role], *mark = strstr(pattern, "%u");
    size_t stem = strlen(pattern) - strlen(".weight");
    ASSERT(strcmp(pattern + stem, ".weight") == 0);
    if (mark == NULL)
        return arena_print(&model->arena, "%.*s%s", (int)stem, pattern, ending);
    return arena_print(&model->arena, "%.*s%zu%.*s%s", (int)(mark - pattern), pattern, layer,
                       (int)(pattern + stem - mark - 2), mark + 2, ending);
}

static bool has_bias(const struct model *model, enum model_role role)
{
    const struct hf_config *config = &model->config;
    enum model_kind kind = family_role_kind(role);
    if (kind == MODEL_KIND_GAIN)
        return model->family->norm == NORM_LAYER;
    if (kind != MODEL_KIND_LINEAR)
        return false;
    if (!family_role_in_layer(role))
        return model->family->bias == BIAS_ALL;
    if (model->family->bias == BIAS_ALL || model->family->bias == BIAS_LAYERS || config->bias)
        return true;
    if (role == MODEL_QUERY || role == MODEL_KEY || role == MODEL_VALUE)
        return model->family->bias == BIAS_QKV || config->attention_bias;
    if (role == MODEL_OUTPUT)
        return config->attention_bias;
    return config->mlp_bias && (role == MODEL_GATE || role == MODEL_UP || role == MODEL_DOWN);
}

/* ---- parts of fused modules ---- */

static enum model_role whole_of(enum model_role role)
{
    return role == MODEL_GATE || role == MODEL_UP ? MODEL_GATE_UP : MODEL_QUERY_KEY_VALUE;
}

static bool is_part(const struct model *model, enum model_role role)
{
    bool of_attention = role == MODEL_QUERY || role == MODEL_KEY || role == MODEL_VALUE;
    bool of_mlp = role == MODEL_GATE || role == MODEL_UP;
    return (of_attention || of_mlp) && model->family->names[whole_of(role)] != NULL;
}

static struct model_part part_of(const struct model_shape *s, enum family_attention attention,
                                 enum model_role role, size_t rows)
{
    size_t D = s->head_width, Q = s->heads * D, K = s->kv_heads * D, q = Q / s->kv_heads;
    bool groups = attention == ATTENTION_FUSED_GROUPS;
    struct model_part part = {.run = rows, .stride = rows};
    switch ((unsigned)role) {
    case MODEL_QUERY:
        return groups ? (struct model_part){0, 0, q, q + 2 * D} : part;
    case MODEL_KEY:
        part.first = Q;
        return groups ? (struct model_part){0, q, D, q + 2 * D} : part;
    case MODEL_VALUE:
        part.first = Q + K;
        return groups ? (struct model_part){0, q + D, D, q + 2 * D} : part;
    default:
        part.first = role == MODEL_UP ? s->mlp_width : 0;
        return part;
    }
}

/* ---- the list ---- */

static struct model_param *append(struct model *model, enum model_role role, size_t layer,
                                  const char *name)
{
    struct model_param *p = &model->params[model->param_count++];
    *p = (struct model_param){.name = name,
                              .role = role,
                              .kind = family_role_kind(role),
                              .layer = (uint32_t)layer,
                              .rows = dimension(&model->shape, role_shapes[role].rows),
                              .columns = dimension(&model->shape, role_shapes[role].columns),
                              .dtype = DTYPE_F32,
                              .file_dtype = DTYPE_F32,
                              .scale = 1,
                              .bias = MODEL_NO_PARAM,
                              .part = {.whole = MODEL_NO_PARAM}};
    return p;
}

static enum err add_param(struct model *model, enum model_role role, size_t layer)
{
    const struct model_shape *shape = &model->shape;
    const char *name = name_of(model, role, layer, ".weight");
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    if (layer == 0)
        model->indices[role] = (ptrdiff_t)model->param_count;
    struct model_param *p = append(model, role, layer, name);
    p->turned = p->kind == MODEL_KIND_LINEAR && family_role_in_layer(role) &&
                model->family->linear == LINEAR_TURNED;
    if (is_part(model, role)) {
        p->part = part_of(shape, model->family->attention, role, p->rows);
        p->part.whole = model_param_index(model, whole_of(role), layer);
        return ERR_OK;
    }
    if (!has_bias(model, role))
        return ERR_OK;
    name = name_of(model, role, layer, ".bias");
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    p->bias = (ptrdiff_t)model->param_count;
    struct model_param *bias = append(model, role, layer, name);
    bias->kind = MODEL_KIND_BIAS;
    bias->columns = 1;
    return ERR_OK;
}

/* Roles of `in_layer` from `first` on, in their order, as long as they are on the same side. */
static enum err add_roles(struct model *model, unsigned first, bool in_layer, size_t layer)
{
    for (unsigned i = first; i < MODEL_ROLE_COUNT; i++) {
        enum model_role role = (enum model_role)i;
        if (family_role_in_layer(role) != in_layer)
            break;
        if (model->family->names[role] == NULL || (role == MODEL_HEAD && model->shape.tied))
            continue;
        TRY(add_param(model, role, layer));
    }
    return ERR_OK;
}

enum err model_params_list(struct model *model)
{
    size_t count = 2 * MODEL_ROLE_COUNT * (model->shape.layers + 1);
    model->params = arena_alloc(&model->arena, count, sizeof *model->params);
    if (model->params == NULL)
        return ERR_OUT_OF_MEMORY;
    for (unsigned role = 0; role < MODEL_ROLE_COUNT; role++)
        model->indices[role] = MODEL_NO_PARAM;
    TRY(add_roles(model, MODEL_EMBEDDING, false, 0));
    for (size_t layer = 0; layer < model->shape.layers; layer++) {
        size_t before = model->param_count;
        TRY(add_roles(model, MODEL_ATTENTION_NORM, true, layer));
        model->layer_params = model->param_count - before;
    }
    return add_roles(model, MODEL_FINAL_NORM, false, 0);
}
