/* word_split.c - one character of look-ahead, four classes. */
#include "common/formats/tokenizer/word_split.h"

#include "common/base/check.h"
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

/* Blanks up to the next word: the last one is left to it, unless it is the only one. */
static size_t blanks(struct text text, size_t from)
{
    size_t last = from;
    size_t end = run(text, from, KIND_SPACE, &last);
    return end < text.size && last > from ? last : end;
}

size_t word_split_gpt2(struct text text, size_t from)
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
    return blanks(text, from);
}

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

/* As contraction, in either case; U+017F is the other small s. */
static size_t contraction_in_any_case(struct text text, size_t at)
{
    char lower[3] = {0};
    size_t left = text.size - at;
    if (text.data[at] != '\'')
        return 0;
    if (left >= 3 && memcmp(text.data + at + 1, "\xC5\xBF", 2) == 0)
        return 3;
    for (size_t i = 0; i < MIN(left, sizeof(lower)); i++) {
        char c = text.data[at + i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return contraction((struct text){lower, MIN(left, sizeof(lower))}, 0);
}

/* Blanks with a line end among them go up to the last of it; others as in GPT-2. */
static size_t blanks_and_line_ends(struct text text, size_t from)
{
    size_t last = from;
    size_t end = run(text, from, KIND_SPACE, &last);
    for (size_t at = end; at > from; at--)
        if (is_line_end(text.data[at - 1]))
            return at;
    return end < text.size && last > from ? last : end;
}

size_t word_split_llama3(struct text text, size_t from, unsigned digits_max)
{
    size_t last = from;
    if (from >= text.size)
        return text.size;
    size_t short_form = contraction_in_any_case(text, from);
    if (short_form > 0)
        return from + short_form;
    enum kind kind = kind_at(text, from);
    size_t next = from + unicode_size((uint8_t)text.data[from]);
    if (kind == KIND_LETTER)
        return run(text, from, KIND_LETTER, &last);
    if (kind == KIND_NUMBER) {
        for (unsigned digits = 1; digits < digits_max && kind_at(text, next) == KIND_NUMBER;
             digits++)
            next += unicode_size((uint8_t)text.data[next]);
        return next;
    }
    if (!is_line_end(text.data[from]) && kind_at(text, next) == KIND_LETTER)
        return run(text, next, KIND_LETTER, &last);
    size_t sign = text.data[from] == ' ' ? next : from;
    if (kind_at(text, sign) != KIND_OTHER)
        return blanks_and_line_ends(text, from);
    size_t end = run(text, sign, KIND_OTHER, &last);
    while (end < text.size && is_line_end(text.data[end]))
        end++;
    return end;
}
