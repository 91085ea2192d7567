/* cmd_graph.c - `qctl graph`: the stages of a job in lanes, as a history is drawn.
 *
 *     STATE  STAGE                      WHERE   TIME       DONE  DETAIL
 *     ok     ● prepare                  w1      2.0s        4/4  -
 *     ok     ├─● pack                   w1      0.3s        1/1  -
 *     ok     │ │ ● init[0..39]          -       0.1s      40/40  40 of them, 0.1s to 0.1s
 *     ok     │ ├─┴─● train[0..39]       -      3m10s  8000/8000  40 of them, 2m58s to 3m10s
 *     run    │ ├─● train[40]            2 wk   1m02s     51/200  -
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/graph_table.h"
#include "cli/command/output.h"
#include "cli/graph/graph_path.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/view/json_view.h"

enum { POLL_MS = 1000 };

/* As it may stand between quotes and on a terminal. */
static const char *name_of(const struct stage_row *row, char out[LIMIT_NAME_BYTES + 1])
{
    (void)snprintf(out, LIMIT_NAME_BYTES + 1, "%.*s", TEXT_ARGS(row->name));
    for (char *at = out; (at = strpbrk(at, "\"\\")) != NULL;)
        *at = '\'';
    return style_clean(out);
}

/* Names are quoted; both languages take the same edges. */
static void print_edges(struct invocation *invocation, const struct msg_job *job, bool dot)
{
    FILE *out = invocation->out;
    char name[LIMIT_NAME_BYTES + 1];
    (void)fprintf(out, "%s\n", dot ? "digraph job {" : "graph TD");
    for (uint32_t i = 0; i < job->stages_count; i++) {
        const struct stage_row *row = &job->stages[i];
        const char *word = state_stage_word((enum stage_state)row->state);
        struct stage_set needs = stage_set_of_row(row);
        (void)fprintf(out, dot ? "  s%u [label=\"%s\\n%s\"];\n" : "  s%u[\"%s %s\"]\n", i,
                      name_of(row, name), word);
        for (uint32_t n = 0; n < i; n++) {
            if (stage_set_has(needs, n))
                (void)fprintf(out, dot ? "  s%u -> s%u;\n" : "  s%u --> s%u\n", n, i);
        }
    }
    if (dot)
        (void)fprintf(out, "}\n");
}

