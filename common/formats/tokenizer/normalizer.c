/* normalizer.c - a list of steps, each from one buffer into the other; what the file says is read
 * in normalizer_read.c. */
#include "common/formats/tokenizer/normalizer.h"

#include "common/base/check.h"

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

/* The part of SentencePiece's nmt_nfkc that is not NFKC. */
static bool is_nmt_gone(uint32_t c)
{
    bool low = c >= 1 && c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r';
    return low || c == 0x7F || c == 0x8F || c == 0x9F;
}

static bool is_nmt_blank(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || c - 0x200B < 5 ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static void nmt(struct text text, struct bytes *out)
{
    for (size_t at = 0, size; at < text.size; at += size) {
        uint32_t c = unicode_at(text.data + at);
        size = unicode_size((uint8_t)text.data[at]);
        if (is_nmt_blank(c))
            bytes_append(out, " ", 1);
        else if (!is_nmt_gone(c))
            bytes_append(out, text.data + at, size);
    }
}

/* As tokenizer.json's readers do it, not as SentencePiece: a short grapheme that starts with an
 * entry is that entry's replacement as a whole, others go character by character. */
static void map_graphemes(const struct charsmap *map, struct text text, struct bytes *out)
{
    enum { GRAPHEME_BYTES_MAX = 5 };
    while (text.size > 0) {
        struct text part = {text.data, unicode_grapheme(text)};
        struct text known;
        text = (struct text){text.data + part.size, text.size - part.size};
        if (part.size <= GRAPHEME_BYTES_MAX && charsmap_shortest(map, part, &known)) {
            bytes_append_text(out, known);
            continue;
        }
        for (size_t at = 0, size; at < part.size; at += size) {
            size = unicode_size((uint8_t)part.data[at]);
            struct text c = {part.data + at, size};
            bytes_append_text(out, charsmap_shortest(map, c, &known) ? known : c);
        }
    }
}

static enum err apply_step(const struct normalizer_step *step, struct regex_scratch *scratch,
                           struct text text, bool first, struct bytes *out)
{
    switch (step->kind) {
    case NORMALIZER_PREPEND:
        if (text.size > 0)
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
    case NORMALIZER_NMT:
        nmt(text, out);
        return ERR_OK;
    case NORMALIZER_STRIP_LEFT:
        bytes_append_text(out, strip_left(text));
        return ERR_OK;
    case NORMALIZER_STRIP_RIGHT:
        bytes_append_text(out, strip_right(text));
        return ERR_OK;
    case NORMALIZER_CHARSMAP:
        map_graphemes(step->charsmap, text, out);
        return ERR_OK;
    case NORMALIZER_SPM:
        spm_normalizer_apply(step->spm, text, first, out);
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
