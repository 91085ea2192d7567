/* histogram_view.c - bins added up to rows, rows drawn. */
#include "cli/stats/histogram_view.h"

#include <math.h>

#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum { EIGHTHS = 8 };

enum err histogram_view_init(struct histogram_view *view, const struct histogram *h,
                             size_t rows_max)
{
    size_t used = 0;
    ASSERT(rows_max > 0 && rows_max <= HISTOGRAM_VIEW_ROWS_MAX);
    *view = (struct histogram_view){.rows = 0};
    uint64_t *counts = mem_alloc(h->bins, sizeof *counts);
    if (counts == NULL)
        return ERR_OUT_OF_MEMORY;
    histogram_magnitudes(h, 0, counts);
    for (size_t i = 0; i < h->bins; i++) {
        if (counts[i] > 0)
            used = i + 1;
    }
    size_t bins = (used + rows_max - 1) / rows_max;
    view->step = ldexp((double)bins, h->exponents[0]);
    view->rows = bins > 0 ? (used + bins - 1) / bins : 0;
    for (size_t i = 0; i < used; i++)
        view->counts[i / bins] += counts[i];
    mem_free(counts);
    return ERR_OK;
}

static void print_bar(double eighths, const struct style *style, enum style_color color, FILE *out)
{
    static const char *const parts[EIGHTHS] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    size_t units = (size_t)(eighths + 0.5), whole = units / EIGHTHS, width = 0;
    (void)fprintf(out, "%s", style_on(style, color));
    for (; width < whole; width++)
        (void)fputs(style->unicode ? "█" : "#", out);
    if (units % EIGHTHS > 0) {
        (void)fputs(style->unicode ? parts[units % EIGHTHS] : "#", out);
        width++;
    }
    (void)fprintf(out, "%s%*s", style_off(style, color), (int)(HISTOGRAM_VIEW_WIDTH + 1 - width),
                  "");
}

/* A mark at the upper end of everything belongs to the last row. */
static size_t row_of(const struct histogram_view *view, double value)
{
    double row = floor(value / view->step);
    return row >= (double)view->rows ? view->rows - 1 : (size_t)row;
}

static void print_marks(const struct histogram_view *view, size_t row,
                        const struct histogram_view_mark *marks, size_t mark_count,
                        const struct style *style, FILE *out)
{
    const char *arrow = style->unicode ? "◀" : "<";
    for (size_t i = 0; i < mark_count; i++) {
        if (!isfinite(marks[i].value) || row_of(view, marks[i].value) != row)
            continue;
        enum style_color color = marks[i].is_chosen ? STYLE_GOOD : STYLE_DIM;
        (void)fprintf(out, "  %s%s %s %.4g%s%s", style_on(style, color), arrow, marks[i].name,
                      marks[i].value, marks[i].is_chosen ? " (chosen)" : "",
                      style_off(style, color));
        arrow = ",";
    }
}

void histogram_view_print(const struct histogram_view *view,
                          const struct histogram_view_mark *marks, size_t mark_count,
                          const struct style *style, FILE *out)
{
    double most = 0, chosen = (double)INFINITY;
    char text[HUMAN_BYTES];
    for (size_t i = 0; i < view->rows; i++)
        most = MAX(most, (double)view->counts[i]);
    for (size_t i = 0; i < mark_count; i++) {
        if (marks[i].is_chosen && isfinite(marks[i].value))
            chosen = marks[i].value;
    }
    for (size_t i = 0; i < view->rows; i++) {
        double share = most > 0 ? log1p((double)view->counts[i]) / log1p(most) : 0;
        bool is_clipped = (double)i * view->step >= chosen;
        (void)fprintf(out, "%10.4g  ", (double)i * view->step);
        print_bar(share * HISTOGRAM_VIEW_WIDTH * EIGHTHS, style,
                  is_clipped ? STYLE_BAD : STYLE_BUSY, out);
        (void)fprintf(out, "%13s", human_count(view->counts[i], text));
        print_marks(view, i, marks, mark_count, style, out);
        (void)fputc('\n', out);
    }
}
