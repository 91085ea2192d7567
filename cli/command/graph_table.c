/* graph_table.c - widths of the other columns first, then as many lanes and letters as are left. */
#include "cli/command/graph_table.h"

#include <inttypes.h>
#include <string.h>

#include "cli/command/stage_note.h"
#include "cli/graph/graph_lanes.h"
#include "cli/graph/graph_path.h"
#include "cli/render/human.h"
#include "cli/render/state_color.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/state.h"

#define ARENA_BYTES_MAX ((size_t)4 << 20)
enum { CELL_BYTES = 1024, GAP = 2, WHERE_COLUMNS_MAX = 16, STAGE_COLUMNS_MIN = 18 };
enum { NAME_COLUMNS_MIN = 12, DETAIL_COLUMNS = 16 };

static const struct table_column columns[] = {
    {"STATE", TABLE_LEFT}, {"STAGE", TABLE_LEFT}, {"WHERE", TABLE_LEFT},
    {"TIME", TABLE_RIGHT}, {"DONE", TABLE_RIGHT}, {"DETAIL", TABLE_LEFT},
};

/* The cells beside the stage's name. */
struct cells {
    char where[CELL_BYTES], time[HUMAN_BYTES], done[CELL_BYTES], detail[CELL_BYTES];
};

static void print_where(const struct graph_line *line, char out[CELL_BYTES])
{
    out[0] = '\0';
    if (line->count == 1)
        (void)snprintf(out, CELL_BYTES, "%.*s", TEXT_ARGS(line->row->where));
    else if (line->running > 0)
        (void)snprintf(out, CELL_BYTES, "%" PRIu64 " attempts", line->running);
    (void)style_cut(out, WHERE_COLUMNS_MAX);
}

static void print_detail(const struct graph_line *line, char out[CELL_BYTES])
{
    const struct stage_row *row = line->row;
    char note[STAGE_NOTE_BYTES], shortest[HUMAN_BYTES], longest[HUMAN_BYTES];
    (void)stage_note(row, note);
    if (line->count > 1 && line->seconds > 0)
        (void)snprintf(out, CELL_BYTES, "%u of them, %s to %s", line->count,
                       human_duration(line->seconds_min, shortest),
                       human_duration(line->seconds, longest));
    else if (line->count > 1)
        (void)snprintf(out, CELL_BYTES, "%u of them", line->count);
    else
        (void)snprintf(out, CELL_BYTES, "%.*s%s%s", TEXT_ARGS(row->detail),
                       row->detail.size > 0 && note[0] != '\0' ? "; " : "", note);
}

static void fill_cells(const struct graph_line *line, struct cells *out)
{
    out->time[0] = out->done[0] = '\0';
    print_where(line, out->where);
    print_detail(line, out->detail);
    if (line->seconds > 0)
        (void)human_duration(line->seconds, out->time);
    if (line->total > 0)
        (void)snprintf(out->done, sizeof out->done, "%" PRIu64 "/%" PRIu64, line->done,
                       line->total);
}

/* What is left for the lanes and the name, beside the widest cells of the others. */
static size_t stage_room(const struct graph *graph, size_t width)
{
    size_t where = 0, time = 0, done = 0, state = 0;
    for (uint32_t i = 0; i < graph->count; i++) {
        struct cells cells;
        fill_cells(&graph->lines[i], &cells);
        where = MAX(where, style_width(cells.where));
        time = MAX(time, style_width(cells.time));
        done = MAX(done, style_width(cells.done));
        state = MAX(state, strlen(state_stage_word((enum stage_state)graph->lines[i].row->state)));
    }
    size_t used = MAX(state, strlen("STATE")) + DETAIL_COLUMNS + 2 * (size_t)GAP;
    used += where > 0 ? MAX(where, strlen("WHERE")) + GAP : 0;
    used += time > 0 ? MAX(time, strlen("TIME")) + GAP : 0;
    used += done > 0 ? MAX(done, strlen("DONE")) + GAP : 0;
    return MAX(width, used + STAGE_COLUMNS_MIN) - used;
}

