/* tensor_view_print.c - the view for people and for programs. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "cli/stats/histogram_view.h"
#include "cli/stats/tensor_view.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum { TOP_COLUMNS = 8, QUANTILES = 7 };

/* What is known of each column, and its values over the columns. */
enum vector { VECTOR_MIN, VECTOR_MAX, VECTOR_MAX_ABS, VECTOR_MEAN_ABS, VECTOR_RMS, VECTOR_COUNT };

static const struct {
    const char *title, *key;
} vectors[VECTOR_COUNT] = {{"min", "min"},
                           {"max", "max"},
                           {"max |x|", "max_abs"},
                           {"mean |x|", "mean_abs"},
                           {"rms x", "rms"}};

static const double quantiles[QUANTILES] = {0, 0.01, 0.25, 0.5, 0.75, 0.99, 1};

static bool has_vector(const struct statistics_site *site, enum vector vector)
{
    const void *const sources[VECTOR_COUNT] = {site->min, site->max, site->max_abs, site->sum_abs,
                                               site->sum_x2};
    return sources[vector] != NULL && site->tokens > 0 && site->columns > 0;
}

static double value_of(const struct statistics_site *site, enum vector vector, size_t column)
{
    switch (vector) {
    case VECTOR_MIN:
        return (double)site->min[column];
    case VECTOR_MAX:
        return (double)site->max[column];
    case VECTOR_MAX_ABS:
        return (double)site->max_abs[column];
    case VECTOR_MEAN_ABS:
        return site->sum_abs[column] / (double)site->tokens;
    case VECTOR_RMS:
        return sqrt(site->sum_x2[column] / (double)site->tokens);
    case VECTOR_COUNT:
        break;
    }
    return 0;
}

static int compare_f64(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum err find_quantiles(const struct statistics_site *site, enum vector vector,
                               double out[QUANTILES])
{
    size_t n = site->columns;
    double *sorted = mem_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t c = 0; c < n; c++)
        sorted[c] = value_of(site, vector, c);
    qsort(sorted, n, sizeof *sorted, compare_f64);
    for (size_t q = 0; q < QUANTILES; q++)
        out[q] = sorted[(size_t)(quantiles[q] * (double)(n - 1) + 0.5)];
    mem_free(sorted);
    return ERR_OK;
}

static enum err print_columns(const struct statistics_site *site, const struct style *style,
                              FILE *out)
{
    static const struct table_column columns[] = {
        {"COLUMNS", TABLE_LEFT}, {"LEAST", TABLE_RIGHT},   {"1%", TABLE_RIGHT},
        {"25%", TABLE_RIGHT},    {"50%", TABLE_RIGHT},     {"75%", TABLE_RIGHT},
        {"99%", TABLE_RIGHT},    {"LARGEST", TABLE_RIGHT},
    };
    struct table table;
    enum err err = ERR_OK;
    table_init(&table, columns, COUNT_OF(columns));
    for (unsigned v = 0; v < VECTOR_COUNT; v++) {
        double values[QUANTILES];
        if (!has_vector(site, (enum vector)v))
            continue;
        TRY_OUT(find_quantiles(site, (enum vector)v, values));
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%s", vectors[v].title);
        for (size_t q = 0; q < QUANTILES; q++)
            table_cell(&table, q + 1, STYLE_PLAIN, "%.4g", values[q]);
    }
    err = table_print(&table, style, true, out);
out:
    table_fini(&table);
    return err;
}

/* Columns of the largest sum of squares, descending; equals by column. Returns how many. */
static size_t top_columns(const struct statistics_site *site, size_t top[TOP_COLUMNS])
{
    size_t count = 0;
    for (size_t c = 0; site->sum_x2 != NULL && c < site->columns; c++) {
        size_t at = count;
        while (at > 0 && site->sum_x2[c] > site->sum_x2[top[at - 1]])
            at--;
        if (at == TOP_COLUMNS)
            continue;
        count = MIN(count + 1, (size_t)TOP_COLUMNS);
        for (size_t k = count - 1; k > at; k--)
            top[k] = top[k - 1];
        top[at] = c;
    }
    return count;
}

static double share_of(const struct statistics_site *site, size_t column)
{
    double sum = 0;
    for (size_t c = 0; c < site->columns; c++)
        sum += site->sum_x2[c];
    return sum > 0 ? site->sum_x2[column] / sum : 0;
}

