/* plot_page.c - shapes of a plot, from the back to the front. */
#include "cli/plot/plot_page.h"

#include <math.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    TOP = 76,
    LEFT = 72,
    ACROSS = 720, /* of the axes */
    DOWN_MIN = 340,
    DOWN_MAX = 1400,
    LEAD_MAX = 40, /* from a line's end to its name */
    BOTTOM = 48,
    LETTER = 6, /* width of a letter, about */
    NAME_ROOM_MIN = 60,
    NAME_ROOM_MAX = 260,
    NAME_HEIGHT = 14,
    MARKED_MAX = 24, /* so few points are marked each */
    THICKNESS = 18,
    THICKNESS_RAW = 10,
    TENTHS = 10,
    COLOR_GRID = 0xe4e8ec,
    TAG_BYTES = 160
};

/* Told apart also by who sees colours in another way. */
static const uint32_t colors[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7,
                                  0x8a6d00, 0x56b4e9, 0x6f42c1, 0x57606a};

struct page {
    const struct plot *plot;
    struct picture *picture;
    struct plot_axis x, y;
    int down; /* height of the axes: enough for the names of all lines */
};

static uint32_t color_of(size_t line)
{
    return colors[line % COUNT_OF(colors)];
}

static uint32_t pale(uint32_t color)
{
    uint32_t mixed = 0;
    for (unsigned shift = 0; shift < 24; shift += 8)
        mixed |= (0xff - (0xff - (color >> shift & 0xff)) * 3 / 10) << shift;
    return mixed;
}

static struct picture_point place_of(const struct page *p, struct plot_point at)
{
    double x = plot_axis_place(&p->x, at.x), y = plot_axis_place(&p->y, at.y);
    return (struct picture_point){
        (int)floor((LEFT + x * ACROSS) * TENTHS + 0.5),
        (int)floor((TOP + (1 - y) * p->down) * TENTHS + 0.5),
    };
}

static bool is_drawn(const struct page *p, struct plot_point at)
{
    return isfinite(plot_axis_place(&p->x, at.x)) && isfinite(plot_axis_place(&p->y, at.y));
}

static void draw_grid(const struct page *p)
{
    char label[PLOT_LABEL_BYTES];
    struct picture *page = p->picture;
    for (size_t i = 0; i < p->y.tick_count; i++) {
        int y = TOP + (int)floor((1 - plot_axis_place(&p->y, p->y.ticks[i])) * p->down + 0.5);
        picture_rect(page, LEFT, y, ACROSS, 1, COLOR_GRID, NULL);
        picture_text(page, LEFT - 8, y + 4, PICTURE_WORD, PICTURE_RIGHT, PICTURE_GREY, "%s",
                     plot_axis_label(&p->y, p->y.ticks[i], label));
    }
    picture_rect(page, LEFT, TOP + p->down, ACROSS, 1, PICTURE_INK, NULL);
    for (size_t i = 0; i < p->x.tick_count; i++) {
        int x = LEFT + (int)floor(plot_axis_place(&p->x, p->x.ticks[i]) * ACROSS + 0.5);
        picture_rect(page, x, TOP + p->down, 1, 5, PICTURE_INK, NULL);
        picture_text(page, x, TOP + p->down + 20, PICTURE_WORD, PICTURE_MIDDLE, PICTURE_GREY, "%s",
                     plot_axis_label(&p->x, p->x.ticks[i], label));
    }
    picture_text(page, LEFT + ACROSS, TOP + p->down + 38, PICTURE_WORD, PICTURE_RIGHT, PICTURE_GREY,
                 "%s", p->plot->x_title);
    picture_text(page, 24, 34, PICTURE_TITLE, PICTURE_LEFT, PICTURE_INK, "%s", p->plot->title);
    if (p->plot->subtitle != NULL)
        picture_text(page, 24, 54, PICTURE_WORD, PICTURE_LEFT, PICTURE_GREY, "%s",
                     p->plot->subtitle);
}

/* In pieces between gaps; `points` and `places` have room for all. */
static void draw_pieces(const struct page *p, const struct plot_point *points, size_t count,
                        struct picture_point *places, int thickness, uint32_t color)
{
    size_t held = 0;
    for (size_t i = 0; i <= count; i++) {
        bool is_on = i < count && is_drawn(p, points[i]);
        if (is_on)
            places[held++] = place_of(p, points[i]);
        else if (held > 0)
            picture_line(p->picture, places, held, thickness, color);
        held = is_on ? held : 0;
    }
}

