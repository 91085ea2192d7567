/* fold_scale.c - for each parameter the factors of its columns and the divisors of its rows. */
#include "worker/engine/nn/fold_scale.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/blocks.h"

/* What happens to one parameter; all NULL: nothing. */
struct change {
    const float *columns; /* times these; factors of the site that the module reads */
    float *rows;          /* by these; 0 while none has come */
    float offset;         /* of a gain: what is divided is this plus the value */
};

struct fold_scale {
    const struct model *model; /* borrowed */
    struct change *changes;    /* (parameters) */
    struct arena arena;        /* owned: all of it */
};

/* ---- what a site's factors can go to ---- */

static bool is_ternary(const struct model *model, const struct model_site *site)
{
    for (size_t i = 0; i < site->param_count; i++) {
        const struct model_param *p = model_param(model, site->params[i]);
        if (p->rounds_input && !p->on_grid)
            return true;
    }
    return false;
}

enum fold_scale_place fold_scale_place_of(const struct model *model, const struct model_site *site)
{
    if (!site->in_layer && model_shape(model)->tied)
        return FOLD_SCALE_TIED;
    if (is_ternary(model, site))
        return FOLD_SCALE_TERNARY;
    if (site->norm != MODEL_NO_PARAM)
        return FOLD_SCALE_NORM;
    return site->source != MODEL_NO_PARAM ? FOLD_SCALE_SOURCE : FOLD_SCALE_ACTIVATION;
}

const char *fold_scale_place_text(enum fold_scale_place place)
{
    switch (place) {
    case FOLD_SCALE_NORM:
        return "the norm before it divides";
    case FOLD_SCALE_SOURCE:
        return "the module that feeds it divides";
    case FOLD_SCALE_ACTIVATION:
        return "its input comes out of a non-linearity";
    case FOLD_SCALE_TERNARY:
        return "its weights are ternary";
    case FOLD_SCALE_TIED:
        return "its weights are the embedding as well";
    }
    return "";
}

struct channel_ties fold_scale_ties(const struct model *model, const struct model_site *site)
{
    const struct model_shape *s = model_shape(model);
    if (fold_scale_place_of(model, site) != FOLD_SCALE_SOURCE || s->heads == s->kv_heads)
        return (struct channel_ties){0};
    enum model_role role = model_param(model, (size_t)site->source)->role;
    bool values = role == MODEL_VALUE || role == MODEL_QUERY_KEY_VALUE;
    return values ? (struct channel_ties){s->head_width, s->heads / s->kv_heads}
                  : (struct channel_ties){0};
}

static float rounded(enum dtype dtype, float value)
{
    uint16_t stored;
    block_encode(dtype, 1, 1, &value, NULL, &stored);
    dtype_decode(dtype, 1, &stored, &value);
    return value;
}

void fold_scale_settle(const struct model *model, size_t site, enum dtype dtype, float *scales)
{
    struct model_site at = model_site(model, site);
    double offset = (double)model_shape(model)->norm_offset;
    ASSERT(dtype == DTYPE_F16 || dtype == DTYPE_BF16);
    for (size_t c = 0; at.norm != MODEL_NO_PARAM && c < at.columns; c++) {
        float gain = 0;
        model_values_read(model, (size_t)at.norm, c, 1, &gain);
        double whole = offset + (double)gain, s = (double)scales[c];
        double settled = whole / (offset + (double)rounded(dtype, (float)(whole / s - offset)));
        if (settled >= s / 2 && settled <= 2 * s)
            scales[c] = (float)settled;
    }
}

/* ---- taking factors in ---- */

/* The divisors of a parameter's rows, made on first use; NULL: out of memory. */
static float *rows_of(struct fold_scale *fold, ptrdiff_t param)
{
    struct change *change = &fold->changes[param];
    if (change->rows == NULL)
        change->rows = arena_alloc(&fold->arena, model_param(fold->model, (size_t)param)->rows,
                                   sizeof *change->rows);
    return change->rows;
}

/* Divisors of the norm's gain and bias, or of the source's rows and bias. False: tied columns have
 * different factors. */
static bool divide(const struct model *model, const struct model_site *site, const float *scales,
                   float *rows, float *bias)
{
    for (size_t c = 0; c < site->columns; c++) {
        size_t row = site->norm != MODEL_NO_PARAM ? c : model_site_source_row(model, site, c);
        if (rows[row] > 0 && (rows[row] < scales[c] || rows[row] > scales[c]))
            return false;
        rows[row] = scales[c];
        if (bias != NULL)
            bias[row] = scales[c];
    }
    return true;
}

