/* plot_text.c - axes, dots, names. */
#include "cli/plot/plot_text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { COLUMNS_A_TICK = 12, ROWS_A_TICK = 3, LABEL_MAX = 40, TAG_BYTES = 160 };

/* Where dots go. */
struct canvas {
    struct frame *frame;
    size_t row, column, rows, columns; /* of cells */
    size_t across, down;               /* dots a cell */
    uint8_t *dots;                     /* owned: [rows, columns] masks */
    uint8_t *owners;                   /* owned: the line that drew last, plus one */
};

static const char signs[] = "*+ox#@%&";

/* ---- dots ---- */

static void set_dot(struct canvas *c, int x, int y, size_t line)
{
    static const uint8_t masks[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    size_t column = (size_t)x / c->across, row = (size_t)y / c->down;
    if (x < 0 || y < 0 || column >= c->columns || row >= c->rows)
        return;
    size_t at = row * c->columns + column;
    if (c->owners[at] != line + 1)
        c->dots[at] = c->owners[at] == 0 || c->across > 1 ? c->dots[at] : 0;
    c->dots[at] |= masks[(size_t)y % c->down][(size_t)x % c->across];
    c->owners[at] = (uint8_t)(line + 1);
}

static void draw_segment(struct canvas *c, int x0, int y0, int x1, int y1, size_t line)
{
    int steps = MAX(MAX(x1 - x0, x0 - x1), MAX(y1 - y0, y0 - y1));
    for (int i = 0; i <= steps; i++) {
        double part = steps == 0 ? 0 : (double)i / steps;
        set_dot(c, (int)floor(x0 + part * (x1 - x0) + 0.5), (int)floor(y0 + part * (y1 - y0) + 0.5),
                line);
    }
}

static enum err draw_line(struct canvas *c, const struct plot_line *line, size_t index,
                          const struct plot_axis *x, const struct plot_axis *y)
{
    size_t columns = c->columns * c->across;
    struct plot_point *points = mem_alloc(4 * columns + 4, sizeof *points);
    if (points == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = plot_thin(line->points, line->count, x, columns, points);
    int last_x = 0, last_y = 0;
    bool is_on = false;
    for (size_t i = 0; i < count; i++) {
        double across = plot_axis_place(x, points[i].x), up = plot_axis_place(y, points[i].y);
        if (!isfinite(across) || !isfinite(up)) {
            is_on = false;
            continue;
        }
        int dot_x = (int)floor(across * (double)(columns - 1) + 0.5);
        int dot_y = (int)floor((1 - up) * (double)(c->rows * c->down - 1) + 0.5);
        draw_segment(c, is_on ? last_x : dot_x, is_on ? last_y : dot_y, dot_x, dot_y, index);
        last_x = dot_x;
        last_y = dot_y;
        is_on = true;
    }
    mem_free(points);
    return ERR_OK;
}

static enum style_color color_of(size_t line)
{
    return (enum style_color)(STYLE_LINE_1 + line % STYLE_LINES);
}

static void show_dots(const struct canvas *c)
{
    for (size_t at = 0; at < c->rows * c->columns; at++) {
        unsigned code = 0x2800u + c->dots[at];
        char glyph[4] = {(char)(0xe0 | code >> 12), (char)(0x80 | (code >> 6 & 0x3f)),
                         (char)(0x80 | (code & 0x3f)), '\0'};
        size_t line = (size_t)c->owners[at] - 1;
        const char sign[2] = {signs[line % (sizeof signs - 1)], '\0'};
        if (c->owners[at] > 0)
            frame_glyph(c->frame, c->row + at / c->columns, c->column + at % c->columns,
                        color_of(line), c->across > 1 ? glyph : sign);
    }
}

/* ---- what is around them ---- */

static size_t row_of(const struct canvas *c, double place)
{
    double dot = floor((1 - place) * (double)(c->rows * c->down - 1) + 0.5);
    return MIN((size_t)dot / c->down, c->rows - 1);
}

static void draw_y(const struct canvas *c, const struct plot_axis *y, size_t left, size_t width)
{
    struct frame *f = c->frame;
    char label[PLOT_LABEL_BYTES];
    for (size_t row = 0; row < c->rows; row++)
        frame_glyph(f, c->row + row, c->column - 1, STYLE_DIM, f->unicode ? "│" : "|");
    for (size_t i = 0; i < y->tick_count; i++) {
        size_t row = c->row + row_of(c, plot_axis_place(y, y->ticks[i]));
        size_t size = style_width(plot_axis_label(y, y->ticks[i], label));
        frame_glyph(f, row, c->column - 1, STYLE_DIM, f->unicode ? "┤" : "+");
        (void)frame_text(f, row, left + width - MIN(width, size), width, STYLE_DIM, "%s", label);
    }
}

static void draw_x(const struct canvas *c, const struct plot *plot, const struct plot_axis *x)
{
    struct frame *f = c->frame;
    char label[PLOT_LABEL_BYTES];
    size_t row = c->row + c->rows, taken = 0;
    frame_glyph(f, row, c->column - 1, STYLE_DIM, f->unicode ? "└" : "+");
    for (size_t i = 0; i < c->columns; i++)
        frame_glyph(f, row, c->column + i, STYLE_DIM, f->unicode ? "─" : "-");
    for (size_t i = 0; i < x->tick_count; i++) {
        double place = plot_axis_place(x, x->ticks[i]);
        size_t at = (size_t)floor(place * (double)(c->columns - 1) + 0.5);
        size_t size = style_width(plot_axis_label(x, x->ticks[i], label));
        size_t start = c->column + at - MIN(c->column + at, size / 2);
        if (at >= c->columns)
            continue;
        frame_glyph(f, row, c->column + at, STYLE_DIM, f->unicode ? "┬" : "+");
        if (start < taken || start + size > c->column + c->columns + 2)
            continue;
        taken = start + frame_text(f, row + 1, start, size, STYLE_DIM, "%s", label) + 1;
    }
    (void)frame_text(f, row + 1, MAX(taken + 1, c->column + c->columns + 1), SIZE_MAX, STYLE_DIM,
                     "%s", plot->x_title);
}

static const struct plot_point *last_of(const struct plot_line *line, const struct plot_axis *y)
{
    for (size_t i = line->count; i > 0; i--) {
        if (isfinite(plot_axis_place(y, line->points[i - 1].y)))
            return &line->points[i - 1];
    }
    return NULL;
}

/* "* 1.812 eval", "1.812 eval" in colour; "" for a line without points. The name comes last: it may
 * be cut. */
static void print_tag(const struct plot *plot, size_t index, const struct plot_axis *y,
                      bool with_sign, char out[TAG_BYTES])
{
    const struct plot_line *line = &plot->lines[index];
    const struct plot_point *last = last_of(line, y);
    char sign[3] = {signs[index % (sizeof signs - 1)], ' ', '\0'};
    out[0] = '\0';
    if (last != NULL)
        (void)snprintf(out, TAG_BYTES, "%s%#.4g%s%s", with_sign ? sign : "", last->y,
                       line->name[0] != '\0' ? " " : "", line->name);
}

/* Tags beside the ends of their lines, none above another: highest first, each at its row or at the
 * next free one. */
static void draw_tags(const struct canvas *c, const struct plot *plot, const struct plot_axis *y,
                      size_t room)
{
    bool done[PLOT_LINES_MAX] = {false};
    size_t next = 0;
    for (size_t k = 0; k < plot->line_count; k++) {
        size_t best = plot->line_count;
        for (size_t l = 0; l < plot->line_count; l++) {
            const struct plot_point *last = last_of(&plot->lines[l], y);
            if (!done[l] && last != NULL &&
                (best == plot->line_count || last->y > last_of(&plot->lines[best], y)->y))
                best = l;
        }
        if (best == plot->line_count)
            return;
        char tag[TAG_BYTES];
        size_t at = row_of(c, plot_axis_place(y, last_of(&plot->lines[best], y)->y));
        size_t later = plot->line_count - k; /* that need a row from here on */
        size_t row = MAX(next, MIN(at, c->rows - MIN(c->rows, later)));
        print_tag(plot, best, y, c->across == 1, tag);
        if (row < c->rows)
            (void)frame_text(c->frame, c->row + row, c->column + c->columns + 1, room,
                             color_of(best), "%s", tag);
        done[best] = true;
        next = row + 1;
    }
}

static size_t widest_tag(const struct plot *plot, const struct plot_axis *y, bool with_sign)
{
    char tag[TAG_BYTES];
    size_t widest = 0;
    for (size_t l = 0; l < plot->line_count; l++) {
        print_tag(plot, l, y, with_sign, tag);
        widest = MAX(widest, style_width(tag));
    }
    return widest;
}

static enum err draw_all(struct canvas *c, const struct plot *plot, const struct plot_axis *x,
                         const struct plot_axis *y)
{
    enum err err = ERR_OK;
    c->dots = mem_alloc(c->rows * c->columns, 1);
    c->owners = mem_alloc(c->rows * c->columns, 1);
    if (c->dots == NULL || c->owners == NULL)
        err = ERR_OUT_OF_MEMORY;
    for (size_t l = 0; l < plot->line_count && err == ERR_OK; l++)
        err = draw_line(c, &plot->lines[l], l, x, y);
    if (err == ERR_OK)
        show_dots(c);
    mem_free(c->dots);
    mem_free(c->owners);
    return err;
}

enum err plot_text_draw(const struct plot *plot, struct frame *frame, struct plot_text_place place,
                        struct err_text *et)
{
    ASSERT(place.width >= PLOT_TEXT_WIDTH_MIN && place.height >= PLOT_TEXT_HEIGHT_MIN);
    struct plot_axis x, y;
    char label[PLOT_LABEL_BYTES];
    size_t labels = 1;
    struct canvas c = {
        .frame = frame,
        .row = place.row + 1,
        .rows = place.height - 3,
        .across = frame->unicode ? 2 : 1,
        .down = frame->unicode ? 4 : 1,
    };
    TRY(plot_axes(plot, place.width / COLUMNS_A_TICK, c.rows / ROWS_A_TICK + 1, &x, &y, et));
    for (size_t i = 0; i < y.tick_count; i++)
        labels = MAX(labels, style_width(plot_axis_label(&y, y.ticks[i], label)));
    size_t tags =
        MIN(widest_tag(plot, &y, !frame->unicode), MIN(2 * place.width / 5, (size_t)LABEL_MAX));
    c.column = place.column + labels + 2;
    c.columns = place.width - labels - 2 - MAX(tags, strlen(plot->x_title)) - 1;
    TRY(draw_all(&c, plot, &x, &y));
    (void)frame_text(frame, place.row, place.column, place.width, STYLE_BOLD, "%s%s%s", plot->title,
                     plot->subtitle != NULL ? "  " : "",
                     plot->subtitle != NULL ? plot->subtitle : "");
    draw_y(&c, &y, place.column, labels);
    draw_x(&c, plot, &x);
    draw_tags(&c, plot, &y, place.width - (c.column + c.columns + 1 - place.column));
    return ERR_OK;
}
