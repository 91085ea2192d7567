/* overview_print.c - the overview for people and for programs. */
#include <inttypes.h>
#include <math.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "cli/stats/overview.h"
#include "common/base/check.h"

static void number_cell(struct table *table, size_t column, double value)
{
    char text[HUMAN_BYTES];
    table_cell(table, column, STYLE_PLAIN, "%s", human_number(value, text));
}

/* Three digits are enough for a range. */
static void short_cell(struct table *table, size_t column, double value)
{
    if (isfinite(value))
        table_cell(table, column, STYLE_PLAIN, "%.3g", value);
}

static void add_row(struct table *table, const struct overview_row *row)
{
    const struct figure *f = row->figure;
    char text[HUMAN_BYTES];
    table_row(table);
    table_cell(table, 0, STYLE_BOLD, "%.*s", TEXT_ARGS(row->name));
    if (f != NULL) {
        table_cell(table, 1, STYLE_PLAIN, "%" PRIu64, f->columns);
        table_cell(table, 8, STYLE_PLAIN, "%.*s", TEXT_ARGS(f->format));
        table_cell(table, 9, STYLE_PLAIN, "%.2f", f->bits);
        number_cell(table, 10, f->relative);
        number_cell(table, 11, f->weighted);
        number_cell(table, 12, f->output);
    }
    if (row->site == NULL)
        return;
    table_cell(table, 1, STYLE_PLAIN, "%" PRIu64, row->seen.columns);
    table_cell(table, 2, STYLE_PLAIN, "%s", human_count(row->seen.tokens, text));
    short_cell(table, 3, row->seen.min);
    short_cell(table, 4, row->seen.max);
    short_cell(table, 5, row->seen.mean_abs);
    short_cell(table, 6, row->seen.outlier);
    short_cell(table, 7, row->seen.spread);
}

enum err overview_print(const struct overview *overview, size_t top, const struct style *style,
                        bool with_header, FILE *out)
{
    static const struct table_column columns[] = {
        {"TENSOR", TABLE_LEFT},   {"COLUMNS", TABLE_RIGHT}, {"TOKENS", TABLE_RIGHT},
        {"MIN", TABLE_RIGHT},     {"MAX", TABLE_RIGHT},     {"MEAN|X|", TABLE_RIGHT},
        {"OUTLIER", TABLE_RIGHT}, {"SPREAD", TABLE_RIGHT},  {"FORMAT", TABLE_LEFT},
        {"BITS", TABLE_RIGHT},    {"ERROR", TABLE_RIGHT},   {"WEIGHTED", TABLE_RIGHT},
        {"OUTPUT", TABLE_RIGHT},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < MIN(top, overview->count); i++)
        add_row(&table, &overview->rows[i]);
    enum err err = table_print(&table, style, with_header, out);
    table_fini(&table);
    return err;
}

void overview_write_number(struct json_write *w, const char *key, double value)
{
    if (isfinite(value))
        json_write_f64(w, key, value);
    else
        json_write_null(w, key);
}

void overview_write_figure(const struct figure *f, const char *key, struct json_write *w)
{
    json_write_object_begin(w, key);
    json_write_text(w, "name", f->name);
    json_write_text(w, "module", text_of(f->place.module));
    if (f->place.in_layer)
        json_write_u64(w, "layer", f->place.layer);
    else
        json_write_null(w, "layer");
    json_write_text(w, "format", f->format);
    json_write_u64(w, "rows", f->rows);
    json_write_u64(w, "columns", f->columns);
    json_write_u64(w, "size_bytes", f->size_bytes);
    overview_write_number(w, "bits_per_weight", f->bits);
    overview_write_number(w, "relative_error", f->relative);
    overview_write_number(w, "weighted_error", f->weighted);
    overview_write_number(w, "max_error", f->largest);
    overview_write_number(w, "output_error", f->output);
    json_write_object_end(w);
}

void overview_write_site(const struct statistics_site *site, const char *key, struct json_write *w)
{
    struct overview_site seen = overview_site_of(site);
    json_write_object_begin(w, key);
    json_write_text(w, "name", site->name);
    json_write_u64(w, "columns", seen.columns);
    json_write_u64(w, "tokens", seen.tokens);
    overview_write_number(w, "min", seen.min);
    overview_write_number(w, "max", seen.max);
    overview_write_number(w, "mean_abs", seen.mean_abs);
    overview_write_number(w, "outlier", seen.outlier);
    overview_write_number(w, "spread", seen.spread);
    json_write_object_end(w);
}

void overview_write(const struct overview *overview, size_t top, struct json_write *w)
{
    size_t count = MIN(top, overview->count);
    json_write_array_begin(w, "tensors");
    for (size_t i = 0; i < count; i++) {
        const struct overview_row *row = &overview->rows[i];
        json_write_object_begin(w, NULL);
        json_write_text(w, "name", row->name);
        if (row->figure != NULL)
            overview_write_figure(row->figure, "figures", w);
        else
            json_write_null(w, "figures");
        if (row->site != NULL)
            overview_write_site(row->site, "input", w);
        else
            json_write_null(w, "input");
        json_write_object_end(w);
    }
    json_write_array_end(w);
}