static enum err take_feeder(struct fold_scale *fold, const struct model_site *site,
                            const float *scales, struct err_text *et)
{
    ptrdiff_t feeder = site->norm != MODEL_NO_PARAM ? site->norm : site->source;
    const struct model_param *p = model_param(fold->model, (size_t)feeder);
    float *rows = rows_of(fold, feeder), *bias = NULL;
    if (p->bias != MODEL_NO_PARAM)
        bias = rows_of(fold, p->bias);
    if (rows == NULL || (p->bias != MODEL_NO_PARAM && bias == NULL))
        return ERR_OUT_OF_MEMORY;
    if (p->kind == MODEL_KIND_GAIN)
        fold->changes[feeder].offset = model_shape(fold->model)->norm_offset;
    if (!divide(fold->model, site, scales, rows, bias))
        return error_set(et, ERR_DATA, "%.*s: heads that share a value head have different factors",
                         TEXT_ARGS(site->name));
    return ERR_OK;
}

static enum err take_site(struct fold_scale *fold, const struct fold_scale_factors *factors,
                          struct err_text *et)
{
    struct model_site site = model_site(fold->model, factors->site);
    enum fold_scale_place place = fold_scale_place_of(fold->model, &site);
    if (!fold_scale_place_takes(place))
        return error_set(et, ERR_UNSUPPORTED, "%.*s: its input cannot be scaled: %s",
                         TEXT_ARGS(site.name), fold_scale_place_text(place));
    if (fold->changes[site.params[0]].columns != NULL)
        return error_set(et, ERR_DATA, "%.*s: has factors twice", TEXT_ARGS(site.name));
    float *scales = arena_alloc(&fold->arena, site.columns, sizeof *scales);
    if (scales == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t c = 0; c < site.columns; c++) {
        scales[c] = factors->scales[c];
        if (!(scales[c] > 0) || scales[c] > 3e38f)
            return error_set(et, ERR_DATA, "%.*s: factor %g of column %zu; expected one above 0",
                             TEXT_ARGS(site.name), (double)scales[c], c);
    }
    for (size_t i = 0; i < site.param_count; i++)
        fold->changes[site.params[i]].columns = scales;
    return take_feeder(fold, &site, scales, et);
}

enum err fold_scale_create(const struct model *model, const struct fold_scale_factors *factors,
                           size_t count, struct fold_scale **out, struct err_text *et)
{
    enum err err = ERR_OK;
    struct fold_scale *fold = mem_alloc(1, sizeof *fold);
    if (fold == NULL)
        return ERR_OUT_OF_MEMORY;
    fold->model = model;
    arena_init(&fold->arena, SIZE_MAX);
    fold->changes = arena_alloc(&fold->arena, model_param_count(model), sizeof *fold->changes);
    if (fold->changes == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    for (size_t i = 0; i < count; i++)
        TRY_OUT(take_site(fold, &factors[i], et));
    *out = fold;
    fold = NULL;
out:
    fold_scale_destroy(&fold);
    return err;
}

void fold_scale_destroy(struct fold_scale **fold)
{
    if (*fold == NULL)
        return;
    arena_fini(&(*fold)->arena);
    mem_free(*fold);
    *fold = NULL;
}

/* ---- reading ---- */

bool fold_scale_changes(const struct fold_scale *fold, size_t param)
{
    ASSERT(param < model_param_count(fold->model));
    return fold->changes[param].columns != NULL || fold->changes[param].rows != NULL;
}

void fold_scale_read(const struct fold_scale *fold, size_t param, size_t first, size_t count,
                     float *out)
{
    const struct change *change = &fold->changes[param];
    size_t columns = model_param(fold->model, param)->columns;
    double offset = (double)change->offset;
    model_values_read(fold->model, param, first, count, out);
    if (!fold_scale_changes(fold, param))
        return;
    for (size_t r = 0; r < count; r++) {
        float *row = out + r * columns;
        /* Rows of a fused module that feed no one have no divisor. */
        bool divides = change->rows != NULL && change->rows[first + r] > 0;
        double divisor = divides ? (double)change->rows[first + r] : 1;
        for (size_t c = 0; c < columns; c++) {
            double factor = change->columns != NULL ? (double)change->columns[c] : 1;
            row[c] = (float)((offset + (double)row[c]) * factor / divisor - offset);
        }
    }
}

enum err fold_scale_overrides(const struct fold_scale *fold, struct arena *arena,
                              struct model_override **out, size_t *count)
{
    size_t total = model_param_count(fold->model), found = 0;
    struct model_override *list = arena_alloc(arena, total, sizeof *list);
    if (list == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < total; i++) {
        if (!fold_scale_changes(fold, i))
            continue;
        const struct model_param *p = model_param(fold->model, i);
        size_t elements = 0;
        float *data = NULL;
        if (check_mul(p->rows, p->columns, &elements))
            data = arena_alloc(arena, elements, sizeof *data);
        if (data == NULL)
            return ERR_OUT_OF_MEMORY;
        fold_scale_read(fold, i, 0, p->rows, data);
        list[found++] = (struct model_override){p->name, p->rows, p->columns, data};
    }
    *out = list;
    *count = found;
    return ERR_OK;
}
