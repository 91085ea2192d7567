/* cmd_scale.c - `qctl workers scale` and `qctl workers providers`: how many workers there shall be,
 * and where they come from.
 *
 * A target is durable when the coordinator has taken it. What came of it is waited for here, and
 * ends nothing: the coordinator goes on with or without somebody who looks on.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/output.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/recipe/recipe_value.h"

enum { POLL_MS = 100 };

static enum style_color color_of(struct text state)
{
    if (text_is(state, "paused") || text_is(state, "unknown"))
        return STYLE_BAD;
    return text_is(state, "ok") ? STYLE_GOOD : STYLE_BUSY;
}

static void add_provider(struct table *table, const struct provider_row *row)
{
    table_row(table);
    table_cell(table, 0, STYLE_BOLD, "%.*s", TEXT_ARGS(row->name));
    table_cell(table, 1, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->kind));
    table_cell(table, 2, STYLE_PLAIN, "%u", row->min);
    table_cell(table, 3, STYLE_PLAIN, "%u", row->max);
    table_cell(table, 4, STYLE_PLAIN, row->is_auto ? "%u auto" : "%u", row->target);
    table_cell(table, 5, STYLE_PLAIN, "%u", row->running);
    table_cell(table, 6, STYLE_PLAIN, "%u", row->waiting);
    if (row->leaving > 0)
        table_cell(table, 7, STYLE_PLAIN, "%u", row->leaving);
    table_cell(table, 8, color_of(row->state), "%.*s", TEXT_ARGS(row->state));
    table_cell(table, 9, STYLE_DIM, "%.*s", TEXT_ARGS(row->detail));
}

static enum err print_providers(struct invocation *invocation, const struct msg_providers *reply)
{
    static const struct table_column columns[] = {
        {"NAME", TABLE_LEFT},     {"KIND", TABLE_LEFT},     {"MIN", TABLE_RIGHT},
        {"MAX", TABLE_RIGHT},     {"TARGET", TABLE_LEFT},   {"RUNNING", TABLE_RIGHT},
        {"WAITING", TABLE_RIGHT}, {"LEAVING", TABLE_RIGHT}, {"STATE", TABLE_LEFT},
        {"DETAIL", TABLE_LEFT},
    };
    if (invocation->format != COMMAND_TABLE)
        return output_rows(invocation, &message_type_provider_row, reply->providers,
                           reply->providers_count);
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < reply->providers_count; i++)
        add_provider(&table, &reply->providers[i]);
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static struct text first_line(struct text text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '\n')
        size++;
    return (struct text){text.data, size};
}

/* A command with lines of its own, such as a script, whole and as it could be typed. */
static void print_script(FILE *out, struct text text)
{
    while (first_line(text).size < text.size) {
        struct text line = first_line(text);
        char clean[LIMIT_TEXT_BYTES + 1];
        (void)snprintf(clean, sizeof clean, "%.*s", TEXT_ARGS(line));
        (void)fprintf(out, "    %s\n", style_clean(clean));
        text = (struct text){text.data + line.size + 1, text.size - line.size - 1};
    }
}

static enum err print_lines(struct invocation *invocation, const struct msg_providers *reply)
{
    static const struct table_column columns[] = {
        {"PROVIDER", TABLE_LEFT}, {"ACTION", TABLE_LEFT}, {"COUNT", TABLE_RIGHT},
        {"WHAT", TABLE_LEFT},     {"DETAIL", TABLE_LEFT},
    };
    if (invocation->format != COMMAND_TABLE)
        return output_rows(invocation, &message_type_scale_line, reply->lines, reply->lines_count);
    if (reply->lines_count == 0) {
        (void)fprintf(invocation->messages, "nothing would be started, cancelled or drained\n");
        return ERR_OK;
    }
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < reply->lines_count; i++) {
        const struct scale_line *line = &reply->lines[i];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%.*s", TEXT_ARGS(line->provider));
        table_cell(&table, 1, STYLE_PLAIN, "%.*s", TEXT_ARGS(line->action));
        table_cell(&table, 2, STYLE_PLAIN, "%u", line->count);
        table_cell(&table, 3, STYLE_PLAIN, "%.*s", TEXT_ARGS(line->what));
        table_cell(&table, 4, STYLE_DIM, "%.*s", TEXT_ARGS(first_line(line->detail)));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    for (uint32_t i = 0; i < reply->lines_count; i++)
        print_script(invocation->out, reply->lines[i].detail);
    return err;
}

static enum err ask_providers(struct client *client, const struct msg_providers **out,
                              struct err_text *et)
{
    struct msg_providers_get get = {0};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_providers_get, &get, &message_type_msg_providers,
                       &reply, et));
    *out = &reply->providers;
    return ERR_OK;
}

enum err cmd_workers_providers(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const struct msg_providers *reply;
    TRY(command_connect(invocation, &client, et));
    enum err err = ask_providers(client, &reply, et);
    if (err == ERR_OK)
        err = print_providers(invocation, reply);
    client_close(&client);
    return err;
}

