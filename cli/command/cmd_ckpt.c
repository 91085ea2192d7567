/* cmd_ckpt.c - `qctl ckpt`: the checkpoints of a job, newest first, each with its parent. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/mem/arena.h"
#include "common/message/message_copy.h"
#include "common/view/json_view.h"

enum { ARENA_BYTES_MAX = 64 << 20, VERIFY_WAIT_MS = 600000 };

static const char *prefix_of(const struct invocation *invocation)
{
    return invocation->argument_count > 0 ? invocation->arguments[0] : "last";
}

static enum err list(struct client *client, const char *prefix, const struct msg_checkpoints **out,
                     struct err_text *et)
{
    struct msg_checkpoints_get get = {.prefix = text_of(prefix)};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_checkpoints_get, &get,
                       &message_type_msg_checkpoints, &reply, et));
    *out = &reply->checkpoints;
    return ERR_OK;
}

static double age_of(uint64_t unix_ms)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec - (double)unix_ms / 1000;
}

/* Names of checkpoints, seven characters; "" for none. */
static const char *short_name(struct digest digest, char out[DIGEST_HEX_BYTES])
{
    digest_hex(digest, out);
    out[digest_is_zero(digest) ? 0 : 7] = '\0';
    return out;
}

static size_t best_of(const struct msg_checkpoints *checkpoints)
{
    size_t best = SIZE_MAX;
    for (uint32_t i = 0; i < checkpoints->checkpoints_count; i++) {
        double loss = checkpoints->checkpoints[i].eval_loss;
        if (isfinite(loss) && (best == SIZE_MAX || loss < checkpoints->checkpoints[best].eval_loss))
            best = i;
    }
    return best;
}

/* Of which variant a checkpoint is, "" in a job without. `job`: NULL, or that of all rows. */
static struct text variant_of(const struct msg_job *job, const struct checkpoint_row *row)
{
    if (job == NULL || row->stage >= job->stages_count)
        return TEXT("");
    uint32_t variant = job->stages[row->stage].variant;
    return variant < job->row.variants_count ? job->row.variants[variant].name : TEXT("");
}

static enum err print_log(struct invocation *invocation, const struct msg_checkpoints *checkpoints,
                          const struct msg_job *job)
{
    static const struct table_column columns[] = {
        {"ID", TABLE_LEFT},      {"STEP", TABLE_RIGHT},      {"EPOCH", TABLE_RIGHT},
        {"LOSS", TABLE_RIGHT},   {"EVAL_LOSS", TABLE_RIGHT}, {"SIZE", TABLE_RIGHT},
        {"AGE", TABLE_RIGHT},    {"TAGS", TABLE_LEFT},       {"PARENT", TABLE_LEFT},
        {"VARIANT", TABLE_LEFT},
    };
    struct table table;
    bool is_group = job != NULL && job->row.variants_count > 0;
    size_t best = best_of(checkpoints);
    table_init(&table, columns, COUNT_OF(columns) - !is_group);
    for (uint32_t i = 0; i < checkpoints->checkpoints_count; i++) {
        const struct checkpoint_row *row = &checkpoints->checkpoints[i];
        char text[HUMAN_BYTES], hex[DIGEST_HEX_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%s", short_name(row->digest, hex));
        table_cell(&table, 1, STYLE_PLAIN, "%" PRIu64, row->step);
        table_cell(&table, 2, STYLE_PLAIN, "%.2f", row->epoch);
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_number(row->loss, text));
        table_cell(&table, 4, STYLE_PLAIN, "%s", human_number(row->eval_loss, text));
        table_cell(&table, 5, STYLE_PLAIN, "%s", human_size(row->size_bytes, text));
        table_cell(&table, 6, STYLE_PLAIN, "%s",
                   human_duration(MAX(age_of(row->created_unix_ms), 0.0), text));
        table_cell(&table, 7, STYLE_GOOD, "%s%s%s", i == 0 ? "latest" : "",
                   i == 0 && best == 0 ? "," : "", best == i ? "best" : "");
        table_cell(&table, 8, STYLE_DIM, "%s", short_name(row->parent, hex));
        if (is_group)
            table_cell(&table, 9, STYLE_PLAIN, "%.*s", TEXT_ARGS(variant_of(job, row)));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static enum err print_rows_json(struct invocation *invocation,
                                const struct msg_checkpoints *checkpoints)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 26);
    json_view_list(&w, NULL, &message_type_checkpoint_row, checkpoints->checkpoints,
                   checkpoints->checkpoints_count);
    return command_print_json(invocation, &w);
}

