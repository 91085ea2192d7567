/* error_map.c - a grid, a scale beside it, the whole model's tensors below. */
#include "cli/stats/error_map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/numeric/scalar.h"

enum {
    MODULES_MAX = 32,
    LAYERS_MAX = 512,
    SHADES = 48,
    MARGIN = 24,
    LABEL_WIDTH = 92,
    CELL_WIDTH = 92,
    CELL_TALL = 30, /* room for two words */
    CELL_FLAT = 16,
    TALL_LAYERS_MAX = 40,
    HEAD_HEIGHT = 92,
    SCALE_WIDTH = 16,
    SCALE_HEIGHT_MIN = 160,
    SCALE_ROOM = 96,
    WORST = 3,
    NAME_BYTES = 256
};

#define SPAN_MIN 4.0 /* of the scale: the largest by the least */

struct map {
    const struct figures *figures;
    enum error_map_value value;
    const struct figure *columns[MODULES_MAX]; /* the first of each module, in the order computed */
    size_t column_count;
    const struct figure *others[MODULES_MAX]; /* of no layer */
    size_t other_count;
    uint32_t layer_count;
    double low, high; /* of the scale */
    const struct figure *worst[WORST];
    int cell_height, grid_top, width;
};

static double value_of(const struct map *m, const struct figure *f)
{
    switch (m->value) {
    case ERROR_MAP_WEIGHTED:
        return f->weighted;
    case ERROR_MAP_RELATIVE:
        return f->relative;
    case ERROR_MAP_OUTPUT:
        break;
    }
    return f->output;
}

/* ---- what there is ---- */

static enum err add_column(struct map *m, const struct figure *f)
{
    size_t at = 0;
    while (at < m->column_count && strcmp(m->columns[at]->place.module, f->place.module) != 0)
        at++;
    if (at < m->column_count)
        return ERR_OK;
    if (at == MODULES_MAX)
        return ERR_LIMIT;
    for (; at > 0 && m->columns[at - 1]->place.order > f->place.order; at--)
        m->columns[at] = m->columns[at - 1];
    m->columns[at] = f;
    m->column_count++;
    return ERR_OK;
}

static void add_worst(struct map *m, const struct figure *f)
{
    size_t at = WORST;
    while (at > 0 && (m->worst[at - 1] == NULL || value_of(m, m->worst[at - 1]) < value_of(m, f)))
        at--;
    if (at == WORST)
        return;
    for (size_t k = WORST - 1; k > at; k--)
        m->worst[k] = m->worst[k - 1];
    m->worst[at] = f;
}

static enum err add(struct map *m, const struct figure *f)
{
    double value = value_of(m, f);
    if (isfinite(value) && value > 0) {
        m->low = MIN(m->low, value);
        m->high = MAX(m->high, value);
        add_worst(m, f);
    }
    if (f->place.in_layer) {
        m->layer_count = MAX(m->layer_count, f->place.layer + 1);
        return m->layer_count > LAYERS_MAX ? ERR_LIMIT : add_column(m, f);
    }
    if (m->other_count == MODULES_MAX)
        return ERR_LIMIT;
    m->others[m->other_count++] = f;
    return ERR_OK;
}

static enum err collect(struct map *m, struct err_text *et)
{
    m->low = (double)INFINITY;
    m->high = 0;
    for (size_t i = 0; i < m->figures->count; i++) {
        if (add(m, &m->figures->items[i]) != ERR_OK)
            return error_set(et, ERR_LIMIT, "a map takes %d layers of %d modules, this is more",
                             LAYERS_MAX, MODULES_MAX);
    }
    if (m->high == 0)
        return error_set(et, ERR_STATE, "no tensor has this error (yet)");
    if (m->high < SPAN_MIN * m->low) { /* nearly equal tensors shall look so */
        double middle = sqrt(m->low * m->high);
        m->low = middle / sqrt(SPAN_MIN);
        m->high = middle * sqrt(SPAN_MIN);
    }
    return ERR_OK;
}

/* ---- colours ---- */

