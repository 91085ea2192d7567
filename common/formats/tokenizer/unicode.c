/* unicode.c - over utf8proc; ASCII answers come from here, since most text is that. */
#include "common/formats/tokenizer/unicode.h"

#include <limits.h>
#include <utf8proc.h>

#include "common/base/check.h"

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

size_t unicode_put(uint32_t c, char out[4])
{
    ASSERT(c < 0x110000);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Bytes of a well-formed start at b[0..size): *whole when it is a complete character. Table 3-7 of
 * the Unicode standard: only the second byte's range depends on the first. */
static size_t well_formed(const uint8_t *b, size_t size, bool *whole)
{
    *whole = b[0] < 0x80;
    if (*whole)
        return 1;
    if (b[0] < 0xC2 || b[0] > 0xF4)
        return 0;
    size_t wanted = unicode_size(b[0]);
    uint8_t low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    size_t have = 1;
    while (have < wanted && have < size && b[have] >= low && b[have] <= high) {
        low = 0x80;
        high = 0xBF;
        have++;
    }
    *whole = have == wanted;
    return have;
}

size_t unicode_valid_prefix(struct text text)
{
    const uint8_t *b = (const uint8_t *)text.data;
    size_t at = 0;
    while (at < text.size) {
        bool whole;
        size_t size = well_formed(b + at, text.size - at, &whole);
        if (!whole)
            return at;
        at += size;
    }
    return at;
}

size_t unicode_bad_size(struct text text, bool *could_continue)
{
    bool whole;
    size_t size = well_formed((const uint8_t *)text.data, text.size, &whole);
    *could_continue = size > 0 && size == text.size;
    return MAX(size, (size_t)1);
}

void unicode_repair(struct text text, bool each_byte, struct bytes *out)
{
    while (text.size > 0) {
        size_t good = unicode_valid_prefix(text);
        bytes_append(out, text.data, good);
        text = (struct text){text.data + good, text.size - good};
        if (text.size == 0)
            return;
        bool could_continue;
        size_t bad = unicode_bad_size(text, &could_continue);
        bytes_append(out, "\xEF\xBF\xBD", 3);
        bad = each_byte ? 1 : bad;
        text = (struct text){text.data + bad, text.size - bad};
    }
}

bool unicode_is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c | 0x20) - 'a' < 26;
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool unicode_is_number(uint32_t c)
{
    if (c < 0x80)
        return c - '0' < 10;
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool unicode_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || c - '\t' < 5;
    return c == 0x85 || c == 0xA0 || c == 0x1680 || c - 0x2000 < 11 || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool unicode_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return c > ' ' && c < 0x7F && !unicode_is_letter(c) && !unicode_is_number(c);
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

/* UTS 18, annex C: Alphabetic, M*, Nd, Pc and the two joiners. Of So the circled and squared
 * letters are Alphabetic. */
bool unicode_is_word(uint32_t c)
{
    if (c < 0x80)
        return unicode_is_letter(c) || unicode_is_number(c) || c == '_';
    utf8proc_category_t k = category(c);
    bool alphabetic = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL;
    bool enclosed = c - 0x24B6 < 52 || c - 0x1F130 < 26 || c - 0x1F150 < 26 || c - 0x1F170 < 26;
    return alphabetic || enclosed || k == UTF8PROC_CATEGORY_PC || c - 0x200C < 2;
}

unsigned unicode_columns(uint32_t c)
{
    int columns = c >= ' ' && c < 0x7F ? 1 : utf8proc_charwidth((utf8proc_int32_t)c);
    return columns > 0 ? (unsigned)columns : 0;
}

size_t unicode_grapheme(struct text text)
{
    utf8proc_int32_t state = 0;
    uint32_t c = unicode_at(text.data);
    size_t at = unicode_size((uint8_t)text.data[0]);
    while (at < text.size) {
        uint32_t next = unicode_at(text.data + at);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        c = next;
        at += unicode_size((uint8_t)text.data[at]);
    }
    return at;
}

enum err unicode_normalize(struct text text, enum unicode_form form, struct bytes *out)
{
    static const utf8proc_option_t options[] = {
        [UNICODE_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [UNICODE_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [UNICODE_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [UNICODE_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    const utf8proc_uint8_t *data = (const utf8proc_uint8_t *)text.data;
    /* Sizes of this library are ssize_t; a text is at most 1 GiB. The buffer is ours, so that the
     * memory comes from where all memory comes from. */
    utf8proc_ssize_t count =
        utf8proc_decompose(data, (utf8proc_ssize_t)text.size, NULL, 0, options[form]);
    if (count < 0)
        return ERR_FORMAT;
    size_t start = out->size;
    /* utf8proc_reencode writes a terminator after at most four bytes a character. */
    size_t room;
    if (!check_mul((size_t)count + 1, sizeof(utf8proc_int32_t), &room))
        return ERR_LIMIT;
    uint8_t *raw = bytes_extend(out, room + sizeof(utf8proc_int32_t));
    if (raw == NULL)
        return bytes_status(out);
    size_t skew = (sizeof(utf8proc_int32_t) - (uintptr_t)raw % sizeof(utf8proc_int32_t)) %
                  sizeof(utf8proc_int32_t);
    utf8proc_int32_t *points = (utf8proc_int32_t *)(void *)(raw + skew);
    count = utf8proc_decompose(data, (utf8proc_ssize_t)text.size, points, count, options[form]);
    utf8proc_ssize_t size = count < 0 ? count : utf8proc_reencode(points, count, options[form]);
    if (size < 0) {
        out->size = start;
        return ERR_FORMAT;
    }
    memmove(raw, points, (size_t)size);
    out->size = start + (size_t)size;
    return ERR_OK;
}

static void append_point(uint32_t c, struct bytes *out)
{
    char utf8[4];
    bytes_append(out, utf8, unicode_put(c, utf8));
}

void unicode_lower(struct text text, struct bytes *out)
{
    for (size_t at = 0; at < text.size; at += unicode_size((uint8_t)text.data[at])) {
        uint32_t c = unicode_at(text.data + at);
        append_point((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), out);
        if (c == 0x130) /* the one character whose lower case is two: i and a dot above */
            append_point(0x307, out);
    }
}

void unicode_strip_marks(struct text text, struct bytes *out)
{
    for (size_t at = 0; at < text.size; at += unicode_size((uint8_t)text.data[at])) {
        uint32_t c = unicode_at(text.data + at);
        utf8proc_category_t k = category(c);
        if (k < UTF8PROC_CATEGORY_MN || k > UTF8PROC_CATEGORY_ME)
            append_point(c, out);
    }
}

const char *unicode_version(void)
{
    return utf8proc_version();
}