/* The job that all of these are of; NULL when there are several, or none. */
static enum err ask_job(struct client *client, const struct msg_checkpoints *rows,
                        const struct msg_job **out, struct err_text *et)
{
    char id[17];
    *out = NULL;
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        if (rows->checkpoints[i].job != rows->checkpoints[0].job)
            return ERR_OK;
    }
    if (rows->checkpoints_count == 0)
        return ERR_OK;
    (void)snprintf(id, sizeof id, "%016" PRIx64, rows->checkpoints[0].job);
    struct msg_job_get get = {.prefix = text_of(id), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    *out = &reply->job;
    return ERR_OK;
}

/* The reply is borrowed until the next request, so it is copied. */
static enum err copy_list(struct client *client, const char *prefix, struct arena *arena,
                          struct msg_checkpoints *out, struct err_text *et)
{
    const struct msg_checkpoints *checkpoints = NULL;
    TRY(list(client, prefix, &checkpoints, et));
    return message_copy(&message_type_msg_checkpoints, checkpoints, arena, out);
}

enum err cmd_ckpt_log(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const struct msg_job *job = NULL;
    struct msg_checkpoints rows;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(copy_list(client, prefix_of(invocation), &arena, &rows, et));
    if (!invocation->json)
        TRY_OUT(ask_job(client, &rows, &job, et));
    err = invocation->json ? print_rows_json(invocation, &rows) : print_log(invocation, &rows, job);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}

static void print_row(struct invocation *invocation, const struct checkpoint_row *row)
{
    char text[HUMAN_BYTES], hex[DIGEST_HEX_BYTES];
    FILE *out = invocation->out;
    digest_hex(row->digest, hex);
    (void)fprintf(out, "checkpoint %s\n", hex);
    digest_hex(row->parent, hex);
    (void)fprintf(out, "parent     %s\n", digest_is_zero(row->parent) ? "-" : hex);
    digest_hex(row->ledger, hex);
    (void)fprintf(out, "ledger     %s\n", digest_is_zero(row->ledger) ? "-" : hex);
    (void)fprintf(out, "job        %016" PRIx64 "\n", row->job);
    (void)fprintf(out, "step       %" PRIu64 "\nepoch      %.4f\n", row->step, row->epoch);
    (void)fprintf(out, "loss       %s\n", human_number(row->loss, text));
    (void)fprintf(out, "eval_loss  %s\n", human_number(row->eval_loss, text));
    (void)fprintf(out, "size       %s\n", human_size(row->size_bytes, text));
    (void)fprintf(out, "created    %s\n", human_time(row->created_unix_ms, text));
}

enum err cmd_ckpt_show(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const struct msg_checkpoints *checkpoints = NULL;
    TRY(command_connect(invocation, &client, et));
    enum err err = list(client, prefix_of(invocation), &checkpoints, et);
    if (err == ERR_OK && checkpoints->checkpoints_count == 0)
        err = error_set(et, ERR_NOT_FOUND, "%s: no checkpoint yet", prefix_of(invocation));
    if (err == ERR_OK && invocation->json)
        err = print_rows_json(invocation, checkpoints);
    else if (err == ERR_OK)
        print_row(invocation, &checkpoints->checkpoints[0]);
    client_close(&client);
    return err;
}

/* Each row is read again and hashed at the coordinator. Replies borrow, so the rows were copied. */
static enum err verify_rows(struct invocation *invocation, struct client *client,
                            const struct msg_checkpoints *rows, struct err_text *et)
{
    uint32_t bad = 0;
    client_set_wait(client, VERIFY_WAIT_MS);
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        const struct checkpoint_row *row = &rows->checkpoints[i];
        struct msg_artifact_verify request = {.digest = row->digest};
        const union message_any *reply = NULL;
        struct err_text why = {{0}};
        char hex[DIGEST_HEX_BYTES];
        enum err err = client_request(client, &message_type_msg_artifact_verify, &request,
                                      &message_type_msg_status, &reply, &why);
        if (err == ERR_UNREACHABLE)
            return error_set(et, err, "%s", why.text);
        (void)fprintf(invocation->out, "%-4s  %s  step %" PRIu64 "%s%s\n",
                      err == ERR_OK ? "ok" : "FAIL", short_name(row->digest, hex), row->step,
                      err == ERR_OK ? "" : "  ", err == ERR_OK ? "" : why.text);
        bad += err != ERR_OK;
    }
    if (bad > 0)
        return error_set(et, ERR_DIGEST, "%u of %u checkpoints do not verify", bad,
                         rows->checkpoints_count);
    return ERR_OK;
}

enum err cmd_ckpt_verify(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct msg_checkpoints copy;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(copy_list(client, prefix_of(invocation), &arena, &copy, et));
    if (copy.checkpoints_count == 0)
        err = error_set(et, ERR_NOT_FOUND, "%s: no checkpoint yet", prefix_of(invocation));
    else
        err = verify_rows(invocation, client, &copy, et);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}
