/* pretokenizer_read.c - "pre_tokenizer" of tokenizer.json into steps. */
#include "common/base/check.h"
#include "common/formats/tokenizer/component.h"
#include "common/formats/tokenizer/pretokenizer.h"

struct reading {
    struct pretokenizer *pretokenizer;
    struct arena *arena;
};

static enum err read_behavior(struct json_value value, enum pretokenizer_behavior *out,
                              struct err_text *et)
{
    static const char *const names[] = {
        [PRETOKENIZER_REMOVED] = "Removed",
        [PRETOKENIZER_ISOLATED] = "Isolated",
        [PRETOKENIZER_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [PRETOKENIZER_MERGED_WITH_NEXT] = "MergedWithNext",
        [PRETOKENIZER_CONTIGUOUS] = "Contiguous",
    };
    struct text name;
    bool found;
    TRY(json_read_opt_text(value, "behavior", &name, &found, et));
    for (size_t i = 0; i < COUNT_OF(names) && found; i++)
        if (text_is(name, names[i])) {
            *out = (enum pretokenizer_behavior)i;
            return ERR_OK;
        }
    if (found)
        return json_read_wrong(json_read_find(value, "behavior"),
                               "Removed, Isolated, MergedWithPrevious, MergedWithNext or "
                               "Contiguous",
                               et);
    return ERR_OK;
}

static enum err read_byte_level(struct pretokenizer *p, struct json_value value,
                                struct err_text *et)
{
    bool prefix = true;
    bool use_regex = true;
    TRY(json_read_opt_bool(value, "add_prefix_space", &prefix, NULL, et));
    TRY(json_read_opt_bool(value, "use_regex", &use_regex, NULL, et));
    if (prefix)
        TRY(pretokenizer_add(p, (struct pretokenizer_step){.kind = PRETOKENIZER_BYTE_PREFIX}));
    if (use_regex)
        TRY(pretokenizer_add(p, (struct pretokenizer_step){.kind = PRETOKENIZER_WORDS,
                                                           .behavior = PRETOKENIZER_ISOLATED}));
    return pretokenizer_add(p, (struct pretokenizer_step){.kind = PRETOKENIZER_BYTES});
}

static enum err read_metaspace(struct pretokenizer *p, struct json_value value, struct arena *arena,
                               struct err_text *et)
{
    struct pretokenizer_step step = {
        .kind = PRETOKENIZER_METASPACE, .prepend = PRETOKENIZER_PREPEND_ALWAYS, .split = true};
    struct text replacement = TEXT("\xE2\x96\x81");
    struct text scheme;
    bool has_scheme;
    bool prefix = true;
    TRY(json_read_opt_text(value, "replacement", &replacement, NULL, et));
    TRY(json_read_opt_bool(value, "add_prefix_space", &prefix, NULL, et));
    TRY(json_read_opt_bool(value, "split", &step.split, NULL, et));
    TRY(json_read_opt_text(value, "prepend_scheme", &scheme, &has_scheme, et));
    if (replacement.size == 0)
        return json_read_wrong(json_read_find(value, "replacement"), "a character", et);
    if (!prefix)
        step.prepend = PRETOKENIZER_PREPEND_NEVER;
    if (has_scheme) {
        if (text_is(scheme, "always"))
            step.prepend = PRETOKENIZER_PREPEND_ALWAYS;
        else if (text_is(scheme, "first"))
            step.prepend = PRETOKENIZER_PREPEND_FIRST;
        else if (text_is(scheme, "never"))
            step.prepend = PRETOKENIZER_PREPEND_NEVER;
        else
            return json_read_wrong(json_read_find(value, "prepend_scheme"),
                                   "always, first or never", et);
    }
    TRY(component_copy_text(arena, replacement, &step.text));
    return pretokenizer_add(p, step);
}

static enum err read_split(struct pretokenizer *p, struct json_value value, struct arena *arena,
                           struct err_text *et)
{
    struct pretokenizer_step step = {.kind = PRETOKENIZER_LITERAL,
                                     .behavior = PRETOKENIZER_REMOVED};
    struct json_value pattern;
    struct text literal;
    bool is_literal;
    TRY(read_behavior(value, &step.behavior, et));
    TRY(json_read_opt_bool(value, "invert", &step.invert, NULL, et));
    TRY(json_read_object(value, "pattern", &pattern, et));
    TRY(json_read_opt_text(pattern, "String", &literal, &is_literal, et));
    if (!is_literal)
        TRY(json_read_text(pattern, "Regex", &literal, et));
    if (literal.size == 0)
        return json_read_wrong(pattern, "a pattern that is not empty", et);
    TRY(component_copy_text(arena, literal, &step.text));
    if (!is_literal)
        return pretokenizer_add_pattern(p, step, step.text, et);
    return pretokenizer_add(p, step);
}

static enum err read_class(struct pretokenizer *p, struct json_value value, struct text type,
                           struct err_text *et)
{
    struct pretokenizer_step step = {.kind = PRETOKENIZER_PUNCTUATION,
                                     .behavior = PRETOKENIZER_ISOLATED};
    if (text_is(type, "Digits")) {
        bool individual = false;
        TRY(json_read_opt_bool(value, "individual_digits", &individual, NULL, et));
        step.kind = PRETOKENIZER_DIGIT;
        step.behavior = individual ? PRETOKENIZER_ISOLATED : PRETOKENIZER_CONTIGUOUS;
    } else if (text_is(type, "WhitespaceSplit")) {
        step.kind = PRETOKENIZER_SPACE;
        step.behavior = PRETOKENIZER_REMOVED;
    } else {
        TRY(read_behavior(value, &step.behavior, et));
    }
    return pretokenizer_add(p, step);
}

static enum err read_step(void *context, struct text type, struct json_value value,
                          struct err_text *et)
{
    const struct reading *reading = context;
    struct pretokenizer *p = reading->pretokenizer;
    if (text_is(type, "ByteLevel"))
        return read_byte_level(p, value, et);
    if (text_is(type, "Metaspace"))
        return read_metaspace(p, value, reading->arena, et);
    if (text_is(type, "Split"))
        return read_split(p, value, reading->arena, et);
    if (text_is(type, "Digits") || text_is(type, "Punctuation") || text_is(type, "WhitespaceSplit"))
        return read_class(p, value, type, et);
    if (text_is(type, "Whitespace"))
        return pretokenizer_add_pattern(
            p, (struct pretokenizer_step){.behavior = PRETOKENIZER_REMOVED, .invert = true},
            TEXT("\\w+|[^\\w\\s]+"), et);
    return error_set(et, ERR_UNSUPPORTED,
                     "pre-tokenizer '%.*s' is not supported (known: ByteLevel, Metaspace, Split, "
                     "Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence)",
                     TEXT_ARGS(type));
}

enum err pretokenizer_read(struct pretokenizer *pretokenizer, struct json_value value,
                           struct arena *arena, struct err_text *et)
{
    struct reading reading = {pretokenizer, arena};
    return component_read(value, "pretokenizers", read_step, &reading, et);
}
