/* model_site.c - modules with the same norm before them share a site; the others have their own. */
#include "worker/engine/nn/model_site.h"

#include <string.h>

#include "common/base/check.h"

/* The linear roles in model order. What feeds one is the first of its norms that the family has;
 * with none of them it stands alone, and `source` is what its input is linear in. */
static const struct module_row {
    enum model_role role, norm, norm_instead, source;
} modules[] = {
    {MODEL_QUERY_KEY_VALUE, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT, MODEL_ROLE_COUNT},
    {MODEL_QUERY, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT, MODEL_ROLE_COUNT},
    {MODEL_KEY, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT, MODEL_ROLE_COUNT},
    {MODEL_VALUE, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT, MODEL_ROLE_COUNT},
    {MODEL_OUTPUT, MODEL_ATTENTION_SUB_NORM, MODEL_ROLE_COUNT, MODEL_VALUE},
    {MODEL_GATE_UP, MODEL_MLP_NORM, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT},
    {MODEL_GATE, MODEL_MLP_NORM, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT},
    {MODEL_UP, MODEL_MLP_NORM, MODEL_ATTENTION_NORM, MODEL_ROLE_COUNT},
    {MODEL_DOWN, MODEL_MLP_SUB_NORM, MODEL_ROLE_COUNT, MODEL_UP},
};

static ptrdiff_t index_of(const struct model *model, enum model_role role, size_t layer)
{
    return role != MODEL_ROLE_COUNT ? model_param_index(model, role, layer) : MODEL_NO_PARAM;
}

/* The parameter of a row of the table, where it is a module with data of its own. */
static ptrdiff_t module_param(const struct model *model, size_t row, size_t layer)
{
    ptrdiff_t param = index_of(model, modules[row].role, layer);
    if (param == MODEL_NO_PARAM || model_param(model, (size_t)param)->part.whole != MODEL_NO_PARAM)
        return MODEL_NO_PARAM;
    return param;
}

static ptrdiff_t module_norm(const struct model *model, size_t row, size_t layer)
{
    ptrdiff_t norm = index_of(model, modules[row].norm, layer);
    return norm != MODEL_NO_PARAM ? norm : index_of(model, modules[row].norm_instead, layer);
}

/* The row of the table that stands for the site of a module: the first with the same norm. */
static size_t site_row(const struct model *model, size_t row)
{
    ptrdiff_t norm = module_norm(model, row, 0);
    for (size_t i = 0; i < row && norm != MODEL_NO_PARAM; i++) {
        if (module_param(model, i, 0) != MODEL_NO_PARAM && module_norm(model, i, 0) == norm)
            return i;
    }
    return row;
}

/* Sites of a layer whose first module comes before `row`. */
static size_t sites_before(const struct model *model, size_t row)
{
    size_t count = 0;
    for (size_t i = 0; i < row; i++)
        count += module_param(model, i, 0) != MODEL_NO_PARAM && site_row(model, i) == i;
    return count;
}

size_t model_site_layer_count(const struct model *model)
{
    return sites_before(model, COUNT_OF(modules));
}

size_t model_site_count(const struct model *model)
{
    return model_shape(model)->layers * model_site_layer_count(model) + 1;
}

static void append(const struct model *model, size_t param, struct model_site *site)
{
    const struct model_param *p = model_param(model, param);
    ASSERT(site->param_count < MODEL_SITE_PARAMS_MAX);
    if (site->param_count == 0) {
        site->name = text_of(p->name);
        site->name.size -= strlen(".weight");
        site->columns = p->columns;
    }
    ASSERT(site->columns == p->columns);
    site->params[site->param_count++] = param;
}

static ptrdiff_t source_of(const struct model *model, size_t row, size_t layer)
{
    bool plain_mlp = model_family(model)->mlp == MLP_PLAIN;
    ptrdiff_t param = index_of(model, modules[row].source, layer);
    if (param == MODEL_NO_PARAM || (modules[row].source == MODEL_UP && plain_mlp))
        return MODEL_NO_PARAM;
    ptrdiff_t whole = model_param(model, (size_t)param)->part.whole;
    return whole != MODEL_NO_PARAM ? whole : param;
}

static struct model_site head_site(const struct model *model)
{
    struct model_site site = {.source = MODEL_NO_PARAM};
    site.norm = index_of(model, MODEL_FINAL_NORM, 0);
    append(model, (size_t)index_of(model, MODEL_HEAD, 0), &site);
    return site;
}

struct model_site model_site(const struct model *model, size_t index)
{
    size_t each = model_site_layer_count(model), first = 0;
    ASSERT(index < model_site_count(model));
    if (index + 1 == model_site_count(model))
        return head_site(model);
    struct model_site site = {.layer = index / each, .in_layer = true};
    while (module_param(model, first, 0) == MODEL_NO_PARAM || site_row(model, first) != first ||
           sites_before(model, first) != index % each)
        first++;
    for (size_t i = first; i < COUNT_OF(modules); i++) {
        ptrdiff_t param = module_param(model, i, site.layer);
        if (param != MODEL_NO_PARAM && site_row(model, i) == first)
            append(model, (size_t)param, &site);
    }
    site.norm = module_norm(model, first, site.layer);
    site.source =
        site.norm == MODEL_NO_PARAM ? source_of(model, first, site.layer) : MODEL_NO_PARAM;
    return site;
}

size_t model_site_of_param(const struct model *model, size_t param)
{
    const struct model_param *p = model_param(model, param);
    if (p->part.whole != MODEL_NO_PARAM)
        p = model_param(model, (size_t)p->part.whole);
    if (p->role == MODEL_HEAD || (p->role == MODEL_EMBEDDING && model_shape(model)->tied))
        return model_site_count(model) - 1;
    size_t row = 0;
    while (row < COUNT_OF(modules) && modules[row].role != p->role)
        row++;
    ASSERT(row < COUNT_OF(modules) && p->kind == MODEL_KIND_LINEAR);
    return p->layer * model_site_layer_count(model) + sites_before(model, site_row(model, row));
}

enum err model_site_find(const struct model *model, struct text name, size_t *index)
{
    for (size_t i = 0; i < model_site_count(model); i++) {
        if (text_equal(model_site(model, i).name, name)) {
            *index = i;
            return ERR_OK;
        }
    }
    return ERR_NOT_FOUND;
}

size_t model_site_source_row(const struct model *model, const struct model_site *site,
                             size_t column)
{
    const struct model_shape *s = model_shape(model);
    ASSERT(site->source != MODEL_NO_PARAM && column < site->columns);
    enum model_role role = MODEL_UP;
    size_t row = column;
    if (model_param(model, site->params[0])->role == MODEL_OUTPUT) {
        size_t head = column / s->head_width, shared = s->heads / s->kv_heads;
        role = MODEL_VALUE;
        row = head / shared * s->head_width + column % s->head_width;
    }
    const struct model_param *p =
        model_param(model, (size_t)model_param_index(model, role, site->layer));
    if (p->part.whole == MODEL_NO_PARAM)
        return row;
    return p->part.first + row / p->part.run * p->part.stride + row % p->part.run;
}