static enum err draw_line(const struct page *p, size_t index)
{
    const struct plot_line *line = &p->plot->lines[index];
    size_t room = 4 * ACROSS + 4, count;
    enum err err = ERR_OK;
    struct plot_point *points = mem_alloc(room, sizeof *points);
    struct picture_point *places = mem_alloc(room, sizeof *places);
    TRY_OUT(points != NULL && places != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    if (line->raw != NULL) {
        count = plot_thin(line->raw, line->count, &p->x, ACROSS, points);
        draw_pieces(p, points, count, places, THICKNESS_RAW, pale(color_of(index)));
    }
    count = plot_thin(line->points, line->count, &p->x, ACROSS, points);
    draw_pieces(p, points, count, places, THICKNESS, color_of(index));
    for (size_t i = 0; i < line->count && line->count <= MARKED_MAX; i++) {
        if (!is_drawn(p, line->points[i]))
            continue;
        struct picture_point at = place_of(p, line->points[i]);
        picture_line(p->picture, &at, 1, 5 * TENTHS, color_of(index));
    }
out:
    mem_free(points);
    mem_free(places);
    return err;
}

static const struct plot_point *last_of(const struct page *p, size_t index)
{
    const struct plot_line *line = &p->plot->lines[index];
    for (size_t i = line->count; i > 0; i--) {
        if (is_drawn(p, line->points[i - 1]))
            return &line->points[i - 1];
    }
    return NULL;
}

static int print_tag(const struct page *p, size_t index, char out[TAG_BYTES])
{
    const struct plot_line *line = &p->plot->lines[index];
    const struct plot_point *last = last_of(p, index);
    out[0] = '\0';
    if (last == NULL)
        return 0;
    return snprintf(out, TAG_BYTES, "%#.4g%s%.38s", last->y, line->name[0] != '\0' ? " " : "",
                    line->name);
}

/* From the highest down, each as near to the end of its line as those above it and the room for
 * those below allow. */
static void draw_tags(const struct page *p)
{
    bool done[PLOT_LINES_MAX] = {false};
    int next = TOP, left = 0;
    char tag[TAG_BYTES];
    for (size_t l = 0; l < p->plot->line_count; l++)
        left += last_of(p, l) != NULL;
    for (; left > 0; left--) {
        size_t best = SIZE_MAX;
        int best_y = 0;
        for (size_t l = 0; l < p->plot->line_count; l++) {
            const struct plot_point *last = last_of(p, l);
            int y = last != NULL ? place_of(p, *last).y / TENTHS : 0;
            if (!done[l] && last != NULL && (best == SIZE_MAX || y < best_y)) {
                best = l;
                best_y = y;
            }
        }
        int y = MAX(next, MIN(best_y, TOP + p->down - (left - 1) * NAME_HEIGHT));
        struct picture_point at = place_of(p, *last_of(p, best));
        const struct picture_point lead[] = {
            at,
            {(LEFT + ACROSS + 6) * TENTHS, y * TENTHS},
        };
        (void)print_tag(p, best, tag);
        if (y != best_y && y < best_y + LEAD_MAX && y > best_y - LEAD_MAX &&
            at.x >= (LEFT + ACROSS - 1) * TENTHS)
            picture_line(p->picture, lead, COUNT_OF(lead), 6, pale(color_of(best)));
        picture_text(p->picture, LEFT + ACROSS + 9, y + 4, PICTURE_WORD, PICTURE_LEFT,
                     color_of(best), "%s", tag);
        done[best] = true;
        next = y + NAME_HEIGHT;
    }
}

enum err plot_page_draw(const struct plot *plot, struct picture *out, struct err_text *et)
{
    struct page p = {.plot = plot, .picture = out};
    char tag[TAG_BYTES];
    int room = NAME_ROOM_MIN, names = (int)plot->line_count;
    TRY(plot_axes(plot, 10, 8, &p.x, &p.y, et));
    p.down = MIN(MAX((names - 1) * NAME_HEIGHT, (int)DOWN_MIN), (int)DOWN_MAX);
    for (size_t l = 0; l < plot->line_count; l++)
        room = MAX(room, print_tag(&p, l, tag) * LETTER + 20);
    picture_init(out, LEFT + ACROSS + MIN(room, (int)NAME_ROOM_MAX), TOP + p.down + BOTTOM);
    enum err err = ERR_OK;
    draw_grid(&p);
    for (size_t l = plot->line_count; l > 0 && err == ERR_OK; l--)
        err = draw_line(&p, l - 1);
    draw_tags(&p);
    err = err == ERR_OK ? out->err : err;
    if (err != ERR_OK)
        picture_fini(out);
    return err;
}
