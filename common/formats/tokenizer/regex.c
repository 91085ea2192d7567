/* regex.c - PCRE2 behind four functions. */
#include "common/formats/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "common/mem/bytes.h"
#include "common/mem/mem.h"

enum {
    PATTERN_BYTES_MAX = 1 << 16,
    MATCH_LIMIT = 10 * 1000 * 1000,
    DEPTH_LIMIT = 100 * 1000,
    HEAP_LIMIT_KIB = 64 << 10,
};

struct regex {
    pcre2_code *code;
};

struct regex_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

#define SPACE_SET                                                                                  \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}"                               \
    "\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WORD_SET                                                                                   \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"                       \
    "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

/* The pattern with the classes spelled out. Inside brackets a negated class cannot be spelled out;
 * it stays as it is. False for sets of sets ("[a[b]]", "[a&&b]"): Oniguruma, for which tokenizers
 * write, has them, and PCRE2 reads them as something else. */
static bool rewrite(struct text pattern, struct bytes *out)
{
    bool in_class = false;
    for (size_t i = 0; i < pattern.size; i++) {
        char c = pattern.data[i];
        if (c != '\\' || i + 1 == pattern.size) {
            bool doubled = c == '&' && i + 1 < pattern.size && pattern.data[i + 1] == '&';
            if (in_class && (c == '[' || doubled))
                return false;
            if (c == '[')
                in_class = true;
            else if (c == ']' && in_class)
                in_class = false;
            bytes_append(out, &c, 1);
            continue;
        }
        char next = pattern.data[++i];
        if (next == 's')
            bytes_print(out, in_class ? "%s" : "[%s]", SPACE_SET);
        else if (next == 'w')
            bytes_print(out, in_class ? "%s" : "[%s]", WORD_SET);
        else if (next == 'S' && !in_class)
            bytes_append_text(out, TEXT("[^" SPACE_SET "]"));
        else if (next == 'W' && !in_class)
            bytes_append_text(out, TEXT("[^" WORD_SET "]"));
        else
            bytes_append(out, (char[]){'\\', next}, 2);
    }
    return true;
}

enum err regex_create(struct text pattern, struct regex **out, struct err_text *et)
{
    struct bytes rewritten;
    bytes_init(&rewritten, PATTERN_BYTES_MAX);
    struct regex *regex = mem_alloc(1, sizeof(*regex));
    enum err err = regex == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    if (err == ERR_OK && !rewrite(pattern, &rewritten))
        err = error_set(et, ERR_UNSUPPORTED, "pattern '%.*s': a set inside a set",
                        TEXT_ARGS(pattern));
    if (err == ERR_OK && bytes_status(&rewritten) != ERR_OK)
        err = error_set(et, bytes_status(&rewritten), "a pattern is too long");
    if (err != ERR_OK)
        goto out;
    int code = 0;
    PCRE2_SIZE offset = 0;
    regex->code =
        pcre2_compile(rewritten.data, rewritten.size,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (regex->code == NULL) {
        PCRE2_UCHAR reason[128] = {0};
        (void)pcre2_get_error_message(code, reason, sizeof(reason));
        err = error_set(et, ERR_UNSUPPORTED, "pattern '%.*s': %s at byte %zu", TEXT_ARGS(pattern),
                        (const char *)reason, (size_t)offset);
        goto out;
    }
    *out = regex;
    regex = NULL;
out:
    mem_free(regex);
    bytes_fini(&rewritten);
    return err;
}

void regex_destroy(struct regex **regex)
{
    if (*regex == NULL)
        return;
    pcre2_code_free((*regex)->code);
    mem_free(*regex);
    *regex = NULL;
}

enum err regex_scratch_create(struct regex_scratch **out)
{
    struct regex_scratch *scratch = mem_alloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return ERR_OUT_OF_MEMORY;
    /* Only the whole match is of interest. */
    scratch->data = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    if (scratch->data == NULL || scratch->context == NULL) {
        regex_scratch_destroy(&scratch);
        return ERR_OUT_OF_MEMORY;
    }
    (void)pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(scratch->context, DEPTH_LIMIT);
    (void)pcre2_set_heap_limit(scratch->context, HEAP_LIMIT_KIB);
    *out = scratch;
    return ERR_OK;
}

void regex_scratch_destroy(struct regex_scratch **scratch)
{
    if (*scratch == NULL)
        return;
    pcre2_match_data_free((*scratch)->data);
    pcre2_match_context_free((*scratch)->context);
    mem_free(*scratch);
    *scratch = NULL;
}

enum err regex_next(const struct regex *regex, struct regex_scratch *scratch, struct text text,
                    size_t from, bool *found, size_t *begin, size_t *end)
{
    *found = false;
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text.data, text.size, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, scratch->data, scratch->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return ERR_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return ERR_OUT_OF_MEMORY;
    if (rc < 0)
        return ERR_LIMIT;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scratch->data);
    if (ends[0] >= ends[1] || ends[0] < from) /* \K in a lookaround can do that */
        return ERR_LIMIT;
    *begin = ends[0];
    *end = ends[1];
    *found = true;
    return ERR_OK;
}

void regex_version(char *out, size_t out_bytes)
{
    char version[64] = {0};
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof(version))
        (void)pcre2_config(PCRE2_CONFIG_VERSION, version);
    (void)snprintf(out, out_bytes, "%s", version);
}
