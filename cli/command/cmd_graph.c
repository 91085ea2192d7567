/* cmd_graph.c - `qctl graph`: the stages of a job in lanes, as a history is drawn.
 *
 *     STATE  STAGE         WHERE   TIME    DONE  DETAIL
 *     ok     ● prepare     w1      2.0s     4/4  -
 *     ok     └─● pack      w1      0.3s     1/1  -
 *     ok     │ ● init      w1      0.1s     1/1  -
 *     run    └─┴─● train   2 wk   3m10s  51/200  -
 *     wait   └─● export    -          -     0/1  needs train
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/stage_note.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/stage_set.h"
#include "common/message/state.h"
#include "common/view/json_view.h"

enum { LANES_MAX = 16, LANE_BYTES = 8 * LANES_MAX };

/* A lane that goes by, one that feeds the node and goes on or ends; the same right of a lane that
 * feeds the node; the node. */
struct glyphs {
    const char *pass, *feed, *end;
    const char *pass_over, *feed_over, *end_over;
    const char *node;
};

static const struct glyphs unicode_glyphs = {"│ ", "├─", "└─", "│─", "┼─", "┴─", "● "};
static const struct glyphs ascii_glyphs = {"| ", "|-", "`-", "|-", "+-", "`-", "* "};

/* A lane is a stage that later stages still wait for. */
struct lanes {
    uint32_t stage[LANES_MAX];
    size_t count;
};

static bool needs(const struct stage_row *row, uint32_t index)
{
    return stage_set_has(stage_set_of_row(row), index);
}

/* Whether a stage after `from` needs `index`. */
static bool needed_later(const struct stage_row *rows, uint32_t count, uint32_t from,
                         uint32_t index)
{
    for (uint32_t i = from; i < count; i++) {
        if (needs(&rows[i], index))
            return true;
    }
    return false;
}

static void append(char *out, size_t size, const char *text)
{
    size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "%s", text);
}

/* The lanes left of stage `i`, its node, and the lanes after it. */
static void draw(const struct stage_row *rows, uint32_t count, uint32_t i, struct lanes *lanes,
                 const struct glyphs *glyphs, char out[LANE_BYTES])
{
    struct lanes next = {.count = 0};
    bool joined = false;
    out[0] = '\0';
    for (size_t l = 0; l < lanes->count; l++) {
        bool goes_on = needed_later(rows, count, i + 1, lanes->stage[l]);
        bool feeds = needs(&rows[i], lanes->stage[l]);
        const char *glyph = joined ? glyphs->pass_over : glyphs->pass;
        if (feeds && goes_on)
            glyph = joined ? glyphs->feed_over : glyphs->feed;
        else if (feeds)
            glyph = joined ? glyphs->end_over : glyphs->end;
        joined = joined || feeds;
        append(out, LANE_BYTES, glyph);
        if (goes_on)
            next.stage[next.count++] = lanes->stage[l];
    }
    append(out, LANE_BYTES, glyphs->node);
    if (needed_later(rows, count, i + 1, i) && next.count < LANES_MAX)
        next.stage[next.count++] = i;
    *lanes = next;
}

static enum style_color color_of(enum stage_state state)
{
    switch (state) {
    case STAGE_DONE:
        return STYLE_GOOD;
    case STAGE_FAILED:
        return STYLE_BAD;
    case STAGE_RUNNING:
        return STYLE_BUSY;
    case STAGE_WAITING:
    case STAGE_CANCELLED:
    case STAGE_STATE_COUNT:
        break;
    }
    return STYLE_DIM;
}

static enum err print_lanes(struct invocation *invocation, const struct msg_job *job)
{
    static const struct table_column columns[] = {
        {"STATE", TABLE_LEFT}, {"STAGE", TABLE_LEFT}, {"WHERE", TABLE_LEFT},
        {"TIME", TABLE_RIGHT}, {"DONE", TABLE_RIGHT}, {"DETAIL", TABLE_LEFT},
    };
    const struct glyphs *glyphs = invocation->style.unicode ? &unicode_glyphs : &ascii_glyphs;
    struct lanes lanes = {.count = 0};
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < job->stages_count; i++) {
        const struct stage_row *row = &job->stages[i];
        enum stage_state state = (enum stage_state)row->state;
        char lane[LANE_BYTES], text[HUMAN_BYTES], note[STAGE_NOTE_BYTES];
        draw(job->stages, job->stages_count, i, &lanes, glyphs, lane);
        table_row(&table);
        table_cell(&table, 0, color_of(state), "%s", state_stage_word(state));
        table_cell(&table, 1, STYLE_PLAIN, "%s%.*s", lane, TEXT_ARGS(row->name));
        table_cell(&table, 2, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->where));
        if (row->seconds > 0)
            table_cell(&table, 3, STYLE_PLAIN, "%s", human_duration(row->seconds, text));
        if (row->total > 0)
            table_cell(&table, 4, STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, row->done, row->total);
        (void)stage_note(row, note);
        table_cell(&table, 5, STYLE_DIM, "%.*s%s%s", TEXT_ARGS(row->detail),
                   row->detail.size > 0 && note[0] != '\0' ? "; " : "", note);
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

/* Names are quoted; both languages take the same edges. */
static void print_edges(struct invocation *invocation, const struct msg_job *job, bool dot)
{
    FILE *out = invocation->out;
    (void)fprintf(out, "%s\n", dot ? "digraph job {" : "graph TD");
    for (uint32_t i = 0; i < job->stages_count; i++) {
        const struct stage_row *row = &job->stages[i];
        const char *word = state_stage_word((enum stage_state)row->state);
        (void)fprintf(out, dot ? "  s%u [label=\"%.*s\\n%s\"];\n" : "  s%u[\"%.*s %s\"]\n", i,
                      TEXT_ARGS(row->name), word);
        for (uint32_t n = 0; n < i; n++) {
            if (needs(row, n))
                (void)fprintf(out, dot ? "  s%u -> s%u;\n" : "  s%u --> s%u\n", n, i);
        }
    }
    if (dot)
        (void)fprintf(out, "}\n");
}

enum err cmd_graph(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    struct msg_job_get get = {
        .prefix = text_of(invocation->argument_count > 0 ? invocation->arguments[0] : "last"),
        .points_after = UINT64_MAX,
    };
    const union message_any *reply = NULL;
    enum err err =
        client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et);
    if (err != ERR_OK) {
        client_close(&client);
        return err;
    }
    if (invocation->json) {
        struct json_write w;
        json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 26);
        json_view_list(&w, NULL, &message_type_stage_row, reply->job.stages,
                       reply->job.stages_count);
        err = command_print_json(invocation, &w);
    } else if (command_flag(invocation, "dot") || command_flag(invocation, "mermaid")) {
        print_edges(invocation, &reply->job, command_flag(invocation, "dot"));
    } else {
        err = print_lanes(invocation, &reply->job);
    }
    client_close(&client);
    return err;
}
