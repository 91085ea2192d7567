/* train_choice.c - lists the modules, then lets targets, patterns and saved names choose. */
#include "worker/engine/train/train_choice.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"

enum { RANK_MAX = 1 << 16, NAMES_BYTES = 512 };
static const double ALPHA_MAX = 1e6; /* of lora_alpha */

struct choice {
    const struct model *model;
    const struct train_config *config;
    struct arena *arena;
    struct train_module *modules;
    size_t count;
    struct err_text *et;
};

/* ---- modules ---- */

static bool is_part(const struct choice *c, const struct train_module *m)
{
    return model_param(c->model, m->param)->part.whole != MODEL_NO_PARAM;
}

static bool is_in_layer(const struct choice *c, const struct train_module *m)
{
    return family_role_in_layer(model_param(c->model, m->param)->role);
}

struct text train_choice_last_part(struct text module)
{
    size_t at = module.size;
    while (at > 0 && module.data[at - 1] != '.')
        at--;
    return (struct text){module.data + at, module.size - at};
}

static struct text without_ending(struct text name)
{
    const struct text ending = TEXT(".weight");
    ASSERT(name.size > ending.size);
    name.size -= ending.size;
    return name;
}

static enum train_place place_of(const struct model_param *p)
{
    if (p->kind == MODEL_KIND_LINEAR)
        return TRAIN_PLACE_LINEAR;
    return p->role == MODEL_EMBEDDING ? TRAIN_PLACE_LOOKUP : TRAIN_PLACE_OTHER;
}

static enum err list_modules(struct choice *c)
{
    size_t params = model_param_count(c->model);
    c->modules = arena_alloc(c->arena, params + 1, sizeof *c->modules);
    if (c->modules == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < params; i++) {
        const struct model_param *p = model_param(c->model, i);
        if (p->kind != MODEL_KIND_BIAS)
            c->modules[c->count++] = (struct train_module){
                .param = i, .name = without_ending(text_of(p->name)), .place = place_of(p)};
    }
    const char *head = model_family(c->model)->names[MODEL_HEAD];
    if (model_shape(c->model)->tied && head != NULL)
        c->modules[c->count++] =
            (struct train_module){.param = (size_t)model_param_index(c->model, MODEL_EMBEDDING, 0),
                                  .name = without_ending(text_of(head)),
                                  .place = TRAIN_PLACE_LINEAR};
    return ERR_OK;
}

/* ---- names ---- */

/* Whether the module is called so, or ends so after a dot. */
static bool is_named(struct text module, struct text wanted)
{
    if (text_equal(module, wanted))
        return true;
    if (module.size <= wanted.size || wanted.size == 0)
        return false;
    size_t at = module.size - wanted.size;
    return module.data[at - 1] == '.' && memcmp(module.data + at, wanted.data, wanted.size) == 0;
}

/* A part of a fused module is adapted when it is named; all-linear takes the module as a whole. */
static bool is_target(const struct choice *c, const struct train_module *m, struct text wanted)
{
    if (m->place == TRAIN_PLACE_OTHER)
        return false;
    if (text_is(wanted, "all-linear"))
        return m->place == TRAIN_PLACE_LINEAR && is_in_layer(c, m) && !is_part(c, m);
    return is_named(m->name, wanted);
}

/* "q_proj, k_proj, ..., embed_tokens, lm_head": the last parts of the modules of the first layer
 * and of those beside the layers; with `all`, also of those that are no adapter's. */
static const char *name_modules(const struct choice *c, bool all, char out[NAMES_BYTES])
{
    size_t at = 0;
    out[0] = '\0';
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < c->count; i++) {
            const struct train_module *m = &c->modules[i];
            struct text part = train_choice_last_part(m->name);
            bool other = m->place == TRAIN_PLACE_OTHER;
            if ((all ? is_part(c, m) : other) || is_in_layer(c, m) != (pass == 0) ||
                model_param(c->model, m->param)->layer != 0 || at + part.size + 3 > NAMES_BYTES)
                continue;
            if (at != 0) {
                memcpy(out + at, ", ", 2);
                at += 2;
            }
            memcpy(out + at, part.data, part.size);
            at += part.size;
            out[at] = '\0';
        }
    }
    return out;
}

/* ---- targets ---- */

