/* table.c - widths first, then lines. */
#include "cli/render/table.h"

#include <string.h>

#include "common/base/check.h"

enum { ARENA_BYTES_MAX = 256 << 20, ROWS_FIRST = 64, CELL_BYTES = 1024 };
enum { GAP = 2, LAST_COLUMN_MIN = 16, COLUMN_MIN = 10 };

void table_init(struct table *table, const struct table_column *columns, size_t column_count)
{
    ASSERT(column_count > 0 && column_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.columns = columns, .column_count = column_count};
    arena_init(&table->arena, ARENA_BYTES_MAX);
}

void table_fini(struct table *table)
{
    arena_fini(&table->arena);
}

static bool grow(struct table *table)
{
    size_t capacity = table->row_capacity == 0 ? ROWS_FIRST : 2 * table->row_capacity;
    struct table_cell *cells =
        arena_alloc(&table->arena, capacity, table->column_count * sizeof *cells);
    if (cells == NULL)
        return false;
    if (table->row_count > 0)
        memcpy(cells, table->cells, table->row_count * table->column_count * sizeof *cells);
    table->cells = cells;
    table->row_capacity = capacity;
    return true;
}

void table_row(struct table *table)
{
    if (table->err != ERR_OK)
        return;
    if (table->row_count == table->row_capacity && !grow(table)) {
        table->err = ERR_OUT_OF_MEMORY;
        return;
    }
    table->row_count++;
}

void table_cell(struct table *table, size_t column, enum style_color color, const char *format, ...)
{
    char text[CELL_BYTES];
    va_list args;
    ASSERT(column < table->column_count);
    if (table->err != ERR_OK)
        return;
    ASSERT(table->row_count > 0);
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = arena_copy_text(&table->arena, text_of(style_clean(text)));
    if (copy == NULL) {
        table->err = ERR_OUT_OF_MEMORY;
        return;
    }
    size_t at = (table->row_count - 1) * table->column_count + column;
    table->cells[at] = (struct table_cell){copy, color};
}

static const struct table_cell *cell_at(const struct table *table, size_t row, size_t column)
{
    return &table->cells[row * table->column_count + column];
}

static bool is_empty(const struct table_cell *cell)
{
    return cell->text == NULL || cell->text[0] == '\0' || strcmp(cell->text, "-") == 0;
}

/* Width of each column, 0 for one that vanishes; returns the last column that stays. */
static size_t measure(const struct table *table, bool with_header, size_t widths[TABLE_COLUMNS_MAX])
{
    size_t last = 0;
    for (size_t c = 0; c < table->column_count; c++) {
        size_t width = 0;
        for (size_t r = 0; r < table->row_count; r++) {
            const struct table_cell *cell = cell_at(table, r, c);
            if (!is_empty(cell))
                width = MAX(width, style_width(cell->text));
        }
        if (width == 0 && table->row_count > 0) {
            widths[c] = 0;
            continue;
        }
        widths[c] =
            MAX(MAX(width, (size_t)1), with_header ? style_width(table->columns[c].title) : 0);
        last = c;
    }
    return last;
}

/* Takes columns away until the lines fit: first from the last one, then from the widest texts. */
static void fit(const struct table *table, size_t room, size_t last,
                size_t widths[TABLE_COLUMNS_MAX])
{
    size_t used = 0;
    for (size_t c = 0; c <= last; c++)
        used += widths[c] > 0 ? widths[c] + (c < last ? GAP : 0) : 0;
    size_t spare = widths[last] - MIN(widths[last], (size_t)LAST_COLUMN_MIN);
    size_t over = used > room ? used - room : 0;
    widths[last] -= MIN(spare, over);
    for (over -= MIN(spare, over); over > 0; over--) {
        size_t widest = last;
        for (size_t c = 0; c <= last; c++) {
            if (table->columns[c].align == TABLE_LEFT && widths[c] > widths[widest])
                widest = c;
        }
        if (table->columns[widest].align != TABLE_LEFT || widths[widest] <= COLUMN_MIN)
            return;
        widths[widest]--;
    }
}

static void pad(FILE *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)fputc(' ', out);
}

static void print_line(const struct table *table, const struct style *style, size_t row,
                       bool is_header, const size_t *widths, size_t last, FILE *out)
{
    for (size_t c = 0; c <= last; c++) {
        if (widths[c] == 0)
            continue;
        struct table_cell cell = {table->columns[c].title, STYLE_DIM};
        char text[CELL_BYTES];
        if (!is_header)
            cell = *cell_at(table, row, c);
        (void)snprintf(text, sizeof text, "%s", !is_header && is_empty(&cell) ? "-" : cell.text);
        size_t padding = widths[c] - MIN(widths[c], style_width(style_cut(text, widths[c])));
        bool right = table->columns[c].align == TABLE_RIGHT;
        pad(out, right ? padding : 0);
        (void)fprintf(out, "%s%s%s", style_on(style, cell.color), text,
                      style_off(style, cell.color));
        if (c < last)
            pad(out, (right ? 0 : padding) + GAP);
    }
    (void)fputc('\n', out);
}

enum err table_print(const struct table *table, const struct style *style, bool with_header,
                     FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    TRY(table->err);
    size_t last = measure(table, with_header, widths);
    if (style->terminal)
        fit(table, style->width, last, widths);
    if (with_header)
        print_line(table, style, 0, true, widths, last, out);
    for (size_t r = 0; r < table->row_count; r++)
        print_line(table, style, r, false, widths, last, out);
    return ERR_OK;
}
