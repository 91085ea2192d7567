/* peft_verify.c - reads the folder with our readers, then compares with our writers. */
#include "common/formats/peft/peft_verify.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"

enum { TEXT_BYTES_MAX = 16 << 20 };

/* A folder under inspection. */
struct verifier {
    const char *folder;
    const char *config; /* paths */
    const char *weights;
    const char *card;
    struct peft_adapter adapter; /* owned */
    struct arena arena;          /* owned */
    struct err_text *et;
};

static enum err compare_bytes(const char *path, struct span found, struct span expected,
                              struct err_text *et)
{
    size_t at = 0;
    while (at < found.size && at < expected.size && found.data[at] == expected.data[at])
        at++;
    if (at == found.size && at == expected.size)
        return ERR_OK;
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += found.data[i] == '\n';
    return error_set(et, ERR_FORMAT, "%s:%zu: byte %zu is not what the writer prints here", path,
                     line, at);
}

static enum err check_config(struct verifier *v)
{
    const struct peft_config *c = &v->adapter.config;
    struct text base = c->base_model;
    if (base.data == NULL || base.size == 0)
        return error_set(v->et, ERR_FORMAT,
                         "%s: base_model_name_or_path: expected the base model's name, found none",
                         v->config);
    if (base.data[0] == '/' || base.data[0] == '.' || base.data[0] == '~')
        return error_set(v->et, ERR_FORMAT,
                         "%s: base_model_name_or_path: expected a name that means the same "
                         "elsewhere, found the path %.*s",
                         v->config, TEXT_ARGS(base));
    struct bytes printed;
    struct source source;
    TRY(source_open(&source, v->config, v->et));
    bytes_init(&printed, TEXT_BYTES_MAX);
    enum err err = peft_config_print(c, &printed);
    if (err == ERR_OK)
        err = compare_bytes(v->config, source.bytes, bytes_span(&printed), v->et);
    bytes_fini(&printed);
    source_close(&source);
    return err;
}

static enum err check_layout(struct verifier *v)
{
    const struct safetensors *st = &v->adapter.weights;
    if (st->note_count != 1 || !text_is(safetensors_note_of(st, "format"), "pt"))
        return error_set(v->et, ERR_FORMAT,
                         "%s: __metadata__: expected {\"format\": \"pt\"} and nothing else",
                         v->weights);
    const struct safetensors_content content = {st->tensors, st->count, st->notes, st->note_count};
    struct bytes written;
    bytes_init(&written, SIZE_MAX);
    enum err err = safetensors_write(&content, file_sink_bytes, &written);
    if (err == ERR_OK)
        err = compare_bytes(v->weights, st->source.bytes, bytes_span(&written), v->et);
    bytes_fini(&written);
    return err;
}

static enum err check_values(const struct verifier *v, const struct safetensor *t)
{
    if (t->dtype != SAFETENSORS_F32)
        return error_set(v->et, ERR_FORMAT, "%s: tensor %s: expected F32, found %s", v->weights,
                         t->name.data, safetensors_dtype_name(t->dtype));
    for (size_t i = 0; i < t->data.size; i += sizeof(float)) {
        float value;
        memcpy(&value, t->data.data + i, sizeof value);
        if (!isfinite(value))
            return error_set(v->et, ERR_NOT_FINITE, "%s: tensor %s: element %zu is not finite",
                             v->weights, t->name.data, i / sizeof value);
    }
    return ERR_OK;
}

/* Modules of layers have the layer's number in their names. */
static bool is_beside_layers(struct text module)
{
    for (size_t i = 0; i + 1 < module.size; i++) {
        if (module.data[i] == '.' && module.data[i + 1] >= '0' && module.data[i + 1] <= '9')
            return false;
    }
    return true;
}

/* Whether a matrix of the base is the module's. A lookup reads rows, so its sizes lie as those of a
 * turned matrix; with fan_in_fan_out the head alone lies as in other families. */