static enum err adapt(struct choice *c, struct text target)
{
    size_t found = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct train_module *m = &c->modules[i];
        if (!is_target(c, m, target))
            continue;
        found++;
        if (m->place == TRAIN_PLACE_LOOKUP && c->config->dora)
            return error_set(
                c->et, ERR_RECIPE,
                "peft_use_dora: an embedding's adapter has no magnitude; take \"%.*s\" "
                "out of lora_target_modules, or say false",
                TEXT_ARGS(target));
        if (is_part(c, m) && c->config->dora)
            return error_set(
                c->et, ERR_RECIPE,
                "peft_use_dora: \"%.*s\" in lora_target_modules is a part of %s, which "
                "has its magnitudes as one module; name that, or say false",
                TEXT_ARGS(target),
                model_param(c->model, (size_t)model_param(c->model, m->param)->part.whole)->name);
        m->adapted = true;
        m->rank = c->config->rank;
        m->alpha = c->config->alpha;
    }
    if (found != 0)
        return ERR_OK;
    char names[NAMES_BYTES];
    return error_set(c->et, ERR_RECIPE,
                     "lora_target_modules: \"%.*s\" matches no linear module of the layers; there "
                     "are %s, or all-linear for all of them",
                     TEXT_ARGS(target), name_modules(c, false, names));
}

/* What PEFT takes for the family where the recipe names nothing. */
static enum err adapt_usual(struct choice *c)
{
    struct text rest = text_of(model_family(c->model)->targets);
    char names[NAMES_BYTES];
    if (rest.size == 0)
        return error_set(
            c->et, ERR_RECIPE,
            "lora_target_modules: there is no usual choice for model_type %s; name some of "
            "%s, or all-linear for all of them",
            model_family(c->model)->model_type, name_modules(c, false, names));
    while (rest.size > 0) {
        const char *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma != NULL ? (size_t)(comma - rest.data) : rest.size;
        TRY(adapt(c, (struct text){rest.data, size}));
        size += comma != NULL ? 1 : 0;
        rest = (struct text){rest.data + size, rest.size - size};
    }
    return ERR_OK;
}

static enum err choose_targets(struct choice *c)
{
    if (c->config->dora && model_family(c->model)->linear == LINEAR_TERNARY)
        return error_set(
            c->et, ERR_RECIPE,
            "peft_use_dora: PEFT takes the norms of the master weights that base_model "
            "(%s) was rounded from, not of its ternary ones; say false",
            model_config(c->model)->model_type);
    for (size_t i = 0; i < c->config->target_count; i++)
        TRY(adapt(c, text_of(c->config->targets[i])));
    return c->config->target_count != 0 ? ERR_OK : adapt_usual(c);
}

/* ---- patterns ---- */

/* What PEFT takes for a name and for an expression alike. */
static bool is_plain_name(struct text name)
{
    for (size_t i = 0; i < name.size; i++) {
        char at = name.data[i];
        bool letter = (at >= 'a' && at <= 'z') || (at >= 'A' && at <= 'Z');
        if (!letter && !(at >= '0' && at <= '9') && at != '_' && at != '.' && at != '-')
            return false;
    }
    return name.size != 0;
}

/* "module=number" */
static enum err read_pattern(const struct choice *c, const char *key, const char *pattern,
                             struct text *name, double *value)
{
    const char *sign = strrchr(pattern, '=');
    char *end = NULL;
    double number = sign != NULL ? strtod(sign + 1, &end) : 0;
    if (sign == NULL || end == sign + 1 || *end != '\0' || !(number - number == 0))
        return error_set(c->et, ERR_RECIPE, "%s: expected module=number, found \"%s\"", key,
                         pattern);
    struct text module = {pattern, (size_t)(sign - pattern)};
    if (!is_plain_name(module))
        return error_set(c->et, ERR_RECIPE,
                         "%s: \"%.*s\" is no module's name or end of one, such as q_proj or "
                         "layers.0.mlp.up_proj",
                         key, TEXT_ARGS(module));
    *name = module;
    *value = number;
    return ERR_OK;
}

/* Each pattern means a module; of several that fit one, the first counts. */
static enum err apply_patterns(struct choice *c, bool ranks)
{
    const char *key = ranks ? "rank_pattern" : "alpha_pattern";
    size_t count = ranks ? c->config->rank_pattern_count : c->config->alpha_pattern_count;
    const char *const *patterns = ranks ? c->config->rank_patterns : c->config->alpha_patterns;
    for (size_t i = count; i-- > 0;) {
        struct text name;
        double value = 0;
        size_t found = 0;
        TRY(read_pattern(c, key, patterns[i], &name, &value));
        if (ranks && !(value >= 1 && value <= RANK_MAX && value == (double)(size_t)value))
            return error_set(c->et, ERR_RECIPE,
                             "%s: expected a whole number from 1 to %d, found \"%s\"", key,
                             RANK_MAX, patterns[i]);
        if (!ranks && !(value >= 0 && value <= ALPHA_MAX))
            return error_set(c->et, ERR_RECIPE, "%s: expected a number from 0 to %g, found \"%s\"",
                             key, ALPHA_MAX, patterns[i]);
        for (size_t m = 0; m < c->count; m++) {
            if (!c->modules[m].adapted || !is_named(c->modules[m].name, name))
                continue;
            found++;
            if (ranks)
                c->modules[m].rank = (size_t)value;
            else
                c->modules[m].alpha = value;
        }
        if (found == 0)
            return error_set(c->et, ERR_RECIPE,
                             "%s: \"%.*s\" fits none of the modules that lora_target_modules "
                             "chooses",
                             key, TEXT_ARGS(name));
    }
    return ERR_OK;
}

