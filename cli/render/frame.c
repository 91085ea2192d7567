/* frame.c - cells. */
#include "cli/render/frame.h"

#include <stdarg.h>
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

/* The character at `at`, or "?" in its place; *size: bytes that it stands for. */
static const char *read_character(const struct frame *frame, const char *at, size_t *size,
                                  size_t *columns)
{
    *size = style_character(at, columns);
    if (*size > 0 && (frame->unicode || *size == 1))
        return at;
    *columns = MIN(*columns, (size_t)1);
    *size = MAX(*size, (size_t)1);
    return "?";
}

/* Nothing stays of a wide character of which one half is written over. */
static void clear_cell(struct frame *frame, size_t at, size_t end)
{
    if (frame->cells[at].is_half)
        frame->cells[at - 1].glyph[0] = '\0';
    if (at + 1 < end && frame->cells[at + 1].is_half)
        frame->cells[at + 1].is_half = false;
    frame->cells[at] = (struct frame_cell){.color = STYLE_PLAIN};
}

static void put(struct frame *frame, size_t row, size_t column, enum style_color color,
                const char *glyph, size_t size, size_t columns)
{
    if (row >= frame->height || column + columns > frame->width)
        return;
    size_t end = (row + 1) * frame->width;
    for (size_t i = 0; i < columns; i++) {
        struct frame_cell *cell = &frame->cells[row * frame->width + column + i];
        clear_cell(frame, row * frame->width + column + i, end);
        cell->color = (unsigned char)color;
        cell->is_half = i > 0;
        if (i == 0)
            memcpy(cell->glyph, glyph, MIN(size, sizeof cell->glyph - 1));
    }
}

/* Onto the character that ends before `column`. */
static void put_mark(struct frame *frame, size_t row, size_t column, const char *mark, size_t size)
{
    if (row >= frame->height || column == 0 || column > frame->width)
        return;
    struct frame_cell *cell = &frame->cells[row * frame->width + column - 1];
    cell -= cell->is_half;
    size_t used = strlen(cell->glyph);
    if (used > 0 && used + size < sizeof cell->glyph)
        memcpy(cell->glyph + used, mark, size);
}

void frame_glyph(struct frame *frame, size_t row, size_t column, enum style_color color,
                 const char *glyph)
{
    size_t size, columns;
    const char *shown = read_character(frame, glyph, &size, &columns);
    bool is_good = shown == glyph && columns == 1;
    put(frame, row, column, color, is_good ? glyph : "?", is_good ? size : 1, 1);
}

/* Columns of a text on this page. */
static size_t columns_of(const struct frame *frame, const char *text)
{
    size_t used = 0;
    for (size_t size, columns; *text != '\0'; text += size, used += columns)
        (void)read_character(frame, text, &size, &columns);
    return used;
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
    bool is_cut = columns_of(frame, text) > room;
    size_t end = is_cut ? room - MIN(room, (size_t)1) : room;
    for (const char *at = text; *at != '\0';) {
        size_t size, columns;
        const char *glyph = read_character(frame, at, &size, &columns);
        if (used + columns > end)
            break;
        if (columns > 0)
            put(frame, row, column + used, color, glyph, glyph == at ? size : 1, columns);
        else if (used > 0 && glyph == at)
            put_mark(frame, row, column + used, glyph, size);
        used += columns;
        at += size;
    }
    if (is_cut && room > 0)
        put(frame, row, column + used++, color, "+", 1, 1);
    return used;
}

static bool is_blank(const struct frame_cell *cell)
{
    return !cell->is_half && (cell->glyph[0] == '\0' || strcmp(cell->glyph, " ") == 0);
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
            if (!cells[i].is_half)
                (void)fputs(cells[i].glyph[0] != '\0' ? cells[i].glyph : " ", out);
        }
        (void)fprintf(out, "%s\n", style_off(style, color));
    }
}