static bool is_of_module(const struct verifier *v, const struct peft_module *m,
                         const struct safetensor *w)
{
    bool turned = v->adapter.config.fan_in_fan_out;
    uint64_t rows =
        w->dtype == SAFETENSORS_U8 ? 4 : 1; /* BitNet packs a ternary matrix's by four */
    bool plain = w->shape[0] * rows == m->out && w->shape[1] == m->in;
    bool other = w->shape[1] == m->out && w->shape[0] == m->in;
    if (m->is_lookup)
        return other;
    return turned ? other || (plain && is_beside_layers(m->name)) : plain;
}

/* Of embedding and head a tied model's files may have one alone: any matrix of that shape is it. */
static enum err check_base(struct verifier *v, const struct peft_module *m,
                           const struct safetensors *base)
{
    const char *name = arena_print(&v->arena, "%.*s.weight", TEXT_ARGS(m->name));
    if (name == NULL)
        return error_set(v->et, ERR_OUT_OF_MEMORY, "%s: out of memory", v->folder);
    const struct safetensor *w = safetensors_find(base, text_of(name));
    for (size_t i = 0; w == NULL && i < base->count && is_beside_layers(m->name); i++) {
        if (base->tensors[i].rank == 2 && is_of_module(v, m, &base->tensors[i]))
            return ERR_OK;
    }
    if (w == NULL || w->rank != 2)
        return error_set(v->et, ERR_FORMAT, "%s: module %.*s: the base model has no matrix %s",
                         v->weights, TEXT_ARGS(m->name), name);
    if (is_of_module(v, m, w))
        return ERR_OK;
    bool other = v->adapter.config.fan_in_fan_out || m->is_lookup;
    uint64_t rows = w->dtype == SAFETENSORS_U8 ? 4 : 1;
    return error_set(v->et, ERR_SHAPE,
                     "%s: module %.*s: expected out %" PRIu64 " and in %" PRIu64
                     " as in the base model, found %" PRIu64 " and %" PRIu64,
                     v->weights, TEXT_ARGS(m->name), other ? w->shape[1] : w->shape[0] * rows,
                     w->shape[other ? 0 : 1], m->out, m->in);
}

/* A tensor of modules_to_save has the shape of the base's. The head of a tied model has none there.
 */
static enum err check_saved(const struct verifier *v, const struct peft_saved *saved,
                            const struct safetensors *base)
{
    const struct safetensor *w = safetensors_find(base, saved->name), *t = saved->tensor;
    bool same = w == NULL || w->rank == t->rank;
    for (uint32_t i = 0; w != NULL && same && i < t->rank; i++)
        same = w->shape[i] == t->shape[i];
    if (same)
        return ERR_OK;
    return error_set(v->et, ERR_SHAPE, "%s: tensor %s: not of the shape it has in the base model",
                     v->weights, t->name.data);
}

static bool fits_a_target(const struct peft_config *c, struct text module)
{
    for (size_t i = 0; i < c->target_count; i++) {
        if (peft_config_suffix_fits(module, c->target_modules[i]))
            return true;
    }
    return false;
}

static enum err check_targets(const struct verifier *v)
{
    const struct peft_adapter *a = &v->adapter;
    for (size_t t = 0; t < a->config.target_count; t++) {
        struct text target = a->config.target_modules[t];
        bool is_used = false;
        for (size_t i = 0; i < a->count && !is_used; i++)
            is_used = peft_config_suffix_fits(a->modules[i].name, target);
        if (!is_used)
            return error_set(v->et, ERR_FORMAT, "%s: target_modules: %.*s has no tensors",
                             v->config, TEXT_ARGS(target));
    }
    return ERR_OK;
}