static bool read_count(struct text text, uint32_t *out)
{
    uint64_t count;
    if (!recipe_value_u64(text, &count) || count > LIMIT_WORKERS)
        return false;
    *out = (uint32_t)count;
    return true;
}

/* N, auto, MIN..MAX. */
static bool read_target(const char *word, struct msg_scale *request)
{
    const char *dots = strstr(word, "..");
    request->is_auto = dots != NULL || strcmp(word, "auto") == 0;
    if (dots == NULL)
        return request->is_auto || read_count(text_of(word), &request->target);
    return read_count((struct text){word, (size_t)(dots - word)}, &request->min) &&
           read_count(text_of(dots + 2), &request->max) && request->max > 0;
}

/* The provider that is meant; without a name the only one. NULL: the coordinator will say why. */
static const struct provider_row *find_row(const struct msg_providers *reply, struct text name)
{
    for (uint32_t i = 0; i < reply->providers_count; i++)
        if (name.size == 0 || text_equal(reply->providers[i].name, name))
            return &reply->providers[i];
    return NULL;
}

/* Who was there before a target was given. */
struct before {
    uint32_t running, waiting;
};

/* What came of a target, by the row of its provider after its answer. One of several hosts that
 * fails is no failure, as long as somebody came. */
static enum err judge(const struct provider_row *row, struct before before, struct err_text *et)
{
    bool is_paused = text_is(row->state, "paused"), is_full = text_is(row->state, "disk-low");
    bool is_troubled =
        is_paused || is_full || text_is(row->state, "back-off") || text_is(row->state, "unknown");
    if (!is_troubled || row->running + row->waiting > before.running + before.waiting)
        return ERR_OK;
    return error_set(et, is_full ? ERR_DISK_FULL : ERR_PROVIDER, "%.*s: %.*s%s",
                     TEXT_ARGS(row->name), TEXT_ARGS(row->detail),
                     is_paused ? ""
                     : is_full ? "; the target stays, for when there is room"
                               : "; the target stays, and is tried again later and later");
}

/* Waits for the provider's answer to a target that was taken, and prints what there is then. */
static enum err await_answer(struct invocation *invocation, struct client *client,
                             const struct msg_scale *request, struct before before,
                             uint32_t wait_ms, struct err_text *et)
{
    const struct msg_providers *reply;
    const struct provider_row *row;
    uint64_t end_ms = exchange_now_ms() + wait_ms;
    for (;;) {
        TRY(ask_providers(client, &reply, et));
        row = find_row(reply, request->provider);
        if (row == NULL || !row->is_asking || exchange_now_ms() >= end_ms)
            break;
        exchange_pause(POLL_MS);
    }
    if (row != NULL && row->is_asking && row->running <= before.running)
        return error_set(et, ERR_TIMEOUT, "%.*s: no answer within %.3g s%s%.*s; the target stays",
                         TEXT_ARGS(row->name), wait_ms / 1000.0, row->detail.size > 0 ? ": " : "",
                         TEXT_ARGS(row->detail));
    if (row != NULL)
        TRY(judge(row, before, et));
    return print_providers(invocation, reply);
}

static enum err scale(struct invocation *invocation, struct client *client,
                      struct msg_scale *request, struct err_text *et)
{
    const union message_any *reply = NULL;
    const struct msg_providers *providers;
    struct before before = {0};
    uint32_t wait_ms;
    TRY(command_timeout(invocation, &wait_ms, et));
    TRY(ask_providers(client, &providers, et));
    const struct provider_row *row = find_row(providers, request->provider);
    if (row != NULL)
        before = (struct before){row->running, row->waiting};
    TRY(client_request(client, &message_type_msg_scale, request, &message_type_msg_status, &reply,
                       et));
    return await_answer(invocation, client, request, before, wait_ms, et);
}

static enum err preview(struct invocation *invocation, struct client *client,
                        struct msg_scale *request, struct err_text *et)
{
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_scale, request, &message_type_msg_providers,
                       &reply, et));
    return print_lines(invocation, &reply->providers);
}

enum err cmd_workers_scale(struct invocation *invocation, struct err_text *et)
{
    const char *provider = command_text(invocation, "provider");
    const char *reason = command_text(invocation, "reason");
    struct msg_scale request = {
        .provider = text_of(provider != NULL ? provider : ""),
        .is_dry = command_flag(invocation, "dry-run"),
        .reason = text_of(reason != NULL ? reason : ""),
    };
    if (!read_target(invocation->arguments[0], &request))
        return error_set(et, ERR_USAGE,
                         "workers scale: a number up to %d, auto or MIN..MAX expected, found %s",
                         LIMIT_WORKERS, invocation->arguments[0]);
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    enum err err = request.is_dry ? preview(invocation, client, &request, et)
                                  : scale(invocation, client, &request, et);
    client_close(&client);
    return err;
}