static enum err print_importance(const struct statistics_site *site, const struct style *style,
                                 FILE *out)
{
    static const struct table_column columns[] = {
        {"IMPORTANT", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"RMS", TABLE_RIGHT},
        {"MIN", TABLE_RIGHT},       {"MAX", TABLE_RIGHT},
    };
    size_t top[TOP_COLUMNS], count = top_columns(site, top);
    struct table table;
    if (count == 0)
        return ERR_OK;
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < count; i++) {
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%zu", top[i]);
        table_cell(&table, 1, STYLE_PLAIN, "%.2f%%", 100 * share_of(site, top[i]));
        table_cell(&table, 2, STYLE_PLAIN, "%.4g", value_of(site, VECTOR_RMS, top[i]));
        if (site->min == NULL)
            continue;
        table_cell(&table, 3, STYLE_PLAIN, "%.4g", (double)site->min[top[i]]);
        table_cell(&table, 4, STYLE_PLAIN, "%.4g", (double)site->max[top[i]]);
    }
    (void)fputc('\n', out);
    enum err err = table_print(&table, style, true, out);
    table_fini(&table);
    return err;
}

static enum err print_clips(const struct tensor_view *view, const struct style *style, FILE *out)
{
    static const struct table_column columns[] = {
        {"OBSERVER", TABLE_LEFT},   {"CLIP", TABLE_RIGHT},    {"SCALE", TABLE_RIGHT},
        {"RMS_ERROR", TABLE_RIGHT}, {"CLIPPED", TABLE_RIGHT},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        const struct tensor_view_clip *clip = &view->clips[m];
        if (!isfinite(clip->limit))
            continue;
        table_row(&table);
        table_cell(&table, 0, clip->is_chosen ? STYLE_GOOD : STYLE_PLAIN, "%s%s",
                   range_search_name(clip->method), clip->is_chosen ? " (chosen)" : "");
        table_cell(&table, 1, STYLE_PLAIN, "%.4g", clip->limit);
        table_cell(&table, 2, STYLE_PLAIN, "%.4g", clip->scale);
        table_cell(&table, 3, STYLE_PLAIN, "%.4g", sqrt(clip->error.mean_square));
        table_cell(&table, 4, STYLE_PLAIN, "%.4f%%", 100 * clip->error.clipped);
    }
    (void)fputc('\n', out);
    enum err err = table_print(&table, style, true, out);
    table_fini(&table);
    return err;
}

static enum err print_histogram(const struct tensor_view *view, const struct style *style,
                                FILE *out)
{
    struct histogram_view_mark marks[RANGE_SEARCH_METHOD_COUNT];
    struct histogram_view bars;
    TRY(histogram_view_init(&bars, &view->row->site->histogram, HISTOGRAM_VIEW_ROWS));
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        const struct tensor_view_clip *clip = &view->clips[m];
        marks[m] = (struct histogram_view_mark){range_search_name(clip->method), clip->limit,
                                                clip->is_chosen};
    }
    (void)fprintf(out, "\n%s|x| of the input; bars grow with the logarithm of the count%s\n",
                  style_on(style, STYLE_DIM), style_off(style, STYLE_DIM));
    histogram_view_print(&bars, marks, COUNT_OF(marks), style, out);
    return print_clips(view, style, out);
}

static void print_figure(const struct figure *f, FILE *out)
{
    char size[HUMAN_BYTES], a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES], d[HUMAN_BYTES];
    (void)fprintf(out, "tensor  %.*s  %" PRIu64 " x %" PRIu64 ", %.*s, %.2f bits a weight, %s\n",
                  TEXT_ARGS(f->name), f->rows, f->columns, TEXT_ARGS(f->format), f->bits,
                  human_size(f->size_bytes, size));
    (void)fprintf(out, "error   relative %s, weighted %s, largest %s, of outputs %s\n",
                  human_number(f->relative, a), human_number(f->weighted, b),
                  human_number(f->largest, c), human_number(f->output, d));
}