static enum err check_modules(struct verifier *v, const struct safetensors *base)
{
    const struct peft_adapter *a = &v->adapter;
    if (a->config.target_expression.data != NULL)
        return error_set(v->et, ERR_FORMAT, "%s: target_modules: expected a list, found a text",
                         v->config);
    for (size_t i = 0; i < a->count; i++) {
        const struct peft_module *m = &a->modules[i];
        if (!fits_a_target(&a->config, m->name))
            return error_set(v->et, ERR_FORMAT, "%s: module %.*s is not among target_modules",
                             v->weights, TEXT_ARGS(m->name));
        TRY(check_values(v, m->a));
        TRY(check_values(v, m->b));
        if (m->magnitude != NULL)
            TRY(check_values(v, m->magnitude));
        if (base != NULL)
            TRY(check_base(v, m, base));
    }
    for (size_t i = 0; i < a->saved_count; i++) {
        TRY(check_values(v, a->saved[i].tensor));
        if (base != NULL)
            TRY(check_saved(v, &a->saved[i], base));
    }
    return check_targets(v);
}

/* The front matter has the line "key: value" or, for value NULL, a line "key:". */
static bool has_line(struct text front, const char *key, struct text value)
{
    size_t key_size = strlen(key);
    for (size_t at = 0; at < front.size;) {
        const char *end = memchr(front.data + at, '\n', front.size - at);
        size_t size = end != NULL ? (size_t)(end - front.data) - at : front.size - at;
        struct text line = {front.data + at, size};
        at += size + 1;
        if (line.size <= key_size || memcmp(line.data, key, key_size) != 0 ||
            line.data[key_size] != ':')
            continue;
        struct text rest = {line.data + key_size + 1, line.size - key_size - 1};
        if (rest.size > 0 && rest.data[0] == ' ')
            rest = (struct text){rest.data + 1, rest.size - 1};
        if (rest.size > 1 && rest.data[0] == '"')
            rest = (struct text){rest.data + 1, rest.size - 2};
        return text_equal(rest, value);
    }
    return false;
}

static enum err check_card(const struct verifier *v)
{
    struct bytes card;
    bytes_init(&card, TEXT_BYTES_MAX);
    enum err err = file_read(v->card, TEXT_BYTES_MAX, &card, v->et);
    bytes_append(&card, "", 1);
    if (err == ERR_OK)
        err = bytes_status(&card);
    const char *text = (const char *)card.data;
    const char *end = NULL;
    if (err == ERR_OK && strncmp(text, "---\n", 4) == 0)
        end = strstr(text + 3, "\n---\n");
    if (err == ERR_OK && end == NULL)
        err =
            error_set(v->et, ERR_FORMAT, "%s: expected front matter between lines of ---", v->card);
    if (err == ERR_OK) {
        struct text front = {text + 4, end > text + 4 ? (size_t)(end - text) - 4 : 0};
        const char *missing = NULL;
        if (!has_line(front, "base_model", v->adapter.config.base_model))
            missing = "base_model as in adapter_config.json";
        else if (!has_line(front, "library_name", TEXT("peft")))
            missing = "library_name: peft";
        else if (!has_line(front, "tags", TEXT("")))
            missing = "tags";
        if (missing != NULL)
            err = error_set(v->et, ERR_FORMAT, "%s: front matter: expected %s", v->card, missing);
    }
    bytes_fini(&card);
    return err;
}

enum err peft_verify_folder(const char *folder, const struct safetensors *base, struct err_text *et)
{
    struct verifier v = {.folder = folder, .et = et};
    arena_init(&v.arena, SIZE_MAX); /* names of modules */
    v.config = folder_join(&v.arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    v.weights = folder_join(&v.arena, folder, PEFT_ADAPTER_WEIGHTS_FILE);
    v.card = folder_join(&v.arena, folder, PEFT_ADAPTER_CARD_FILE);
    enum err err = ERR_OUT_OF_MEMORY;
    if (v.config == NULL || v.weights == NULL || v.card == NULL) {
        (void)error_set(et, err, "%s: out of memory", folder);
        goto out;
    }
    TRY_OUT(peft_adapter_open(&v.adapter, folder, et));
    TRY_OUT(check_config(&v));
    TRY_OUT(check_modules(&v, base));
    TRY_OUT(check_layout(&v));
    TRY_OUT(check_card(&v));
out:
    peft_adapter_close(&v.adapter);
    arena_fini(&v.arena);
    return err;
}
