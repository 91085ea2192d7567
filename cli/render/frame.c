/* frame.c - cells. */
#include "cli/render/frame.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { TEXT_BYTES = 2048 };

enum err frame_init(struct frame *frame, size_t width, size_t height, bool unicode)
{
    *frame = (struct frame){
        .width = MIN(width, (size_t)FRAME_SIDE_MAX),
        .height = MIN(height, (size_t)FRAME_SIDE_MAX),
        .unicode = unicode,
    };
    frame->cells = mem_alloc(MAX(frame->width * frame->height, (size_t)1), sizeof *frame->cells);
    return frame->cells != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

void frame_fini(struct frame *frame)
{
    mem_free(frame->cells);
    *frame = (struct frame){0};
}

/* Letters of most scripts, punctuation, arrows, boxes, blocks and dots take one column; further up
 * are those that take two, and combining marks are in between. */
static bool is_narrow(uint32_t code)
{
    return (code >= 0x20 && code < 0x7f) || (code >= 0xa0 && code < 0x300 && code != 0xad) ||
           (code >= 0x370 && code < 0x483) || (code >= 0x48a && code < 0x591) ||
           (code >= 0x2010 && code < 0x2028) || (code >= 0x2030 && code < 0x2060) ||
           (code >= 0x2070 && code < 0x20d0) || (code >= 0x2100 && code < 0x231a) ||
           (code >= 0x2500 && code < 0x25fd) || (code >= 0x2800 && code < 0x2900);
}

/* Bytes of the character at `text`, 0 at the end; *is_good: it may stand in a cell. */
static size_t read_character(const char *text, bool unicode, bool *is_good)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) {
        *is_good = is_narrow(at[0]);
        return at[0] != '\0';
    }
    size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    uint32_t code = at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            *is_good = false;
            return i; /* what follows begins anew */
        }
        code = code << 6 | (at[i] & 0x3fu);
    }
    *is_good = unicode && at[0] >= 0xc2 && is_narrow(code) && (size < 3 || code >= 0x800);
    return size;
}

static void put(struct frame *frame, size_t row, size_t column, enum style_color color,
                const char *glyph, size_t size)
{
    if (row >= frame->height || column >= frame->width)
        return;
    struct frame_cell *cell = &frame->cells[row * frame->width + column];
    memset(cell->glyph, 0, sizeof cell->glyph);
    memcpy(cell->glyph, glyph, MIN(size, sizeof cell->glyph - 1));
    cell->color = (unsigned char)color;
}

void frame_glyph(struct frame *frame, size_t row, size_t column, enum style_color color,
                 const char *glyph)
{
    bool is_good = false;
    size_t size = read_character(glyph, frame->unicode, &is_good);
    put(frame, row, column, color, is_good ? glyph : "?", is_good ? size : 1);
}

size_t frame_text(struct frame *frame, size_t row, size_t column, size_t room,
                  enum style_color color, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    size_t used = 0;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    room = MIN(room, frame->width - MIN(frame->width, column));
    for (const char *at = text; *at != '\0' && used < room; used++) {
        bool is_good;
        size_t size = read_character(at, frame->unicode, &is_good);
        put(frame, row, column + used, color, is_good ? at : "?", is_good ? size : 1);
        at += size;
        if (used + 1 == room && *at != '\0')
            put(frame, row, column + used, color, "+", 1);
    }
    return used;
}

static bool is_blank(const struct frame_cell *cell)
{
    return cell->glyph[0] == '\0' || strcmp(cell->glyph, " ") == 0;
}

void frame_print(const struct frame *frame, const struct style *style, FILE *out)
{
    for (size_t row = 0; row < frame->height; row++) {
        const struct frame_cell *cells = &frame->cells[row * frame->width];
        size_t end = frame->width;
        enum style_color color = STYLE_PLAIN;
        while (end > 0 && is_blank(&cells[end - 1]))
            end--;
        for (size_t i = 0; i < end; i++) {
            enum style_color wanted = is_blank(&cells[i]) ? color : cells[i].color;
            if (wanted != color)
                (void)fprintf(out, "%s%s", style_off(style, color), style_on(style, wanted));
            color = wanted;
            (void)fputs(cells[i].glyph[0] != '\0' ? cells[i].glyph : " ", out);
        }
        (void)fprintf(out, "%s\n", style_off(style, color));
    }
}