/* From pale to dark, in so many shades that a PNG's palette holds them. */
static uint32_t shade(double t)
{
    static const uint8_t stops[][3] = {
        {0xff, 0xf9, 0xe3}, {0xfd, 0xd9, 0x8a}, {0xf6, 0x9d, 0x4a},
        {0xd9, 0x4f, 0x38}, {0x9a, 0x19, 0x3d}, {0x49, 0x0b, 0x36},
    };
    double stepped = floor(MIN(MAX(t, 0.0), 1.0) * (SHADES - 1) + 0.5) / (SHADES - 1);
    double at = stepped * (double)(COUNT_OF(stops) - 1);
    size_t k = MIN((size_t)at, COUNT_OF(stops) - 2);
    uint32_t color = 0;
    for (size_t c = 0; c < 3; c++) {
        double mixed = (double)stops[k][c] +
                       (at - (double)k) * ((double)stops[k + 1][c] - (double)stops[k][c]);
        color = color << 8 | (uint32_t)(mixed + 0.5);
    }
    return color;
}

static double position_of(const struct map *m, double value)
{
    return scalar_log(value / m->low) / scalar_log(m->high / m->low);
}

static uint32_t ink_on(double t)
{
    return t > 0.6 ? PICTURE_WHITE : PICTURE_INK;
}

/* ---- drawing ---- */

static bool is_worst(const struct map *m, const struct figure *f)
{
    for (size_t i = 0; i < WORST; i++) {
        if (m->worst[i] == f)
            return true;
    }
    return false;
}

static void draw_cell(const struct map *m, const struct figure *f, int x, int y,
                      struct picture *page)
{
    double value = value_of(m, f);
    int width = CELL_WIDTH - 2, height = m->cell_height - 2;
    char title[NAME_BYTES];
    if (!isfinite(value) || value <= 0) {
        picture_rect(page, x, y, width, height, 0xeaeef2, NULL);
        picture_text(page, x + width / 2, y + height / 2 + 4, PICTURE_WORD, PICTURE_MIDDLE,
                     PICTURE_GREY, "%.*s", TEXT_ARGS(f->format));
        return;
    }
    double t = position_of(m, value);
    (void)snprintf(title, sizeof title, "%.*s: %.4g, %.*s, %.2f bits a weight", TEXT_ARGS(f->name),
                   value, TEXT_ARGS(f->format), f->bits);
    if (is_worst(m, f)) { /* a frame */
        picture_rect(page, x - 2, y - 2, width + 4, height + 4, 0x0969da, NULL);
        picture_rect(page, x, y, width, height, PICTURE_WHITE, NULL);
    }
    picture_rect(page, x, y, width, height, shade(t), title);
    bool is_tall = m->cell_height == CELL_TALL;
    picture_text(page, x + width / 2, y + (is_tall ? 12 : height / 2 + 4), PICTURE_WORD,
                 PICTURE_MIDDLE, ink_on(t), "%#.2g", value);
    if (is_tall)
        picture_text(page, x + width / 2, y + 25, PICTURE_WORD, PICTURE_MIDDLE, ink_on(t), "%.*s",
                     TEXT_ARGS(f->format));
}

static void draw_grid(const struct map *m, struct picture *page)
{
    int left = MARGIN + LABEL_WIDTH;
    for (size_t c = 0; c < m->column_count; c++)
        picture_text(page, left + (int)c * CELL_WIDTH + CELL_WIDTH / 2, m->grid_top - 10,
                     PICTURE_WORD, PICTURE_MIDDLE, PICTURE_INK, "%.13s",
                     m->columns[c]->place.module);
    for (uint32_t l = 0; l < m->layer_count; l++)
        picture_text(page, left - 10,
                     m->grid_top + (int)l * m->cell_height + m->cell_height / 2 + 3, PICTURE_WORD,
                     PICTURE_RIGHT, PICTURE_GREY, "layer %u", (unsigned)l);
    for (size_t i = 0; i < m->figures->count; i++) {
        const struct figure *f = &m->figures->items[i];
        for (size_t c = 0; f->place.in_layer && c < m->column_count; c++) {
            if (strcmp(m->columns[c]->place.module, f->place.module) == 0)
                draw_cell(m, f, left + (int)c * CELL_WIDTH,
                          m->grid_top + (int)f->place.layer * m->cell_height, page);
        }
    }
    int top = m->grid_top + (int)m->layer_count * m->cell_height + (m->layer_count > 0 ? 14 : 0);
    for (size_t i = 0; i < m->other_count; i++) {
        int y = top + (int)i * m->cell_height;
        picture_text(page, left - 10, y + m->cell_height / 2 + 3, PICTURE_WORD, PICTURE_RIGHT,
                     PICTURE_GREY, "%.12s", m->others[i]->place.module);
        draw_cell(m, m->others[i], left, y, page);
    }
}

