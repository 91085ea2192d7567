/* table.h - aligned tables: one header, no borders, columns that are empty everywhere vanish.
 *
 *     ID       NAME   STATE   DONE
 *     9c41e2b  tiny   run   120/200
 *
 * Cells are copied. An empty cell prints as "-". On a terminal that has no room for a line texts
 * are cut and end in "+": first those of the last column, then the longest.
 */
#ifndef CLI_RENDER_TABLE_H
#define CLI_RENDER_TABLE_H

#include <stdio.h>

#include "cli/render/style.h"
#include "common/base/error.h"
#include "common/mem/arena.h"

enum { TABLE_COLUMNS_MAX = 16 };

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table_column {
    const char *title; /* borrowed */
    enum table_align align;
};

struct table_cell {
    const char *text;
    enum style_color color;
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    struct table_cell *cells; /* in the arena, row after row */
    size_t row_count;
    size_t row_capacity;
    struct arena arena; /* owned */
    enum err err;       /* first failure */
};

void table_init(struct table *table, const struct table_column *columns, size_t column_count);
void table_fini(struct table *table);

/* Starts a row of empty cells. */
void table_row(struct table *table);

/* Sets a cell of the last row; control characters become "?". */
void table_cell(struct table *table, size_t column, enum style_color color, const char *format, ...)
    PRINTF(4, 5);

/* Prints everything. ERR_OUT_OF_MEMORY when a row could not be kept. */
MUST_CHECK enum err table_print(const struct table *table, const struct style *style,
                                bool with_header, FILE *out);

#endif
