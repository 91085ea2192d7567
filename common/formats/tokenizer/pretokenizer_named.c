/* pretokenizer_named.c - a table from names to steps, read in both directions.
 *
 * The steps are those of the models' own tokenizer.json where that is known, else the patterns that
 * llama.cpp uses under the name (src/llama-vocab.cpp).
 */
#include "common/formats/tokenizer/pretokenizer_named.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/word_split.h"

enum { STEPS_MAX = 6 };

#define TEKKEN_WORD                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define TEKKEN_CAPITALS                                                                            \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define TEKKEN_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SHORT_FORM  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

struct named_step {
    enum pretokenizer_kind kind; /* PRETOKENIZER_REGEX: `pattern` */
    enum pretokenizer_behavior behavior;
    const char *pattern;
};

#define PATTERN(text)                                                                              \
    {                                                                                              \
        PRETOKENIZER_REGEX, PRETOKENIZER_ISOLATED, text                                            \
    }
#define SIGNS                                                                                      \
    {                                                                                              \
        PRETOKENIZER_PUNCTUATION, PRETOKENIZER_CONTIGUOUS, NULL                                    \
    }
#define DIGIT_RUNS                                                                                 \
    {                                                                                              \
        PRETOKENIZER_DIGIT, PRETOKENIZER_CONTIGUOUS, NULL                                          \
    }
#define DIGITS_ALONE                                                                               \
    {                                                                                              \
        PRETOKENIZER_DIGIT, PRETOKENIZER_ISOLATED, NULL                                            \
    }
#define BYTES                                                                                      \
    {                                                                                              \
        PRETOKENIZER_BYTES, PRETOKENIZER_REMOVED, NULL                                             \
    }

/* BYTES stands last but where a file's own order has it earlier. A row of equal steps further down
 * is another name for the first. */
static const struct row {
    const char *name;
    bool nfc;
    bool ignore_merges;
    bool add_bos;
    struct named_step steps[STEPS_MAX];
    size_t count;
} ROWS[] = {
    {"gpt-2", false, false, false, {PATTERN(WORD_SPLIT_GPT2), BYTES}, 2},
    {"phi-2", false, false, false, {PATTERN(WORD_SPLIT_GPT2), BYTES}, 2},
    {"llama-bpe", false, true, true, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"llama3", false, true, true, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"llama-v3", false, true, true, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"falcon3", false, true, true, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"dbrx", false, false, false, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"smaug-bpe", false, false, false, {PATTERN(WORD_SPLIT_LLAMA3), BYTES}, 2},
    {"qwen2", true, false, false, {PATTERN(WORD_SPLIT_QWEN2), BYTES}, 2},
    {"deepseek-r1-qwen", true, false, false, {PATTERN(WORD_SPLIT_QWEN2), BYTES}, 2},
    {"stablelm2", false, false, false, {PATTERN(WORD_SPLIT_QWEN2), BYTES}, 2},
    {"falcon",
     false,
     false,
     false,
     {SIGNS, PATTERN(WORD_SPLIT_GPT2), BYTES, DIGIT_RUNS, PATTERN("[0-9][0-9][0-9]")},
     5},
    {"smollm", false, false, false, {DIGITS_ALONE, PATTERN(WORD_SPLIT_GPT2), BYTES}, 3},
    {"starcoder", false, false, false, {DIGITS_ALONE, PATTERN(WORD_SPLIT_GPT2), BYTES}, 3},
    {"refact", false, false, false, {DIGITS_ALONE, PATTERN(WORD_SPLIT_GPT2), BYTES}, 3},
    {"command-r", false, false, false, {DIGITS_ALONE, PATTERN(WORD_SPLIT_GPT2), BYTES}, 3},
    {"tekken",
     false,
     true,
     false,
     {PATTERN(TEKKEN_WORD TEKKEN_CAPITALS "|\\p{N}" TEKKEN_REST), BYTES},
     2},
    {"gpt-4o",
     false,
     true,
     false,
     {PATTERN(TEKKEN_WORD SHORT_FORM TEKKEN_CAPITALS SHORT_FORM "|\\p{N}{1,3}" TEKKEN_REST), BYTES},
     2},
    {"llama4",
     false,
     true,
     false,
     {PATTERN(TEKKEN_WORD SHORT_FORM TEKKEN_CAPITALS SHORT_FORM "|\\p{N}{1,3}" TEKKEN_REST), BYTES},
     2},
    {"default",
     false,
     false,
     false,
     {PATTERN("[\\p{P}\\$\\+<=>\\^~\\|]+"), PATTERN(WORD_SPLIT_GPT2), PATTERN("\\p{N}+"),
      PATTERN("[0-9][0-9][0-9]"), BYTES},
     5},
};

static struct pretokenizer_named named(const struct row *row)
{
    return (struct pretokenizer_named){row->name, row->nfc, row->ignore_merges, row->add_bos};
}

static enum err unknown(struct text name, struct err_text *et)
{
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(ROWS); i++) {
        size_t size = strlen(ROWS[i].name);
        if (used + size + 3 > sizeof(names))
            break;
        if (used > 0) {
            memcpy(names + used, ", ", 2);
            used += 2;
        }
        memcpy(names + used, ROWS[i].name, size + 1);
        used += size;
    }
    return error_set(et, ERR_UNSUPPORTED, "pre-tokenizer '%.*s' is not supported (known: %s)",
                     TEXT_ARGS(name), names);
}

enum err pretokenizer_named_add(struct pretokenizer *pretokenizer, struct text name,
                                struct pretokenizer_named *out, struct err_text *et)
{
    const struct row *row = ROWS;
    while (row < ROWS + COUNT_OF(ROWS) && !text_is(name, row->name))
        row++;
    if (row == ROWS + COUNT_OF(ROWS))
        return unknown(name, et);
    for (size_t i = 0; i < row->count; i++) {
        const struct named_step *want = &row->steps[i];
        struct pretokenizer_step step = {.kind = want->kind, .behavior = want->behavior};
        if (want->pattern != NULL)
            TRY(pretokenizer_add_pattern(pretokenizer, step, text_of(want->pattern), et));
        else
            TRY(pretokenizer_add(pretokenizer, step));
    }
    *out = named(row);
    return ERR_OK;
}

static bool is_step(const struct pretokenizer_step *step, const struct named_step *want)
{
    if (step->invert)
        return false;
    if (want->kind == PRETOKENIZER_BYTES)
        return step->kind == PRETOKENIZER_BYTES;
    if (step->behavior != want->behavior)
        return false;
    if (want->pattern == NULL)
        return step->kind == want->kind;
    return text_is(pretokenizer_pattern(step), want->pattern);
}

bool pretokenizer_named_find(const struct pretokenizer *pretokenizer,
                             const struct pretokenizer_named *wanted,
                             struct pretokenizer_named *out)
{
    const struct row *found = NULL;
    for (const struct row *row = ROWS; row < ROWS + COUNT_OF(ROWS); row++) {
        bool same = row->count == pretokenizer->count && row->nfc == wanted->nfc;
        for (size_t i = 0; i < row->count && same; i++)
            same = is_step(&pretokenizer->steps[i], &row->steps[i]);
        bool better = found == NULL || (found->ignore_merges != wanted->ignore_merges &&
                                        row->ignore_merges == wanted->ignore_merges);
        if (same && better)
            found = row;
    }
    if (found == NULL)
        return false;
    *out = named(found);
    return true;
}