/* The scale from the largest down, with ticks at 1, 2 and 5 of each power of ten. */
static void draw_scale(const struct map *m, struct picture *page)
{
    int x = page->width - MARGIN - SCALE_ROOM + 20;
    int height = MAX((int)m->layer_count * m->cell_height - 2, (int)SCALE_HEIGHT_MIN);
    for (int i = 0; i < SHADES; i++) {
        int top = height * i / SHADES, bottom = height * (i + 1) / SHADES;
        picture_rect(page, x, m->grid_top + top, SCALE_WIDTH, bottom - top,
                     shade(1.0 - (double)i / (SHADES - 1)), NULL);
    }
    static const double steps[] = {1, 2, 5};
    for (int power = -12; power <= 6; power++) {
        for (size_t k = 0; k < COUNT_OF(steps); k++) {
            double value = steps[k] * scalar_pow(10.0, power), t = position_of(m, value);
            if (t < 0 || t > 1)
                continue;
            int y = m->grid_top + (int)floor((1.0 - t) * (height - 1) + 0.5);
            picture_rect(page, x + SCALE_WIDTH, y, 5, 1, PICTURE_INK, NULL);
            picture_text(page, x + SCALE_WIDTH + 9, y + 4, PICTURE_WORD, PICTURE_LEFT, PICTURE_INK,
                         "%.1g", value);
        }
    }
}

static void draw_head(const struct map *m, struct text title, struct picture *page)
{
    static const char *const words[] = {[ERROR_MAP_WEIGHTED] = "weighted error",
                                        [ERROR_MAP_RELATIVE] = "relative error",
                                        [ERROR_MAP_OUTPUT] = "error of outputs"};
    static const char *const rules[] = {
        [ERROR_MAP_WEIGHTED] = "squared error by squared weights, columns by importance",
        [ERROR_MAP_RELATIVE] = "squared error by squared weights",
        [ERROR_MAP_OUTPUT] = "squared error of outputs by squared outputs"};
    picture_text(page, MARGIN, 34, PICTURE_TITLE, PICTURE_LEFT, PICTURE_INK, "%.*s: %s",
                 (int)MIN(title.size, (size_t)40), title.data, words[m->value]);
    picture_text(page, MARGIN, 54, PICTURE_WORD, PICTURE_LEFT, PICTURE_GREY,
                 "%s; %zu tensors, the worst framed", rules[m->value], m->figures->count);
}

enum err error_map_draw(const struct figures *figures, enum error_map_value value,
                        struct text title, struct picture *out, struct err_text *et)
{
    struct map m = {.figures = figures, .value = value, .grid_top = HEAD_HEIGHT};
    TRY(collect(&m, et));
    m.cell_height = m.layer_count <= TALL_LAYERS_MAX ? CELL_TALL : CELL_FLAT;
    int rows = (int)m.layer_count + (int)m.other_count;
    int columns = MAX((int)m.column_count, 5); /* room for the head */
    picture_init(out, 2 * MARGIN + LABEL_WIDTH + columns * CELL_WIDTH + SCALE_ROOM,
                 HEAD_HEIGHT + MAX(rows * m.cell_height + 14, (int)SCALE_HEIGHT_MIN) + MARGIN);
    draw_head(&m, title, out);
    draw_grid(&m, out);
    draw_scale(&m, out);
    if (out->err == ERR_OK)
        return ERR_OK;
    picture_fini(out);
    return ERR_OUT_OF_MEMORY;
}
