/* style.c - terminals, asked once. */
#include "cli/render/style.h"

#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/unicode.h"

enum { WIDTH_DEFAULT = 100 };

static bool is_utf8(const char *locale)
{
    if (locale == NULL)
        return false;
    for (const char *at = locale; *at != '\0'; at++) {
        if (strncasecmp(at, "utf-8", 5) == 0 || strncasecmp(at, "utf8", 4) == 0)
            return true;
    }
    return false;
}

struct style style_of(FILE *stream, enum style_when when, const char *no_color, const char *term,
                      const char *locale)
{
    int fd = fileno(stream);
    bool dumb = term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0;
    bool refused = no_color != NULL && no_color[0] != '\0';
    struct style style = {.terminal = isatty(fd) == 1 && !dumb, .unicode = is_utf8(locale)};
    style.color = when == STYLE_ALWAYS || (when == STYLE_AUTO && style.terminal && !refused);
    style.width = WIDTH_DEFAULT;
    struct winsize size;
    if (style.terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        style.width = size.ws_col;
    return style;
}

const char *style_on(const struct style *style, enum style_color color)
{
    static const char *const sequences[] = {
        [STYLE_PLAIN] = "",          [STYLE_GOOD] = "\x1b[32m",   [STYLE_BAD] = "\x1b[1;31m",
        [STYLE_BUSY] = "\x1b[36m",   [STYLE_DIM] = "\x1b[2m",     [STYLE_BOLD] = "\x1b[1m",
        [STYLE_LINE_1] = "\x1b[36m", [STYLE_LINE_2] = "\x1b[33m", [STYLE_LINE_3] = "\x1b[35m",
        [STYLE_LINE_4] = "\x1b[32m", [STYLE_LINE_5] = "\x1b[34m", [STYLE_LINE_6] = "\x1b[31m",
    };
    return style->color ? sequences[color] : "";
}

const char *style_off(const struct style *style, enum style_color color)
{
    return style->color && color != STYLE_PLAIN ? "\x1b[0m" : "";
}

/* Whoever reads from left to right would see other words than are there. */
static bool turns_text(uint32_t c)
{
    return c - 0x202A < 5 || c - 0x2066 < 4;
}

size_t style_character(const char *text, size_t *columns)
{
    size_t size = unicode_size((uint8_t)text[0]);
    *columns = 1;
    if (unicode_valid_prefix((struct text){text, strnlen(text, size)}) != size)
        return 0;
    uint32_t c = unicode_at(text);
    bool steers = c < 0x20 || c - 0x7F < 0x21 || c == 0x2028 || c == 0x2029 || turns_text(c);
    if (steers)
        return 0;
    *columns = unicode_columns(c);
    return size;
}

size_t style_width(const char *text)
{
    size_t width = 0, columns;
    for (size_t i = 0; text[i] != '\0'; width += columns)
        i += MAX(style_character(text + i, &columns), (size_t)1);
    return width;
}

size_t style_bytes(const char *text, size_t width)
{
    size_t used = 0, i = 0, columns;
    for (size_t size; text[i] != '\0'; i += size) {
        size = MAX(style_character(text + i, &columns), (size_t)1);
        used += columns;
        if (used > width)
            break;
    }
    return i;
}

char *style_cut(char *text, size_t width)
{
    if (style_width(text) > width)
        memcpy(text + style_bytes(text, width - 1), "+", sizeof "+");
    return text;
}

char *style_clean(char *text)
{
    size_t columns;
    for (size_t i = 0, size; text[i] != '\0'; i += MAX(size, (size_t)1)) {
        size = style_character(text + i, &columns);
        if (size == 0)
            text[i] = '?';
    }
    return text;
}
