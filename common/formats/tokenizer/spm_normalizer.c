/* spm_normalizer.c - see spm_normalizer.h. */
#include "common/formats/tokenizer/spm_normalizer.h"

#include "common/formats/tokenizer/unicode.h"

/* What the first `*size` bytes of `text` become. */
static struct text next_part(const struct spm_normalizer *n, struct text text, size_t *size)
{
    struct added_token_match match;
    struct text part;
    if (added_token_at(&n->user, text, 0, &match)) {
        *size = match.end;
        return (struct text){text.data, match.end};
    }
    if (n->has_charsmap && charsmap_longest(&n->charsmap, text, size, &part))
        return part;
    *size = unicode_size((uint8_t)text.data[0]);
    return (struct text){text.data, *size};
}

static void append_escaped(struct text text, struct bytes *out)
{
    while (text.size > 0) {
        const char *blank = memchr(text.data, ' ', text.size);
        size_t size = blank == NULL ? text.size : (size_t)(blank - text.data);
        bytes_append(out, text.data, size);
        if (blank == NULL)
            return;
        bytes_append_text(out, SPM_NORMALIZER_BLANK);
        text = (struct text){blank + 1, text.size - size - 1};
    }
}

static struct text rest_of(struct text text, size_t from)
{
    return (struct text){text.data + from, text.size - from};
}

/* Removes blanks from the end of what was appended after `start`. */
static void strip_end(struct bytes *out, size_t start)
{
    struct text blank = SPM_NORMALIZER_BLANK;
    if (out->err != ERR_OK)
        return;
    while (out->size - start >= blank.size &&
           memcmp(out->data + out->size - blank.size, blank.data, blank.size) == 0)
        out->size -= blank.size;
}

void spm_normalizer_apply(const struct spm_normalizer *n, struct text text, bool first,
                          struct bytes *out)
{
    bool plain = !n->has_charsmap && n->user.count == 0 && !n->squeeze;
    size_t start = out->size;
    size_t size;
    while (n->squeeze && text.size > 0 && text_is(next_part(n, text, &size), " "))
        text = rest_of(text, size);
    if (text.size == 0)
        return;
    if (first && n->dummy_prefix)
        bytes_append_text(out, SPM_NORMALIZER_BLANK);
    if (plain) {
        append_escaped(text, out);
        return;
    }
    for (bool after_blank = n->squeeze; text.size > 0; text = rest_of(text, size)) {
        struct text part = next_part(n, text, &size);
        while (after_blank && part.size > 0 && part.data[0] == ' ')
            part = rest_of(part, 1);
        append_escaped(part, out);
        if (part.size > 0)
            after_blank = n->squeeze && part.data[part.size - 1] == ' ';
    }
    if (n->squeeze)
        strip_end(out, start);
}
