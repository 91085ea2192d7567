/* histogram_map.c - bars, two axes, a line a clip. */
#include "cli/stats/histogram_map.h"

#include <math.h>

#include "cli/stats/histogram_view.h"
#include "common/base/check.h"
#include "common/numeric/scalar.h"

enum {
    LEFT = 64,
    TOP = 92,
    BARS = 96,
    BAR_WIDTH = 8,
    BARS_WIDTH = BARS * BAR_WIDTH,
    BARS_HEIGHT = 260,
    MARK_HEIGHT = 18,
    MARKS_HEIGHT = RANGE_SEARCH_METHOD_COUNT * MARK_HEIGHT,
    BOTTOM = 44,
    RIGHT = 32,
    TICKS = 10,
    LABEL_WIDTH = 190
};

/* Colours of bars, of those that are clipped, and of the clip that is taken. */
enum {
    COLOR_BAR = 0x5b8fc7,
    COLOR_CLIPPED = 0xd94f38,
    COLOR_CHOSEN = 0x1a7f37,
    COLOR_LINE = 0xd0d7de
};

struct plot {
    const struct tensor_view *view;
    struct histogram_view bars;
    double tallest; /* log of the largest count, plus one */
    double chosen;  /* INFINITY: none */
    int base;       /* y of the axis */
};

static int x_of(const struct plot *p, double value)
{
    double bars = MIN(value / p->bars.step, (double)p->bars.rows);
    return LEFT + (int)floor(bars * BAR_WIDTH + 0.5);
}

static int height_of(const struct plot *p, double count)
{
    return (int)floor(scalar_log1p(count) / p->tallest * BARS_HEIGHT + 0.5);
}

/* 1, 2 or 5 times a power of ten, so that at most TICKS of it reach `end`. */
static double tick_of(double end)
{
    double step = scalar_pow(10.0, floor(scalar_log(end / TICKS) / scalar_log(10.0)));
    if (end <= 2 * step * TICKS)
        return end <= step * TICKS ? step : 2 * step;
    return end <= 5 * step * TICKS ? 5 * step : 10 * step;
}

static void draw_bars(const struct plot *p, struct picture *page)
{
    static const char *const labels[] = {"1",   "10",  "100", "1e3", "1e4", "1e5",
                                         "1e6", "1e7", "1e8", "1e9", "1e10"};
    double count = 1;
    for (size_t i = 0; i < COUNT_OF(labels) && scalar_log1p(count) <= p->tallest;
         i++, count *= 10) {
        int y = p->base - height_of(p, count);
        picture_rect(page, LEFT, y, BARS_WIDTH, 1, COLOR_LINE, NULL);
        picture_text(page, LEFT - 8, y + 4, PICTURE_WORD, PICTURE_RIGHT, PICTURE_GREY, "%s",
                     labels[i]);
    }
    for (size_t i = 0; i < p->bars.rows; i++) {
        int height = height_of(p, (double)p->bars.counts[i]);
        bool is_clipped = (double)i * p->bars.step >= p->chosen;
        picture_rect(page, LEFT + (int)i * BAR_WIDTH, p->base - height, BAR_WIDTH - 1, height,
                     is_clipped ? COLOR_CLIPPED : COLOR_BAR, NULL);
    }
    picture_rect(page, LEFT, p->base, BARS_WIDTH, 1, PICTURE_INK, NULL);
    double end = p->bars.step * (double)p->bars.rows, step = tick_of(end);
    for (int i = 0; i * step <= end; i++) {
        int x = x_of(p, i * step);
        picture_rect(page, x, p->base, 1, 5, PICTURE_INK, NULL);
        picture_text(page, x, p->base + 20, PICTURE_WORD, PICTURE_MIDDLE, PICTURE_INK, "%.3g",
                     i * step);
    }
}

/* Largest first: no label lies across the line of a smaller one. Returns how many. */
static size_t sort_clips(const struct tensor_view *view,
                         const struct tensor_view_clip *out[RANGE_SEARCH_METHOD_COUNT])
{
    size_t count = 0;
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        size_t at = count;
        if (!isfinite(view->clips[m].limit))
            continue;
        for (; at > 0 && out[at - 1]->limit < view->clips[m].limit; at--)
            out[at] = out[at - 1];
        out[at] = &view->clips[m];
        count++;
    }
    return count;
}

/* Lines from their names, one below the other, down to the axis. */
static void draw_clips(const struct plot *p, struct picture *page)
{
    const struct tensor_view_clip *clips[RANGE_SEARCH_METHOD_COUNT];
    size_t count = sort_clips(p->view, clips);
    for (size_t i = 0; i < count; i++) {
        const struct tensor_view_clip *clip = clips[i];
        uint32_t color = clip->is_chosen ? COLOR_CHOSEN : PICTURE_GREY;
        int x = x_of(p, clip->limit), y = TOP + (int)i * MARK_HEIGHT;
        bool is_left = x > LEFT + LABEL_WIDTH;
        picture_rect(page, x, y - 8, clip->is_chosen ? 2 : 1, p->base - y + 8, color, NULL);
        picture_text(page, is_left ? x - 6 : x + 7, y, PICTURE_WORD,
                     is_left ? PICTURE_RIGHT : PICTURE_LEFT, color, "%s %.4g%s",
                     range_search_name(clip->method), clip->limit,
                     clip->is_chosen ? " (chosen)" : "");
    }
}

enum err histogram_map_draw(const struct tensor_view *view, struct picture *out,
                            struct err_text *et)
{
    struct plot p = {.view = view, .chosen = (double)INFINITY};
    uint64_t most = 0;
    if (!view->has_histogram)
        return error_set(et, ERR_STATE,
                         "%.*s: no histogram; `activations: static` below quantize: records it",
                         TEXT_ARGS(view->row->name));
    TRY(histogram_view_init(&p.bars, &view->row->site->histogram, BARS));
    for (size_t i = 0; i < p.bars.rows; i++)
        most = MAX(most, p.bars.counts[i]);
    if (most == 0)
        return error_set(et, ERR_STATE, "%.*s: its histogram is empty", TEXT_ARGS(view->row->name));
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        if (view->clips[m].is_chosen)
            p.chosen = view->clips[m].limit;
    }
    p.tallest = scalar_log1p((double)most);
    p.base = TOP + MARKS_HEIGHT + BARS_HEIGHT;
    picture_init(out, LEFT + BARS_WIDTH + RIGHT, p.base + BOTTOM);
    picture_text(out, 24, 34, PICTURE_TITLE, PICTURE_LEFT, PICTURE_INK, "%.*s",
                 TEXT_ARGS(view->row->site->name));
    picture_text(out, 24, 54, PICTURE_WORD, PICTURE_LEFT, PICTURE_GREY,
                 "values of |x| in calibration, counts on a logarithmic scale; where observers "
                 "would clip for 8 bits");
    draw_bars(&p, out);
    draw_clips(&p, out);
    if (out->err == ERR_OK)
        return ERR_OK;
    picture_fini(out);
    return ERR_OUT_OF_MEMORY;
}