static enum err print_rows(struct invocation *invocation, const struct msg_job *job)
{
    struct graph_step steps[LIMIT_JOB_STAGES];
    if (!command_flag(invocation, "critical"))
        return output_rows(invocation, &message_type_stage_row, job->stages, job->stages_count);
    uint32_t count = graph_path(job->stages, job->stages_count, steps);
    struct stage_row *rows = mem_alloc(count, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = job->stages[steps[i].stage];
    enum err err = output_rows(invocation, &message_type_stage_row, rows, count);
    mem_free(rows);
    return err;
}

static enum err print_job(struct invocation *invocation, const struct msg_job *job)
{
    bool dot = invocation->format == COMMAND_DOT || command_flag(invocation, "dot");
    if (invocation->json)
        return print_rows(invocation, job);
    if (dot || invocation->format == COMMAND_MERMAID || command_flag(invocation, "mermaid")) {
        print_edges(invocation, job, dot);
        return ERR_OK;
    }
    if (command_flag(invocation, "critical"))
        return graph_table_print_path(invocation, job);
    return graph_table_print(invocation, job, !command_flag(invocation, "all"));
}

/* What a change is told from. */
struct seen {
    uint32_t state[LIMIT_JOB_STAGES];
    uint64_t done[LIMIT_JOB_STAGES], running[LIMIT_JOB_STAGES];
    uint32_t count;
    uint64_t began_ms, drawn_ms;
};

/* A line, or a JSON value, for each stage whose state is another. */
static enum err print_changes(struct invocation *invocation, const struct msg_job *job,
                              const struct seen *seen)
{
    double seconds = (double)(exchange_now_ms() - seen->began_ms) / 1e3;
    for (uint32_t i = 0; i < job->stages_count; i++) {
        const struct stage_row *row = &job->stages[i];
        char since[HUMAN_BYTES], name[LIMIT_NAME_BYTES + 1];
        if (i < seen->count && seen->state[i] == row->state)
            continue;
        if (invocation->json) {
            struct json_write w;
            json_write_init(&w, JSON_WRITE_LINE, (size_t)1 << 20);
            json_view_object(&w, NULL, &message_type_stage_row, row);
            TRY(command_print_json(invocation, &w));
            continue;
        }
        (void)fprintf(invocation->out, "+%-6s  %-6s  %s  %" PRIu64 "/%" PRIu64 "\n",
                      human_duration(seconds, since),
                      state_stage_word((enum stage_state)row->state), name_of(row, name), row->done,
                      row->total);
    }
    return command_flush(invocation);
}

/* On a terminal in place, when anything changed or times went on. */
static enum err redraw(struct invocation *invocation, const struct msg_job *job, struct seen *seen)
{
    bool is_same = seen->count == job->stages_count;
    for (uint32_t i = 0; i < job->stages_count && is_same; i++) {
        const struct stage_row *row = &job->stages[i];
        is_same = seen->state[i] == row->state && seen->done[i] == row->done &&
                  seen->running[i] == row->running;
    }
    if (is_same && exchange_now_ms() < seen->drawn_ms + 5 * (uint64_t)POLL_MS)
        return ERR_OK;
    seen->drawn_ms = exchange_now_ms();
    (void)fprintf(invocation->out, "\x1b[H\x1b[2J");
    TRY(print_job(invocation, job));
    return command_flush(invocation);
}

static void remember(struct seen *seen, const struct msg_job *job)
{
    seen->count = MIN(job->stages_count, (uint32_t)LIMIT_JOB_STAGES);
    for (uint32_t i = 0; i < seen->count; i++) {
        seen->state[i] = job->stages[i].state;
        seen->done[i] = job->stages[i].done;
        seen->running[i] = job->stages[i].running;
    }
}

static enum err ask(struct client *client, const char *prefix, const struct msg_job **out,
                    struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(prefix), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    *out = &reply->job;
    return ERR_OK;
}

/* Until the job is over or a signal comes. */
static enum err watch(struct invocation *invocation, struct client *client, const char *prefix,
                      struct err_text *et)
{
    static const struct seen fresh = {.count = 0};
    struct seen seen = fresh;
    char id[17];
    uint64_t number;
    TRY(follow_find(client, prefix, &number, et));
    (void)snprintf(id, sizeof id, "%016" PRIx64, number);
    seen.began_ms = exchange_now_ms();
    follow_block_signals();
    for (;;) {
        const struct msg_job *job;
        TRY(ask(client, id, &job, et));
        if (invocation->style.terminal && !invocation->json)
            TRY(redraw(invocation, job, &seen));
        else
            TRY(print_changes(invocation, job, &seen));
        remember(&seen, job);
        if (state_job_is_terminal((enum job_state)job->row.state))
            return ERR_OK;
        int signal = follow_pause(POLL_MS);
        if (signal != 0) {
            invocation->exit_code = FOLLOW_SIGNAL_BASE + signal;
            return ERR_OK;
        }
    }
}

enum err cmd_graph(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const char *prefix = invocation->argument_count > 0 ? invocation->arguments[0] : "last";
    const struct msg_job *job = NULL;
    TRY(command_connect(invocation, &client, et));
    enum err err = command_flag(invocation, "watch") ? watch(invocation, client, prefix, et)
                                                     : ask(client, prefix, &job, et);
    if (err == ERR_OK && job != NULL)
        err = print_job(invocation, job);
    client_close(&client);
    return err;
}