/* The name in `room` columns: the kind with the number of its variant where it is longer, else cut.
 */
static void fit_name(const struct graph_line *line, size_t room, char out[CELL_BYTES])
{
    (void)snprintf(out, CELL_BYTES, "%s", line->name);
    if (style_width(out) > room && line->count == 1)
        (void)snprintf(out, CELL_BYTES, "%s[%u]", state_kind_word((enum stage_kind)line->row->kind),
                       line->row->variant);
    (void)style_cut(out, room);
}

static enum err print_graph(struct invocation *invocation, const struct graph *graph)
{
    struct table table;
    struct graph_lanes lanes;
    size_t room = stage_room(graph, invocation->style.width);
    uint32_t shown = (uint32_t)(room - NAME_COLUMNS_MIN) / 2 - 1;
    graph_lanes_init(&lanes, graph, shown, invocation->style.unicode);
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < graph->count; i++) {
        const struct graph_line *line = &graph->lines[i];
        enum stage_state state = (enum stage_state)line->row->state;
        char lane[GRAPH_LANES_BYTES], name[CELL_BYTES];
        struct cells cells;
        fill_cells(line, &cells);
        size_t used = graph_lanes_next(&lanes, lane);
        fit_name(line, room - used, name);
        table_row(&table);
        table_cell(&table, 0, state_color_stage(state), "%s", state_stage_word(state));
        table_cell(&table, 1, STYLE_PLAIN, "%s%s", lane, name);
        table_cell(&table, 2, STYLE_PLAIN, "%s", cells.where);
        table_cell(&table, 3, STYLE_PLAIN, "%s", cells.time);
        table_cell(&table, 4, STYLE_PLAIN, "%s", cells.done);
        table_cell(&table, 5, STYLE_DIM, "%s", cells.detail);
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

enum err graph_table_print(struct invocation *invocation, const struct msg_job *job, bool folds)
{
    struct arena arena;
    struct graph graph;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err = graph_build(job->stages, job->stages_count, folds, &arena, &graph);
    if (err == ERR_OK)
        err = print_graph(invocation, &graph);
    arena_fini(&arena);
    return err;
}

enum err graph_table_print_path(struct invocation *invocation, const struct msg_job *job)
{
    struct graph_step steps[LIMIT_JOB_STAGES];
    struct table table;
    double total[GRAPH_UNKNOWN + 1] = {0};
    uint32_t unknown = 0, count = graph_path(job->stages, job->stages_count, steps);
    char text[HUMAN_BYTES], more[HUMAN_BYTES];
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < count; i++) {
        const struct stage_row *row = &job->stages[steps[i].stage];
        enum stage_state state = (enum stage_state)row->state;
        bool is_estimate = steps[i].time == GRAPH_ESTIMATED;
        total[steps[i].time] += steps[i].seconds;
        unknown += steps[i].time == GRAPH_UNKNOWN;
        table_row(&table);
        table_cell(&table, 0, state_color_stage(state), "%s", state_stage_word(state));
        table_cell(&table, 1, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->name));
        table_cell(&table, 2, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->where));
        if (steps[i].time != GRAPH_UNKNOWN || steps[i].seconds > 0)
            table_cell(&table, 3, STYLE_PLAIN, "%s%s", is_estimate ? "~" : "",
                       human_duration(steps[i].seconds, text));
        if (row->total > 0)
            table_cell(&table, 4, STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, row->done, row->total);
        table_cell(&table, 5, STYLE_DIM, "%.*s", TEXT_ARGS(row->detail));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    (void)fprintf(invocation->out, "measured %s, estimated %s",
                  human_duration(total[GRAPH_MEASURED] + total[GRAPH_UNKNOWN], text),
                  human_duration(total[GRAPH_ESTIMATED], more));
    if (unknown > 0)
        (void)fprintf(invocation->out, ", not known yet: %u of %u stages", unknown, count);
    (void)fputc('\n', invocation->out);
    return err;
}
