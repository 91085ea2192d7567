/* run_plot.c - log points to lines. */
#include "cli/command/run_plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/plot/run_metric.h"
#include "common/base/check.h"

enum { ARENA_BYTES_MAX = 1 << 30, SERIES_MAX = 4 };

_Static_assert(PLOT_LINES_MAX >= SERIES_MAX * LIMIT_VARIANTS, "any one job fits a plot");

void run_plot_init(struct run_plot *out, const char *word)
{
    *out = (struct run_plot){.plot = {.title = run_metric_title(word), .x_title = "step"}};
    ASSERT(out->plot.title != NULL);
    arena_init(&out->arena, ARENA_BYTES_MAX);
}

void run_plot_fini(struct run_plot *plot)
{
    arena_fini(&plot->arena);
    *plot = (struct run_plot){0};
}

static double x_of(enum run_plot_x x, const struct log_point *point, uint64_t start_unix_ms)
{
    switch (x) {
    case RUN_PLOT_STEP:
        return (double)point->step;
    case RUN_PLOT_EPOCH:
        return point->epoch;
    case RUN_PLOT_TOKENS:
        return (double)point->tokens;
    case RUN_PLOT_TIME:
        break;
    }
    return (double)(point->unix_ms - MIN(point->unix_ms, start_unix_ms)) / 1000;
}

/* Steps that are computed again stand at their end alone. */
static size_t collect(const struct follow *follow, uint32_t variant,
                      const struct run_metric *metric, enum run_plot_x x, struct plot_point *out)
{
    const struct log_point *before = NULL;
    size_t count = 0;
    for (size_t i = 0; i < follow->point_count; i++) {
        const struct log_point *point = &follow->points[i];
        if (point->variant != variant)
            continue;
        if (point->is_eval == metric->is_eval) {
            struct plot_point at = {x_of(x, point, follow->started_unix_ms),
                                    metric->value(point, before)};
            while (count > 0 && out[count - 1].x >= at.x)
                count--;
            out[count++] = at;
        }
        before = point->is_eval ? before : point;
    }
    return count;
}

static bool has_values(const struct plot_point *points, size_t count, bool is_loss)
{
    for (size_t i = 0; i < count; i++) {
        if (isfinite(points[i].y))
            return true;
    }
    return is_loss && count > 0; /* a loss that is no number is not the same as none */
}

static void name_line(struct plot_line *line, const char *label, const char *variant,
                      const char *series)
{
    const char *parts[] = {label != NULL ? label : "", variant, series};
    size_t n = 0;
    line->name[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i][0] == '\0')
            continue;
        int used =
            snprintf(line->name + n, sizeof line->name - n, "%s%s", n > 0 ? " " : "", parts[i]);
        n = MIN(n + (size_t)MAX(used, 0), sizeof line->name - 1);
    }
}

static enum err add_line(struct run_plot *plot, const struct follow *follow, uint32_t variant,
                         const struct run_metric *metric, const char *label, enum run_plot_x x,
                         double weight, bool with_raw, struct err_text *et)
{
    struct plot *p = &plot->plot;
    struct plot_point *points = arena_alloc(&plot->arena, follow->point_count, sizeof *points);
    if (points == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = collect(follow, variant, metric, x, points);
    if (!has_values(points, count, strcmp(metric->word, "loss") == 0))
        return ERR_OK;
    if (p->line_count == PLOT_LINES_MAX)
        return error_set(et, ERR_LIMIT, "expected at most %d lines in a plot", PLOT_LINES_MAX);
    struct plot_line *line = &p->lines[p->line_count++];
    *line = (struct plot_line){.points = points, .count = count};
    name_line(line, label, follow->variant_count > 0 ? follow->variants[variant].name : "",
              metric->series);
    if (weight == 0 || metric->is_eval)
        return ERR_OK;
    struct plot_point *smooth = arena_alloc(&plot->arena, count, sizeof *smooth);
    if (smooth == NULL)
        return ERR_OUT_OF_MEMORY;
    plot_smooth(points, count, weight, smooth);
    line->points = smooth;
    line->raw = with_raw ? points : NULL;
    return ERR_OK;
}

enum err run_plot_add(struct run_plot *plot, const char *word, const struct follow *follow,
                      const char *label, enum run_plot_x x, double weight, bool with_raw,
                      struct err_text *et)
{
    static const char *const titles[] = {[RUN_PLOT_STEP] = "step",
                                         [RUN_PLOT_EPOCH] = "epoch",
                                         [RUN_PLOT_TOKENS] = "tokens",
                                         [RUN_PLOT_TIME] = "seconds"};
    const struct run_metric *metric;
    plot->plot.x_title = titles[x];
    plot->plot.x_is_whole = x == RUN_PLOT_STEP || x == RUN_PLOT_TOKENS;
    if (follow->point_count == 0)
        return ERR_OK;
    for (uint32_t v = 0; v < MAX(follow->variant_count, 1u); v++) {
        for (size_t m = 0; (metric = run_metric_at(m)) != NULL; m++) {
            if (strcmp(metric->word, word) == 0)
                TRY(add_line(plot, follow, v, metric, label, x, weight, with_raw, et));
        }
    }
    return ERR_OK;
}
