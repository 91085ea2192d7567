/* cmd_workers.c - `qctl workers`: who is there, and who shall leave. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/output.h"
#include "cli/render/human.h"
#include "cli/render/state_color.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/state.h"

static enum err print_workers(struct invocation *invocation, const struct msg_workers *workers)
{
    static const struct table_column columns[] = {
        {"NAME", TABLE_LEFT},     {"STATE", TABLE_LEFT},    {"TASK", TABLE_LEFT},
        {"THREADS", TABLE_RIGHT}, {"RSS", TABLE_RIGHT},     {"MEMORY", TABLE_RIGHT},
        {"ISA", TABLE_LEFT},      {"PROFILES", TABLE_LEFT}, {"DONE", TABLE_RIGHT},
        {"TOK/S", TABLE_RIGHT},   {"HEARD", TABLE_RIGHT},   {"PROVIDER", TABLE_LEFT},
        {"ENDS", TABLE_RIGHT},    {"DETAIL", TABLE_LEFT},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < workers->workers_count; i++) {
        const struct worker_row *row = &workers->workers[i];
        enum worker_state state = (enum worker_state)row->state;
        char text[HUMAN_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%.*s", TEXT_ARGS(row->name));
        table_cell(&table, 1, state_color_worker(state), "%s", state_worker_word(state));
        table_cell(&table, 2, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->task));
        table_cell(&table, 3, STYLE_PLAIN, "%u", row->threads);
        table_cell(&table, 4, STYLE_PLAIN, "%s", human_size(row->rss_bytes, text));
        table_cell(&table, 5, STYLE_PLAIN, "%s", human_size(row->memory_bytes, text));
        table_cell(&table, 6, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->isa));
        table_cell(&table, 7, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->profiles));
        table_cell(&table, 8, STYLE_PLAIN, "%" PRIu64, row->tasks_done);
        if (row->tokens_per_second > 0)
            table_cell(&table, 9, STYLE_PLAIN, "%.0f", row->tokens_per_second);
        table_cell(&table, 10, STYLE_PLAIN, "%s", human_duration(row->heartbeat_age, text));
        table_cell(&table, 11, STYLE_PLAIN, "%.*s%s%.*s", TEXT_ARGS(row->provider),
                   row->allocation.size > 0 ? ":" : "", TEXT_ARGS(row->allocation));
        if (row->ends_in > 0)
            table_cell(&table, 12, STYLE_PLAIN, "%s", human_duration(row->ends_in, text));
        table_cell(&table, 13, STYLE_DIM, "%.*s", TEXT_ARGS(row->detail));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

enum err cmd_workers(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    struct msg_workers_get get = {0};
    const union message_any *reply = NULL;
    enum err err = client_request(client, &message_type_msg_workers_get, &get,
                                  &message_type_msg_workers, &reply, et);
    if (err == ERR_OK && invocation->format != COMMAND_TABLE)
        err = output_rows(invocation, &message_type_worker_row, reply->workers.workers,
                          reply->workers.workers_count);
    else if (err == ERR_OK)
        err = print_workers(invocation, &reply->workers);
    client_close(&client);
    return err;
}

enum err cmd_workers_drain(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const char *reason = command_text(invocation, "reason");
    TRY(command_connect(invocation, &client, et));
    struct msg_worker_drain request = {
        .name = text_of(invocation->arguments[0]),
        .reason = text_of(reason != NULL ? reason : ""),
    };
    const union message_any *reply = NULL;
    enum err err = client_request(client, &message_type_msg_worker_drain, &request,
                                  &message_type_msg_status, &reply, et);
    if (err == ERR_OK)
        (void)fprintf(invocation->messages, "%s: drains\n", invocation->arguments[0]);
    client_close(&client);
    return err;
}
