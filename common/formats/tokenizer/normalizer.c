/* normalizer.c - a list of steps, each from one buffer into the other. */
#include "common/formats/tokenizer/normalizer.h"

#include "common/base/check.h"

enum { DEPTH_MAX = 8 };

enum err normalizer_add(struct normalizer *normalizer, struct normalizer_step step)
{
    if (normalizer->count == NORMALIZER_STEPS_MAX)
        return ERR_LIMIT;
    normalizer->steps[normalizer->count++] = step;
    return ERR_OK;
}

void normalizer_fini(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++)
        regex_destroy(&normalizer->steps[i].regex);
    normalizer->count = 0;
}

static enum err copy_text(struct text from, struct arena *arena, struct text *out)
{
    char *copy = arena_copy_text(arena, from);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct text){copy, from.size};
    return ERR_OK;
}

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
    TRY(copy_text(from, arena, &step.from));
    TRY(copy_text(to, arena, &step.to));
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

/* One component that is not a Sequence. */
static enum err read_step(struct normalizer *normalizer, struct json_value value,
                          struct arena *arena, struct err_text *et)
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
    };
    struct text type;
    TRY(json_read_text(value, "type", &type, et));
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        if (text_is(type, plain[i].type))
            return normalizer_add(normalizer, plain[i].step);
    if (text_is(type, "Replace"))
        return read_replace(normalizer, value, arena, et);
    if (text_is(type, "Strip"))
        return read_strip(normalizer, value, et);
    if (text_is(type, "Prepend")) {
        struct normalizer_step step = {.kind = NORMALIZER_PREPEND};
        struct text to;
        TRY(json_read_text(value, "prepend", &to, et));
        TRY(copy_text(to, arena, &step.to));
        return normalizer_add(normalizer, step);
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "normalizer '%.*s' is not supported (known: Prepend, Replace, NFC, NFD, NFKC, "
                     "NFKD, Lowercase, Strip, StripAccents, Sequence)",
                     TEXT_ARGS(type));
}

static enum err read_nested(struct normalizer *normalizer, struct json_value value,
                            struct arena *arena, int depth, struct err_text *et)
{
    struct text type;
    struct json_value list;
    if (json_read_type(value) == JSON_READ_NULL || json_read_is_absent(value))
        return ERR_OK;
    TRY(json_read_text(value, "type", &type, et));
    if (!text_is(type, "Sequence"))
        return read_step(normalizer, value, arena, et);
    if (depth == DEPTH_MAX)
        return json_read_wrong(value, "normalizers nested less deeply", et);
    TRY(json_read_array(value, "normalizers", &list, et));
    for (size_t i = 0; i < json_read_count(list); i++)
        TRY(read_nested(normalizer, json_read_item(list, i), arena, depth + 1, et));
    return ERR_OK;
}

enum err normalizer_read(struct normalizer *normalizer, struct json_value value,
                         struct arena *arena, struct err_text *et)
{
    return read_nested(normalizer, value, arena, 0, et);
}

static void replace(const struct normalizer_step *step, struct text text, struct bytes *out)
{
    const char *end = text.data + text.size;
    const char *from = text.data;
    while (from < end) {
        const char *at = memchr(from, step->from.data[0], (size_t)(end - from));
        while (at != NULL && ((size_t)(end - at) < step->from.size ||
                              memcmp(at, step->from.data, step->from.size) != 0))
            at = memchr(at + 1, step->from.data[0], (size_t)(end - at - 1));
        if (at == NULL)
            break;
        bytes_append(out, from, (size_t)(at - from));
        bytes_append_text(out, step->to);
        from = at + step->from.size;
    }
    bytes_append(out, from, (size_t)(end - from));
}

static enum err replace_regex(const struct normalizer_step *step, struct regex_scratch *scratch,
                              struct text text, struct bytes *out)
{
    size_t from = 0;
    for (;;) {
        bool found;
        size_t begin, end;
        TRY(regex_next(step->regex, scratch, text, from, &found, &begin, &end));
        if (!found)
            break;
        bytes_append(out, text.data + from, begin - from);
        bytes_append_text(out, step->to);
        from = end;
    }
    bytes_append(out, text.data + from, text.size - from);
    return ERR_OK;
}

static struct text strip_left(struct text text)
{
    while (text.size > 0 && unicode_is_space(unicode_at(text.data))) {
        size_t size = unicode_size((uint8_t)text.data[0]);
        text = (struct text){text.data + size, text.size - size};
    }
    return text;
}

static struct text strip_right(struct text text)
{
    while (text.size > 0) {
        size_t last = unicode_before(text, text.size);
        if (!unicode_is_space(unicode_at(text.data + last)))
            break;
        text.size = last;
    }
    return text;
}

static void squeeze_spaces(struct text text, struct bytes *out)
{
    while (text.size > 0 && text.data[0] == ' ')
        text = (struct text){text.data + 1, text.size - 1};
    while (text.size > 0 && text.data[text.size - 1] == ' ')
        text.size--;
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] != ' ' || text.data[i - 1] != ' ')
            bytes_append(out, text.data + i, 1);
}

static enum err apply_step(const struct normalizer_step *step, struct regex_scratch *scratch,
                           struct text text, bool first, struct bytes *out)
{
    switch (step->kind) {
    case NORMALIZER_PREPEND:
    case NORMALIZER_PREPEND_FIRST:
        if (text.size > 0 && (first || step->kind == NORMALIZER_PREPEND))
            bytes_append_text(out, step->to);
        bytes_append_text(out, text);
        return ERR_OK;
    case NORMALIZER_REPLACE:
        replace(step, text, out);
        return ERR_OK;
    case NORMALIZER_REPLACE_REGEX:
        return replace_regex(step, scratch, text, out);
    case NORMALIZER_FORM:
        return unicode_normalize(text, step->form, out);
    case NORMALIZER_LOWER:
        unicode_lower(text, out);
        return ERR_OK;
    case NORMALIZER_STRIP_MARKS:
        unicode_strip_marks(text, out);
        return ERR_OK;
    case NORMALIZER_STRIP_LEFT:
        bytes_append_text(out, strip_left(text));
        return ERR_OK;
    case NORMALIZER_STRIP_RIGHT:
        bytes_append_text(out, strip_right(text));
        return ERR_OK;
    case NORMALIZER_SQUEEZE_SPACES:
        squeeze_spaces(text, out);
        return ERR_OK;
    }
    return ERR_INTERNAL;
}

enum err normalizer_apply(const struct normalizer *normalizer, struct regex_scratch *scratch,
                          struct text text, bool first, struct bytes buffers[2], struct text *out)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        struct bytes *to = &buffers[i % 2];
        bytes_clear(to);
        TRY(apply_step(&normalizer->steps[i], scratch, text, first, to));
        TRY(bytes_status(to));
        text = (struct text){to->data == NULL ? "" : (const char *)to->data, to->size};
    }
    *out = text;
    return ERR_OK;
}
