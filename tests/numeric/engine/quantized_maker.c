/* quantized_maker.c - layer by layer, all of it in one arena: models here are small. */
#include "tests/numeric/engine/quantized_maker.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/formats/quantized_folder/quantized_folder.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/quant/grid.h"

#define INPUT_SCALE 0.0625f

static const char *const names[] = {
    "W8A8",        "W4A8",          "W4A16",       "W4A16_ASYM",  "W8A16", "W2A16",      "W3A16",
    "W8A8_STATIC", "W4A16_CHANNEL", "W8A8_TENSOR", "W4A16_BLOCK", "NF4",   "NF4_NESTED", "FP4"};

const char *quantized_maker_name(size_t index)
{
    return index < COUNT_OF(names) ? names[index] : NULL;
}

bool quantized_maker_kind(const char *name, struct quantized_kind *out)
{
    struct quantized_kind kind = {.name = name};
    char preset[32];
    size_t size = strcspn(name, "_");
    (void)snprintf(preset, sizeof preset, "%.*s", (int)size, name);
    const char *option = name + size;
    if (strcmp(preset, "NF4") == 0 || strcmp(preset, "FP4") == 0) {
        kind.is_bnb = true;
        kind.type = strcmp(preset, "NF4") == 0 ? BNB_CODE_NF4 : BNB_CODE_FP4;
        kind.nested = strcmp(option, "_NESTED") == 0;
        *out = kind;
        return true;
    }
    bool whole = quant_scheme_named(text_of(name), &kind.scheme);
    if (!whole && !quant_scheme_named(text_of(preset), &kind.scheme))
        return false;
    if (strcmp(option, "_STATIC") == 0)
        kind.scheme.input = QUANT_SCHEME_INPUT_STATIC;
    if (strcmp(option, "_CHANNEL") == 0 || strcmp(option, "_TENSOR") == 0)
        kind.scheme.group_size = 0;
    if (strcmp(option, "_CHANNEL") == 0)
        kind.scheme.strategy = QUANT_SCHEME_CHANNEL;
    if (strcmp(option, "_TENSOR") == 0)
        kind.scheme.strategy = QUANT_SCHEME_TENSOR;
    if (strcmp(option, "_BLOCK") == 0) {
        kind.scheme.strategy = QUANT_SCHEME_BLOCK;
        kind.scheme.block_rows = 2;
    }
    *out = kind;
    return true;
}

bool quantized_maker_takes(const struct model *model, const struct model_param *p)
{
    (void)model;
    return p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role) &&
           p->part.whole == MODEL_NO_PARAM;
}

/* ---- one matrix ---- */

static struct grid_scheme grid_of(const struct quant_scheme *s)
{
    return (struct grid_scheme){.bits = s->bits,
                                .symmetric = s->symmetric,
                                .strategy = (enum grid_strategy)s->strategy,
                                .group_size = s->group_size,
                                .block_rows = s->block_rows,
                                .scale_dtype = DTYPE_F32};
}

/* The largest group not above the kind's that divides `columns`. */
static struct quant_scheme fit(const struct quant_scheme *scheme, size_t columns)
{
    struct quant_scheme s = *scheme;
    while (s.group_size > 1 && columns % s.group_size != 0)
        s.group_size /= 2;
    return s;
}

static float *decoded(const struct model_param *p)
{
    float *w = mem_alloc(p->rows * p->columns, sizeof *w);
    if (w != NULL)
        block_decode(p->dtype, p->rows * p->columns, p->data, w);
    return w;
}

/* Finds cells and codes; released with grid_fini and mem_free. */
static enum err find_codes(const struct quant_scheme *scheme, const struct model_param *p,
                           const float *w, struct grid *grid, int8_t **codes)
{
    const struct grid_scheme s = grid_of(scheme);
    TRY(grid_init(grid, &s, p->rows, p->columns, p->name, NULL));
    *codes = mem_alloc(p->rows, p->columns);
    if (*codes == NULL)
        return ERR_OUT_OF_MEMORY;
    grid_find(grid, w, NULL);
    for (size_t row = 0; row < p->rows; row++)
        grid_encode_row(grid, row, w + row * p->columns, *codes + row * p->columns);
    return ERR_OK;
}

static struct bnb_linear bnb_of(const struct quantized_kind *kind, const struct model_param *p)
{
    return (struct bnb_linear){.type = kind->type,
                               .nested = kind->nested,
                               .block_size = BNB_LINEAR_BLOCK,
                               .before = SAFETENSORS_F32,
                               .rows = p->rows,
                               .columns = p->columns};
}

