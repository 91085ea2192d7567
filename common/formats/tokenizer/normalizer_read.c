/* normalizer_read.c - "normalizer" of tokenizer.json into steps. */
#include "common/base/check.h"
#include "common/formats/tokenizer/base64.h"
#include "common/formats/tokenizer/component.h"
#include "common/formats/tokenizer/normalizer.h"

struct reading {
    struct normalizer *normalizer;
    struct arena *arena;
};

static enum err read_replace(struct normalizer *normalizer, struct json_value value,
                             struct arena *arena, struct err_text *et)
{
    struct normalizer_step step = {.kind = NORMALIZER_REPLACE};
    struct json_value pattern;
    struct text from, to;
    bool is_regex = false;
    TRY(json_read_object(value, "pattern", &pattern, et));
    TRY(json_read_text(value, "content", &to, et));
    TRY(json_read_opt_text(pattern, "Regex", &from, &is_regex, et));
    if (!is_regex)
        TRY(json_read_text(pattern, "String", &from, et));
    if (from.size == 0)
        return json_read_wrong(pattern, "a pattern that is not empty", et);
    TRY(component_copy_text(arena, from, &step.from));
    TRY(component_copy_text(arena, to, &step.to));
    if (is_regex) {
        step.kind = NORMALIZER_REPLACE_REGEX;
        TRY(regex_create(from, &step.regex, et));
    }
    enum err err = normalizer_add(normalizer, step);
    if (err != ERR_OK)
        regex_destroy(&step.regex);
    return err;
}

static enum err read_strip(struct normalizer *normalizer, struct json_value value,
                           struct err_text *et)
{
    bool left = true;
    bool right = true;
    TRY(json_read_opt_bool(value, "strip_left", &left, NULL, et));
    TRY(json_read_opt_bool(value, "strip_right", &right, NULL, et));
    if (left)
        TRY(normalizer_add(normalizer, (struct normalizer_step){.kind = NORMALIZER_STRIP_LEFT}));
    if (right)
        TRY(normalizer_add(normalizer, (struct normalizer_step){.kind = NORMALIZER_STRIP_RIGHT}));
    return ERR_OK;
}

static enum err read_prepend(struct normalizer *normalizer, struct json_value value,
                             struct arena *arena, struct err_text *et)
{
    struct normalizer_step step = {.kind = NORMALIZER_PREPEND};
    struct text to;
    TRY(json_read_text(value, "prepend", &to, et));
    TRY(component_copy_text(arena, to, &step.to));
    return normalizer_add(normalizer, step);
}

static enum err read_precompiled(struct normalizer *normalizer, struct json_value value,
                                 struct arena *arena, struct err_text *et)
{
    struct text encoded;
    struct bytes blob;
    enum err err;
    TRY(json_read_text(value, "precompiled_charsmap", &encoded, et));
    struct charsmap *map = arena_alloc(arena, 1, sizeof(*map));
    if (map == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&blob, encoded.size + 1);
    if (!base64_decode(encoded, &blob))
        err = json_read_wrong(json_read_find(value, "precompiled_charsmap"), "base64", et);
    else if (bytes_status(&blob) != ERR_OK)
        err = bytes_status(&blob);
    else
        err = charsmap_init(map, bytes_span(&blob), arena, et);
    bytes_fini(&blob);
    TRY(err);
    return normalizer_add(normalizer,
                          (struct normalizer_step){.kind = NORMALIZER_CHARSMAP, .charsmap = map});
}

static enum err read_step(void *context, struct text type, struct json_value value,
                          struct err_text *et)
{
    static const struct {
        const char *type;
        struct normalizer_step step;
    } plain[] = {
        {"NFC", {.kind = NORMALIZER_FORM, .form = UNICODE_NFC}},
        {"NFD", {.kind = NORMALIZER_FORM, .form = UNICODE_NFD}},
        {"NFKC", {.kind = NORMALIZER_FORM, .form = UNICODE_NFKC}},
        {"NFKD", {.kind = NORMALIZER_FORM, .form = UNICODE_NFKD}},
        {"Lowercase", {.kind = NORMALIZER_LOWER}},
        {"StripAccents", {.kind = NORMALIZER_STRIP_MARKS}},
        {"Nmt", {.kind = NORMALIZER_NMT}},
    };
    const struct reading *reading = context;
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        if (text_is(type, plain[i].type))
            return normalizer_add(reading->normalizer, plain[i].step);
    if (text_is(type, "Replace"))
        return read_replace(reading->normalizer, value, reading->arena, et);
    if (text_is(type, "Strip"))
        return read_strip(reading->normalizer, value, et);
    if (text_is(type, "Prepend"))
        return read_prepend(reading->normalizer, value, reading->arena, et);
    if (text_is(type, "Precompiled"))
        return read_precompiled(reading->normalizer, value, reading->arena, et);
    return error_set(et, ERR_UNSUPPORTED,
                     "normalizer '%.*s' is not supported (known: Prepend, Replace, Precompiled, "
                     "NFC, NFD, NFKC, NFKD, Nmt, Lowercase, Strip, StripAccents, Sequence)",
                     TEXT_ARGS(type));
}

enum err normalizer_read(struct normalizer *normalizer, struct json_value value,
                         struct arena *arena, struct err_text *et)
{
    struct reading reading = {normalizer, arena};
    return component_read(value, "normalizers", read_step, &reading, et);
}
