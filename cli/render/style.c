/* style.c - terminals, asked once. */
#include "cli/render/style.h"

#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH_DEFAULT = 100, WIDTH_MIN = 40 };

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
    bool dumb = term == NULL || strcmp(term, "dumb") == 0;
    bool refused = no_color != NULL && no_color[0] != '\0';
    struct style style = {.terminal = isatty(fd) == 1 && !dumb, .unicode = is_utf8(locale)};
    style.color = when == STYLE_ALWAYS || (when == STYLE_AUTO && style.terminal && !refused);
    style.width = WIDTH_DEFAULT;
    struct winsize size;
    if (style.terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_MIN)
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

static bool starts_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

size_t style_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += starts_character(*text);
    return width;
}

size_t style_bytes(const char *text, size_t width)
{
    size_t i = 0;
    for (size_t n = 0; text[i] != '\0'; i++) {
        if (starts_character(text[i]) && n++ == width)
            break;
    }
    return i;
}

char *style_clean(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        else if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
    return text;
}