static void take_bnb_values(const struct bnb_linear_tensors *made, const struct bnb_linear *linear,
                            float *w)
{
    struct safetensor sorted[BNB_LINEAR_TENSORS_MAX];
    struct safetensors files = {.tensors = sorted, .count = made->count};
    struct bnb_linear_view view;
    for (size_t i = 0; i < made->count; i++) {
        size_t at = i;
        for (; at > 0 && text_compare(made->tensors[i].name, sorted[at - 1].name) < 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = made->tensors[i];
    }
    ASSERT(bnb_linear_find(&files, "m", linear->rows, linear->columns, &view, NULL) == ERR_OK);
    for (uint64_t i = 0; i < linear->rows * linear->columns; i++)
        w[i] = view.levels[bnb_linear_code(&view, i)] *
               bnb_linear_absmax(&view, i / linear->block_size);
}

float *quantized_maker_values(const struct quantized_kind *kind, const struct model_param *p)
{
    float *w = decoded(p);
    ASSERT(w != NULL);
    if (kind->is_bnb) {
        struct arena arena;
        struct bnb_linear_tensors made;
        const struct bnb_linear linear = bnb_of(kind, p);
        arena_init(&arena, SIZE_MAX);
        ASSERT(bnb_linear_encode(&linear, "m", w, &arena, &made) == ERR_OK);
        take_bnb_values(&made, &linear, w);
        arena_fini(&arena);
        return w;
    }
    struct grid grid = {0};
    int8_t *codes = NULL;
    const struct quant_scheme scheme = fit(&kind->scheme, p->columns);
    ASSERT(find_codes(&scheme, p, w, &grid, &codes) == ERR_OK);
    for (size_t row = 0; row < p->rows; row++)
        grid_decode_row(&grid, row, codes + row * p->columns, w + row * p->columns);
    mem_free(codes);
    grid_fini(&grid);
    return w;
}

/* ---- the folder ---- */

struct maker {
    const struct quantized_kind *kind;
    struct quant_scheme scheme; /* with a group that divides all widths */
    struct model *model;
    struct safetensors base;
    struct arena arena;
    struct safetensor *tensors;
    size_t count;
};

static enum err add_layer(struct maker *m, const struct model_param *p, const char *module)
{
    struct compressed_linear_tensors list;
    struct bnb_linear_tensors bnb_list;
    struct grid grid = {0};
    int8_t *codes = NULL;
    float *w = decoded(p);
    enum err err = w == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    if (err == ERR_OK && m->kind->is_bnb) {
        const struct bnb_linear linear = bnb_of(m->kind, p);
        TRY_OUT(bnb_linear_encode(&linear, module, w, &m->arena, &bnb_list));
        memcpy(m->tensors + m->count, bnb_list.tensors, bnb_list.count * sizeof *m->tensors);
        m->count += bnb_list.count;
    } else if (err == ERR_OK) {
        const struct compressed_linear linear = {m->scheme, p->rows, p->columns, SAFETENSORS_F32};
        TRY_OUT(find_codes(&m->scheme, p, w, &grid, &codes));
        const struct compressed_linear_values values = {codes, grid.scales, grid.zeros,
                                                        INPUT_SCALE};
        TRY_OUT(compressed_linear_encode(&linear, module, &values, &m->arena, &list, NULL));
        memcpy(m->tensors + m->count, list.tensors, list.count * sizeof *m->tensors);
        m->count += list.count;
    }
out:
    grid_fini(&grid);
    mem_free(codes);
    mem_free(w);
    return err;
}

/* The layer that the tensor is the weight of, or NULL. */
static const struct model_param *layer_of(const struct maker *m, struct text name)
{
    for (size_t i = 0; i < model_param_count(m->model); i++) {
        const struct model_param *p = model_param(m->model, i);
        if (quantized_maker_takes(m->model, p) && text_is(name, p->name))
            return p;
    }
    return NULL;
}

static enum err add_all(struct maker *m)
{
    m->tensors = arena_alloc(&m->arena, m->base.count * BNB_LINEAR_TENSORS_MAX, sizeof *m->tensors);
    if (m->tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < m->base.count; i++) {
        const struct safetensor *t = &m->base.tensors[i];
        const struct model_param *p = layer_of(m, t->name);
        if (p == NULL) {
            m->tensors[m->count++] = *t;
            continue;
        }
        char *module = arena_copy_text(&m->arena, t->name);
        if (module == NULL)
            return ERR_OUT_OF_MEMORY;
        module[t->name.size - strlen(".weight")] = '\0';
        TRY(add_layer(m, p, module));
    }
    return ERR_OK;
}

static enum err print_config(const struct maker *m, struct bytes *out)
{
    static const struct text ignore[] = {{"lm_head", 7}}, targets[] = {{"Linear", 6}};
    const struct compressed_config_group group = {m->scheme, targets, 1};
    const struct compressed_config config = {&group, 1, ignore, 1};
    const struct bnb_linear linear = {
        .type = m->kind->type, .nested = m->kind->nested, .before = SAFETENSORS_F32};
    return m->kind->is_bnb ? bnb_linear_config(&linear, ignore, 1, out)
                           : compressed_config_print(&config, out);
}

static void fit_all(struct maker *m)
{
    m->scheme = m->kind->scheme;
    for (size_t i = 0; i < model_param_count(m->model); i++) {
        const struct model_param *p = model_param(m->model, i);
        if (quantized_maker_takes(m->model, p))
            m->scheme = fit(&m->scheme, p->columns);
    }
}

enum err quantized_maker_write(const struct quantized_kind *kind, const char *base, const char *out,
                               struct err_text *et)
{
    struct maker m = {.kind = kind};
    struct quantized_folder folder;
    struct bytes config;
    enum err err;
    arena_init(&m.arena, SIZE_MAX);
    bytes_init(&config, SIZE_MAX);
    TRY_OUT(model_open(base, &m.model, et));
    TRY_OUT(safetensors_index_open_folder(&m.base, base, "model", et));
    fit_all(&m);
    TRY_OUT(add_all(&m));
    TRY_OUT(print_config(&m, &config));
    const struct quantized_folder_content content = {.base = base,
                                                     .quantization_config = bytes_span(&config),
                                                     .tensors = m.tensors,
                                                     .count = m.count};
    TRY_OUT(quantized_folder_plan(&content, &m.arena, &folder, et));
    err = quantized_folder_write(&folder, out, et);
out:
    bytes_fini(&config);
    safetensors_close(&m.base);
    model_destroy(&m.model);
    arena_fini(&m.arena);
    return err;
}
