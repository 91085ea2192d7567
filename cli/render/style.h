/* style.h - where output goes and how it may look there: colour, width, a terminal or a log. */
#ifndef CLI_RENDER_STYLE_H
#define CLI_RENDER_STYLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The last ones tell lines of one drawing apart. */
enum style_color {
    STYLE_PLAIN,
    STYLE_GOOD,
    STYLE_BAD,
    STYLE_BUSY,
    STYLE_DIM,
    STYLE_BOLD,
    STYLE_LINE_1,
    STYLE_LINE_2,
    STYLE_LINE_3,
    STYLE_LINE_4,
    STYLE_LINE_5,
    STYLE_LINE_6,
    STYLE_COLOR_COUNT
};

enum { STYLE_LINES = STYLE_COLOR_COUNT - STYLE_LINE_1 };

enum style_when { STYLE_AUTO, STYLE_ALWAYS, STYLE_NEVER };

struct style {
    bool color;    /* escape sequences are welcome */
    bool terminal; /* a person looks: lines may be redrawn */
    bool unicode;  /* glyphs outside ASCII are welcome */
    size_t width;  /* columns */
};

/* What `stream` can show. NO_COLOR, TERM and the locale's variables are handed in, each may be
 * NULL. */
struct style style_of(FILE *stream, enum style_when when, const char *no_color, const char *term,
                      const char *locale);

/* Sequence that switches to a colour and back to plain, "" when there is no colour. Static. */
const char *style_on(const struct style *style, enum style_color color);
const char *style_off(const struct style *style, enum style_color color);

/* Bytes of the character that `text`, which is not at its end, begins with; *columns: the room it
 * takes in a terminal, 0 for a mark on the one before. 0 bytes: the first one is no UTF-8, a
 * control character, or one that turns the direction of text; "?" is to stand in its place. */
size_t style_character(const char *text, size_t *columns);

/* Columns of a text, and the bytes of its longest start that fits into `width` of them. */
size_t style_width(const char *text);
size_t style_bytes(const char *text, size_t width);

/* Cuts a text that is wider than `width`, at least 1, in place: it ends in "+". Returns `text`. */
char *style_cut(char *text, size_t width);

/* Turns bytes that style_character refuses into "?", in place: names and messages come from others
 * and must not steer the terminal. Returns `text`. */
char *style_clean(char *text);

#endif
