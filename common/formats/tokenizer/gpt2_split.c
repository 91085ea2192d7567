/* gpt2_split.c - one character of look-ahead, four classes. */
#include "common/formats/tokenizer/gpt2_split.h"

#include "common/formats/tokenizer/unicode.h"

enum kind { KIND_END, KIND_LETTER, KIND_NUMBER, KIND_SPACE, KIND_OTHER };

static enum kind kind_at(struct text text, size_t at)
{
    if (at >= text.size)
        return KIND_END;
    uint32_t c = unicode_at(text.data + at);
    if (unicode_is_letter(c))
        return KIND_LETTER;
    if (unicode_is_number(c))
        return KIND_NUMBER;
    return unicode_is_space(c) ? KIND_SPACE : KIND_OTHER;
}

/* End of the run of `kind` that starts at `at`; *last is where its last character starts. */
static size_t run(struct text text, size_t at, enum kind kind, size_t *last)
{
    while (kind_at(text, at) == kind) {
        *last = at;
        at += unicode_size((uint8_t)text.data[at]);
    }
    return at;
}

/* Bytes of an English contraction at `at`, 0 when there is none. */
static size_t contraction(struct text text, size_t at)
{
    size_t left = text.size - at;
    const char *s = text.data + at;
    if (left < 2 || s[0] != '\'')
        return 0;
    if (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd')
        return 2;
    bool pair = left >= 3 && ((s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') ||
                              (s[1] == 'l' && s[2] == 'l'));
    return pair ? 3 : 0;
}

size_t gpt2_split_next(struct text text, size_t from)
{
    size_t last = from;
    if (from >= text.size)
        return text.size;
    size_t short_form = contraction(text, from);
    if (short_form > 0)
        return from + short_form;
    size_t word = from + (text.data[from] == ' ');
    enum kind kind = kind_at(text, word);
    if (kind == KIND_LETTER || kind == KIND_NUMBER || kind == KIND_OTHER)
        return run(text, word, kind, &last);
    size_t end = run(text, from, KIND_SPACE, &last);
    /* Before a word the last blank is left to it, unless it is the only one. */
    return end < text.size && last > from ? last : end;
}
