/* cmd_explain.c - `qctl explain`: why jobs wait, and what would let them go on.
 *
 *     9c41e2b  train   no-worker  8 tasks wait and nobody is here
 *                                 try: qctl workers scale auto --provider local
 *     9c41e2b  export  needs      needs train, which is in state run
 *
 * What is said of several stages in the same words is said once.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/output.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/message/state.h"

enum { STAGE_COLUMNS_MAX = 34, STAGE_TEXT_BYTES = 512, GAP = 2 };

/* Rows that wait for others are one group of their job, whatever they wait for. */
static bool is_same(const struct explain_row *a, const struct explain_row *b)
{
    if (a->job != b->job || a->reason != b->reason)
        return false;
    return a->reason == REASON_NEEDS ||
           (text_equal(a->detail, b->detail) && text_equal(a->advice, b->advice));
}

/* The row is the first of its group; *count: how many the group has. */
static bool leads(const struct msg_explain *reply, uint32_t i, uint32_t *count)
{
    for (uint32_t k = 0; k < i; k++) {
        if (is_same(&reply->rows[k], &reply->rows[i]))
            return false;
    }
    *count = 0;
    for (uint32_t k = i; k < reply->rows_count; k++)
        *count += is_same(&reply->rows[k], &reply->rows[i]);
    return true;
}

/* "train seed=3", "train seed=3 +45". */
static void print_stage(const struct explain_row *row, uint32_t count, char out[STAGE_TEXT_BYTES])
{
    char text[STAGE_TEXT_BYTES], more[HUMAN_BYTES] = "";
    if (count > 1)
        (void)snprintf(more, sizeof more, " +%u", count - 1);
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->stage));
    size_t room = STAGE_COLUMNS_MAX - strlen(more);
    (void)snprintf(out, STAGE_TEXT_BYTES, "%.*s%s", (int)style_bytes(style_clean(text), room), text,
                   more);
}

static enum style_color color_of(enum reason reason)
{
    if (reason == REASON_WORKING)
        return STYLE_GOOD;
    if (reason == REASON_NEEDS || reason == REASON_COORDINATOR)
        return STYLE_DIM;
    return reason == REASON_FAILED || reason == REASON_QUARANTINED ? STYLE_BAD : STYLE_BUSY;
}

static void print_text(const struct invocation *invocation, size_t indent, const char *word,
                       struct text text)
{
    char clean[LIMIT_TEXT_BYTES + 1];
    (void)snprintf(clean, sizeof clean, "%.*s", TEXT_ARGS(text));
    (void)fprintf(invocation->out, "%*s%s%s\n", (int)indent, "", word, style_clean(clean));
}

static void print_group(const struct invocation *invocation, const struct explain_row *row,
                        uint32_t count, size_t stage_width, size_t reason_width)
{
    const struct style *style = &invocation->style;
    const char *word = state_reason_word((enum reason)row->reason);
    char id[HUMAN_BYTES], stage[STAGE_TEXT_BYTES];
    print_stage(row, count, stage);
    enum style_color color = color_of((enum reason)row->reason);
    (void)fprintf(invocation->out, "%s  %s%*s%s%s%s%*s", human_id(row->job, id), stage,
                  (int)(stage_width - style_width(stage) + GAP), "", style_on(style, color), word,
                  style_off(style, color), (int)(reason_width - strlen(word) + GAP), "");
    bool is_many = row->reason == REASON_NEEDS && count > 1;
    print_text(invocation, 0, "", is_many ? TEXT("wait for stages before them") : row->detail);
    if (row->advice.size > 0)
        print_text(invocation, strlen(id) + GAP + stage_width + GAP + reason_width + GAP,
                   "try: ", row->advice);
}

static void print_rows(const struct invocation *invocation, const struct msg_explain *reply)
{
    size_t stage_width = 0, reason_width = 0;
    uint32_t count;
    for (uint32_t i = 0; i < reply->rows_count; i++) {
        char stage[STAGE_TEXT_BYTES];
        if (!leads(reply, i, &count))
            continue;
        print_stage(&reply->rows[i], count, stage);
        stage_width = MAX(stage_width, style_width(stage));
        reason_width =
            MAX(reason_width, strlen(state_reason_word((enum reason)reply->rows[i].reason)));
    }
    for (uint32_t i = 0; i < reply->rows_count; i++) {
        if (leads(reply, i, &count))
            print_group(invocation, &reply->rows[i], count, stage_width, reason_width);
    }
    if (reply->rows_count == 0)
        (void)fprintf(invocation->messages, "nothing waits\n");
}

enum err cmd_explain(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    size_t given = invocation->argument_count;
    struct msg_explain_get get = {
        .prefix = text_of(given > 0 ? invocation->arguments[0] : ""),
        .stage = text_of(given > 1 ? invocation->arguments[1] : ""),
    };
    TRY(command_connect(invocation, &client, et));
    const union message_any *reply = NULL;
    enum err err = client_request(client, &message_type_msg_explain_get, &get,
                                  &message_type_msg_explain, &reply, et);
    if (err == ERR_OK && invocation->json)
        err = output_rows(invocation, &message_type_explain_row, reply->explain.rows,
                          reply->explain.rows_count);
    else if (err == ERR_OK)
        print_rows(invocation, &reply->explain);
    client_close(&client);
    return err;
}
