/* model_gguf.c - opening a GGUF file as a model. */
#include "worker/engine/nn/model_gguf.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_load.h"
#include "worker/engine/nn/model_tensor.h"
#include "worker/engine/nn/model_ternary.h"

/* Both enums are the rows of block_format.def, in its order. */
#define MODEL_GGUF_SAME(id, number, elements, bytes)                                               \
    _Static_assert((int)DTYPE_##id == (int)BLOCK_FORMAT_##id, #id);
BLOCK_FORMAT_ROWS(MODEL_GGUF_SAME)
#undef MODEL_GGUF_SAME

_Static_assert((int)GGUF_RANK_MAX <= (int)MODEL_TENSOR_RANK_MAX, "shapes fit");

/* "blk.%u.attn_q" of the table becomes "blk.3.attn_q.weight". */
struct tensor_name {
    char text[GGUF_NAME_BYTES_MAX + 1];
};

static struct tensor_name name_of(const struct model *model, const struct model_param *p)
{
    struct tensor_name name;
    const char *pattern = family_gguf_name(model->family, p->role);
    const char *mark = strstr(pattern, "%u");
    const char *ending = p->kind == MODEL_KIND_BIAS ? ".bias" : ".weight";
    if (mark == NULL)
        (void)snprintf(name.text, sizeof name.text, "%s%s", pattern, ending);
    else
        (void)snprintf(name.text, sizeof name.text, "%.*s%u%s%s", (int)(mark - pattern), pattern,
                       p->layer, mark + 2, ending);
    return name;
}

static enum model_row_order order_of(const struct model *model, const struct gguf_arch *arch,
                                     enum model_role role)
{
    if ((arch->flags & GGUF_ARCH_PERMUTED) != 0 && (role == MODEL_QUERY || role == MODEL_KEY))
        return MODEL_ROWS_ROTARY_PAIRS;
    if (role == MODEL_QUERY_KEY_VALUE && model->family->attention == ATTENTION_FUSED_GROUPS)
        return MODEL_ROWS_APART;
    return MODEL_ROWS_PLAIN;
}

/* A vector is small and has been copied: its elements take the common order. */
static enum err order_vector(struct model *model, struct model_param *p)
{
    const float *stored = p->data;
    float *plain = arena_alloc(&model->arena, p->rows, sizeof *plain);
    if (plain == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < p->rows; i++)
        plain[i] = stored[model_stored_row(model, p, i)];
    p->data = plain;
    p->row_order = MODEL_ROWS_PLAIN;
    return ERR_OK;
}

static enum err load_param(struct model *model, const struct gguf_arch *arch,
                           const struct model_load *load, struct model_param *p,
                           struct err_text *et)
{
    bool taken = false;
    struct tensor_name name = name_of(model, p);
    const struct gguf_tensor *t = gguf_find_tensor(&model->gguf, text_of(name.text));
    if (t == NULL)
        return model_tensor_missing(model, name.text, et);
    struct model_tensor tensor = {
        .name = t->name, .dtype = (enum dtype)t->format, .rank = t->rank, .data = t->data};
    memcpy(tensor.shape, t->shape, sizeof t->shape);
    TRY(model_tensor_place(model, p, &tensor, et));
    p->rounds_input = model_ternary_is(model, p); /* the scale is in the values */
    p->row_order = order_of(model, arch, p->role);
    TRY(model_load_take(model, p, load, &taken, et));
    if (taken)
        gguf_drop(&model->gguf, t->data);
    return p->kind == MODEL_KIND_BIAS ? order_vector(model, p) : ERR_OK;
}

static enum err check_layers(const struct model *model, struct err_text *et)
{
    const char *pattern = family_gguf_name(model->family, MODEL_OUTPUT);
    for (size_t i = 0; i < model->gguf.tensor_count; i++)
        TRY(model_tensor_check_layer(model, "", pattern, model->gguf.tensors[i].name, et));
    return ERR_OK;
}

/* The family's row, less what the converters of GGUF did to the weights already. */
static struct family family_as_written(const struct family *row, const struct gguf_arch *arch)
{
    struct family family = *row;
    if ((arch->flags & GGUF_ARCH_PLUS_ONE) != 0 && family.norm == NORM_RMS_PLUS_ONE)
        family.norm = NORM_RMS;
    if (family.linear == LINEAR_TURNED)
        family.linear = LINEAR_PLAIN;
    return family;
}

/* Takes over *gguf, also on failure. */
static enum err create_of(struct gguf *gguf, const struct hf_config *config,
                          const struct model_load *load, struct model **out, struct err_text *et)
{
    struct model *model = NULL;
    struct text name = {0};
    const struct gguf_arch *arch = NULL;
    const struct family *row = family_of(config);
    struct family family = {0};
    enum err err;
    TRY_OUT(gguf_text(gguf, "general.architecture", &name, et));
    arch = gguf_arch_named(name);
    ASSERT(arch != NULL);
    if (row != NULL)
        family = family_as_written(row, arch);
    TRY_OUT(model_state_create(config, row != NULL ? &family : NULL, &model, et));
    model->gguf = *gguf;
    *gguf = (struct gguf){0};
    for (size_t i = 0; i < model->param_count; i++) {
        if (model->params[i].part.whole == MODEL_NO_PARAM)
            TRY_OUT(load_param(model, arch, load, &model->params[i], et));
    }
    TRY_OUT(check_layers(model, et));
    *out = model;
    return ERR_OK;
out:
    model_destroy(&model);
    gguf_close(gguf);
    return err;
}

enum err model_gguf_open(const char *path, const struct model_load *load, struct model **out,
                         struct err_text *et)
{
    struct gguf gguf = {0};
    struct hf_config *config = mem_alloc(1, sizeof *config);
    if (config == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    TRY_OUT(gguf_open(&gguf, path, et));
    TRY_OUT(gguf_config_read(&gguf, config, et));
    err = create_of(&gguf, config, load, out, et);
    if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
        (void)error_prefix(et, err, "%s", path);
out:
    gguf_close(&gguf);
    mem_free(config);
    return err;
}