enum err tensor_view_print(const struct tensor_view *view, const struct style *style, FILE *out)
{
    const struct overview_row *row = view->row;
    char text[HUMAN_BYTES];
    if (row->figure != NULL)
        print_figure(row->figure, out);
    else
        (void)fprintf(out, "tensor  %.*s  not quantized (yet)\n", TEXT_ARGS(row->name));
    if (row->site == NULL) {
        (void)fprintf(out, "input   no statistics: the job took none, or not of this one\n");
        return ERR_OK;
    }
    (void)fprintf(out, "input   %.*s  %" PRIu64 " columns, %s tokens\n", TEXT_ARGS(row->site->name),
                  row->seen.columns, human_count(row->seen.tokens, text));
    (void)fprintf(out, "range   %.4g to %.4g, mean |x| %.4g, outlier %.3g, spread %.3g\n\n",
                  row->seen.min, row->seen.max, row->seen.mean_abs, row->seen.outlier,
                  row->seen.spread);
    TRY(print_columns(row->site, style, out));
    TRY(print_importance(row->site, style, out));
    if (view->has_histogram)
        return print_histogram(view, style, out);
    (void)fprintf(out, "\nno histogram: a recipe with `activations: static` below quantize: "
                       "records it\n");
    return ERR_OK;
}

/* ---- for programs ---- */

static void write_columns(const struct statistics_site *site, struct json_write *w)
{
    json_write_object_begin(w, "columns");
    for (unsigned v = 0; v < VECTOR_COUNT; v++) {
        double values[QUANTILES];
        if (!has_vector(site, (enum vector)v) ||
            find_quantiles(site, (enum vector)v, values) != ERR_OK)
            continue;
        json_write_array_begin(w, vectors[v].key);
        for (size_t q = 0; q < QUANTILES; q++)
            overview_write_number(w, NULL, values[q]);
        json_write_array_end(w);
    }
    json_write_array_begin(w, "quantiles");
    for (size_t q = 0; q < QUANTILES; q++)
        json_write_f64(w, NULL, quantiles[q]);
    json_write_array_end(w);
    json_write_object_end(w);
}

static void write_importance(const struct statistics_site *site, struct json_write *w)
{
    size_t top[TOP_COLUMNS], count = top_columns(site, top);
    json_write_array_begin(w, "importance");
    for (size_t i = 0; i < count; i++) {
        json_write_object_begin(w, NULL);
        json_write_u64(w, "column", top[i]);
        json_write_f64(w, "share", share_of(site, top[i]));
        json_write_f64(w, "rms", value_of(site, VECTOR_RMS, top[i]));
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_clips(const struct tensor_view *view, struct json_write *w)
{
    json_write_array_begin(w, "clips");
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        const struct tensor_view_clip *clip = &view->clips[m];
        if (!isfinite(clip->limit))
            continue;
        json_write_object_begin(w, NULL);
        json_write_text(w, "observer", text_of(range_search_name(clip->method)));
        json_write_f64(w, "clip", clip->limit);
        json_write_f64(w, "scale", clip->scale);
        overview_write_number(w, "mean_square",
                              view->has_histogram ? clip->error.mean_square : (double)NAN);
        overview_write_number(w, "clipped",
                              view->has_histogram ? clip->error.clipped : (double)NAN);
        json_write_bool(w, "chosen", clip->is_chosen);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_histogram(const struct histogram *h, struct json_write *w)
{
    struct histogram_view bars;
    if (histogram_view_init(&bars, h, HISTOGRAM_VIEW_ROWS) != ERR_OK) {
        json_write_null(w, "histogram");
        return;
    }
    json_write_object_begin(w, "histogram");
    json_write_f64(w, "step", bars.step);
    json_write_array_begin(w, "counts");
    for (size_t i = 0; i < bars.rows; i++)
        json_write_u64(w, NULL, bars.counts[i]);
    json_write_array_end(w);
    json_write_object_end(w);
}

void tensor_view_write(const struct tensor_view *view, struct json_write *w)
{
    const struct overview_row *row = view->row;
    json_write_object_begin(w, NULL);
    json_write_text(w, "name", row->name);
    if (row->figure != NULL)
        overview_write_figure(row->figure, "figures", w);
    else
        json_write_null(w, "figures");
    if (row->site != NULL) {
        overview_write_site(row->site, "input", w);
        write_columns(row->site, w);
        write_importance(row->site, w);
        write_clips(view, w);
    } else {
        json_write_null(w, "input");
    }
    if (view->has_histogram)
        write_histogram(&row->site->histogram, w);
    else
        json_write_null(w, "histogram");
    json_write_object_end(w);
}