static enum err check_ranks(const struct choice *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct train_module *m = &c->modules[i];
        const struct model_param *p = model_param(c->model, m->param);
        if (m->adapted && m->rank > MIN(p->rows, p->columns))
            return error_set(c->et, ERR_RECIPE,
                             "%s: %zu is more than module %.*s can have (%zu x %zu)",
                             m->rank == c->config->rank ? "lora_r" : "rank_pattern", m->rank,
                             TEXT_ARGS(m->name), p->rows, p->columns);
    }
    return ERR_OK;
}

/* ---- modules that train as a whole ---- */

static enum err check_saved(const struct choice *c, const struct train_module *m)
{
    const struct model_param *p = model_param(c->model, m->param);
    const struct family *family = model_family(c->model), *row = family_of(model_config(c->model));
    if (m->adapted)
        return error_set(c->et, ERR_RECIPE,
                         "lora_modules_to_save: %.*s is among lora_target_modules; a module has an "
                         "adapter or trains as a whole",
                         TEXT_ARGS(m->name));
    if (is_part(c, m))
        return error_set(c->et, ERR_RECIPE,
                         "lora_modules_to_save: %.*s is a part of %s, which trains as one",
                         TEXT_ARGS(m->name), model_param(c->model, (size_t)p->part.whole)->name);
    if (is_in_layer(c, m) && (!dtype_is_plain(p->dtype) || p->rounds_input))
        return error_set(c->et, ERR_RECIPE,
                         "lora_modules_to_save: %.*s is quantized in base_model, which only an "
                         "adapter can train; name it in lora_target_modules",
                         TEXT_ARGS(m->name));
    bool gain = p->kind == MODEL_KIND_GAIN, linear = p->kind == MODEL_KIND_LINEAR;
    if ((gain && family->norm != row->norm) || (linear && family->linear != row->linear))
        return error_set(
            c->et, ERR_RECIPE,
            "lora_modules_to_save: the base_model, a GGUF file of model_type %s, holds "
            "%.*s in another form than PEFT loads; train a model folder (qctl convert "
            "makes one)",
            model_config(c->model)->model_type, TEXT_ARGS(m->name));
    return ERR_OK;
}

/* PEFT makes copies of what it saves, two of a tied matrix. One matrix that trains is both of them
 * under both names; half of it would be another model there than here. */
static enum err check_tied(const struct choice *c)
{
    const struct train_module *head = &c->modules[c->count - 1], *words = NULL;
    if (!model_shape(c->model)->tied || head->place != TRAIN_PLACE_LINEAR)
        return ERR_OK;
    for (size_t i = 0; i + 1 < c->count; i++)
        words = c->modules[i].param == head->param ? &c->modules[i] : words;
    if (words == NULL || words->saved == head->saved)
        return ERR_OK;
    return error_set(c->et, ERR_RECIPE,
                     "lora_modules_to_save: %.*s and %.*s are one matrix of base_model "
                     "(tie_word_embeddings), of which PEFT would train a copy alone; name both",
                     TEXT_ARGS(words->name), TEXT_ARGS(head->name));
}

static enum err choose_saved(struct choice *c)
{
    for (size_t i = 0; i < c->config->saved_count; i++) {
        struct text wanted = text_of(c->config->saved[i]);
        size_t found = 0;
        for (size_t m = 0; m < c->count; m++) {
            if (!is_named(c->modules[m].name, wanted))
                continue;
            found++;
            c->modules[m].saved = true;
            TRY(check_saved(c, &c->modules[m]));
        }
        char names[NAMES_BYTES];
        if (found == 0)
            return error_set(c->et, ERR_RECIPE,
                             "lora_modules_to_save: \"%.*s\" is no module; there are %s",
                             TEXT_ARGS(wanted), name_modules(c, true, names));
    }
    return check_tied(c);
}

enum err train_choice_make(const struct model *model, const struct train_config *config,
                           struct arena *arena, struct train_module **out, size_t *count,
                           struct err_text *et)
{
    struct choice c = {.model = model, .config = config, .arena = arena, .et = et};
    TRY(list_modules(&c));
    TRY(choose_targets(&c));
    TRY(apply_patterns(&c, true));
    TRY(apply_patterns(&c, false));
    TRY(check_ranks(&c));
    TRY(choose_saved(&c));
    *out = c.modules;
    *count = c.count;
    return ERR_OK;
}
