/* pretokenizer_read.c - "pre_tokenizer" of tokenizer.json into steps. */
#include "common/base/check.h"
#include "common/formats/tokenizer/pretokenizer.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/word_split.h"

enum { DEPTH_MAX = 8 };

static enum err copy_text(struct text from, struct arena *arena, struct text *out)
{
    char *copy = arena_copy_text(arena, from);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct text){copy, from.size};
    return ERR_OK;
}

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
    TRY(copy_text(replacement, arena, &step.text));
    return pretokenizer_add(p, step);
}

/* A split by a pattern of this program; the step takes the compiled form along. */
static enum err add_regex(struct pretokenizer *p, struct pretokenizer_step step,
                          struct text pattern, struct err_text *et)
{
    static const char *const by_hand[] = {
        [PRETOKENIZER_WORDS_GPT2] = WORD_SPLIT_GPT2,
        [PRETOKENIZER_WORDS_LLAMA3] = WORD_SPLIT_LLAMA3,
        [PRETOKENIZER_WORDS_QWEN2] = WORD_SPLIT_QWEN2,
    };
    for (size_t i = 0; i < COUNT_OF(by_hand); i++)
        if (text_is(pattern, by_hand[i])) {
            step.kind = PRETOKENIZER_WORDS;
            step.words = (enum pretokenizer_words)i;
            return pretokenizer_add(p, step);
        }
    step.kind = PRETOKENIZER_REGEX;
    TRY(regex_create(pattern, &step.regex, et));
    enum err err = pretokenizer_add(p, step);
    if (err != ERR_OK)
        regex_destroy(&step.regex);
    return err;
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
    if (!is_literal)
        return add_regex(p, step, literal, et);
    TRY(copy_text(literal, arena, &step.text));
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

static enum err read_step(struct pretokenizer *p, struct json_value value, struct text type,
                          struct arena *arena, struct err_text *et)
{
    if (text_is(type, "ByteLevel"))
        return read_byte_level(p, value, et);
    if (text_is(type, "Metaspace"))
        return read_metaspace(p, value, arena, et);
    if (text_is(type, "Split"))
        return read_split(p, value, arena, et);
    if (text_is(type, "Digits") || text_is(type, "Punctuation") || text_is(type, "WhitespaceSplit"))
        return read_class(p, value, type, et);
    if (text_is(type, "Whitespace"))
        return add_regex(
            p, (struct pretokenizer_step){.behavior = PRETOKENIZER_REMOVED, .invert = true},
            TEXT("\\w+|[^\\w\\s]+"), et);
    return error_set(et, ERR_UNSUPPORTED,
                     "pre-tokenizer '%.*s' is not supported (known: ByteLevel, Metaspace, Split, "
                     "Digits, Punctuation, Whitespace, WhitespaceSplit, Sequence)",
                     TEXT_ARGS(type));
}

static enum err read_nested(struct pretokenizer *p, struct json_value value, struct arena *arena,
                            int depth, struct err_text *et)
{
    struct text type;
    struct json_value list;
    if (json_read_type(value) == JSON_READ_NULL || json_read_is_absent(value))
        return ERR_OK;
    TRY(json_read_text(value, "type", &type, et));
    if (!text_is(type, "Sequence"))
        return read_step(p, value, type, arena, et);
    if (depth == DEPTH_MAX)
        return json_read_wrong(value, "pre-tokenizers nested less deeply", et);
    TRY(json_read_array(value, "pretokenizers", &list, et));
    for (size_t i = 0; i < json_read_count(list); i++)
        TRY(read_nested(p, json_read_item(list, i), arena, depth + 1, et));
    return ERR_OK;
}

enum err pretokenizer_read(struct pretokenizer *pretokenizer, struct json_value value,
                           struct arena *arena, struct err_text *et)
{
    return read_nested(pretokenizer, value, arena, 0, et);
}
