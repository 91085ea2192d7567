/* cmd_ckpt.c - `qctl ckpt log` and `verify`: the checkpoints of a job, newest first, each with its
 * parent; and whether they are what their names say. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/checkpoint_find.h"
#include "cli/command/cmd.h"
#include "cli/command/output.h"
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

static double age_of(uint64_t unix_ms)
{
    return ((double)exchange_unix_ms() - (double)unix_ms) / 1000;
}

/* "latest,best" and the names it was given; "undone" where training was sent back before it. */
static void print_tags(struct table *table, const struct msg_checkpoints *rows, uint32_t i)
{
    const struct checkpoint_row *row = &rows->checkpoints[i];
    bool is_latest = checkpoint_find_is_latest(rows, i);
    bool is_best = checkpoint_find_best(rows, i) == i;
    const char *word = is_latest && is_best ? "latest,best"
                       : is_latest          ? "latest"
                       : is_best            ? "best"
                       : row->undone        ? "undone"
                                            : "";
    table_cell(table, 7, row->undone ? STYLE_DIM : STYLE_GOOD, "%s%s%.*s", word,
               word[0] != '\0' && row->tags.size > 0 ? "," : "", TEXT_ARGS(row->tags));
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
    table_init(&table, columns, COUNT_OF(columns) - !is_group);
    for (uint32_t i = 0; i < checkpoints->checkpoints_count; i++) {
        const struct checkpoint_row *row = &checkpoints->checkpoints[i];
        char text[HUMAN_BYTES], hex[DIGEST_HEX_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%s", checkpoint_find_name(row->digest, hex));
        table_cell(&table, 1, STYLE_PLAIN, "%" PRIu64, row->step);
        table_cell(&table, 2, STYLE_PLAIN, "%.2f", row->epoch);
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_number(row->loss, text));
        table_cell(&table, 4, STYLE_PLAIN, "%s", human_number(row->eval_loss, text));
        table_cell(&table, 5, STYLE_PLAIN, "%s", human_size(row->size_bytes, text));
        table_cell(&table, 6, STYLE_PLAIN, "%s",
                   human_duration(MAX(age_of(row->created_unix_ms), 0.0), text));
        print_tags(&table, checkpoints, i);
        table_cell(&table, 8, STYLE_DIM, "%s", checkpoint_find_name(row->parent, hex));
        if (is_group)
            table_cell(&table, 9, STYLE_PLAIN, "%.*s", TEXT_ARGS(variant_of(job, row)));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
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

enum err cmd_ckpt_log(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    const struct msg_job *job = NULL;
    struct msg_checkpoints rows;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(checkpoint_find_list(client, prefix_of(invocation), &arena, &rows, et));
    if (invocation->format != COMMAND_TABLE) {
        err = output_rows(invocation, &message_type_checkpoint_row, rows.checkpoints,
                          rows.checkpoints_count);
        goto out;
    }
    TRY_OUT(ask_job(client, &rows, &job, et));
    err = print_log(invocation, &rows, job);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}

static void print_check(const struct invocation *invocation, const struct checkpoint_check *check)
{
    char name[CHECKPOINT_FIND_BYTES];
    (void)fprintf(invocation->out, "%-4s  %s  step %" PRIu64 "%s%.*s\n",
                  check->sound ? "ok" : "FAIL", checkpoint_find_name(check->row.digest, name),
                  check->row.step, check->sound ? "" : "  ", TEXT_ARGS(check->detail));
}

static enum err print_checks_json(struct invocation *invocation,
                                  const struct checkpoint_check *checks, uint32_t count)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 26);
    json_view_list(&w, NULL, &message_type_checkpoint_check, checks, count);
    return command_print_json(invocation, &w);
}

/* Each row is read again and hashed at the coordinator. Replies borrow, so the rows were copied. */
static enum err verify_rows(struct invocation *invocation, struct client *client,
                            const struct msg_checkpoints *rows, struct arena *arena,
                            struct err_text *et)
{
    struct checkpoint_check *checks = arena_alloc(arena, rows->checkpoints_count, sizeof *checks);
    uint32_t bad = 0;
    if (checks == NULL)
        return ERR_OUT_OF_MEMORY;
    client_set_wait(client, VERIFY_WAIT_MS);
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        struct msg_artifact_verify request = {.digest = rows->checkpoints[i].digest};
        const union message_any *reply = NULL;
        struct err_text why = {{0}};
        enum err err = client_request(client, &message_type_msg_artifact_verify, &request,
                                      &message_type_msg_status, &reply, &why);
        if (err == ERR_UNREACHABLE)
            return error_set(et, err, "%s", why.text);
        const char *detail = arena_print(arena, "%s", err == ERR_OK ? "" : why.text);
        checks[i] = (struct checkpoint_check){.row = rows->checkpoints[i],
                                              .sound = err == ERR_OK,
                                              .detail = text_of(detail == NULL ? "?" : detail)};
        bad += err != ERR_OK;
        if (!invocation->json)
            print_check(invocation, &checks[i]);
    }
    if (invocation->json) { /* the one value says it, and so does the exit code */
        invocation->exit_code = bad > 0 ? error_exit_code(ERR_DIGEST) : -1;
        return print_checks_json(invocation, checks, rows->checkpoints_count);
    }
    if (bad > 0)
        return error_set(et, ERR_DIGEST, "%u of %u checkpoints do not verify", bad,
                         rows->checkpoints_count);
    return ERR_OK;
}

/* A job or an id prefix stands for all it names, JOB@word for one. */
static enum err list_named(struct client *client, const char *name, struct arena *arena,
                           struct msg_checkpoints *out, struct err_text *et)
{
    if (strchr(name, '@') == NULL)
        return checkpoint_find_list(client, name, arena, out, et);
    *out = (struct msg_checkpoints){.checkpoints = arena_alloc(arena, 1, sizeof *out->checkpoints),
                                    .checkpoints_count = 1};
    return out->checkpoints == NULL
               ? ERR_OUT_OF_MEMORY
               : checkpoint_find_one(client, name, arena, out->checkpoints, et);
}

enum err cmd_ckpt_verify(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct msg_checkpoints copy;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(list_named(client, prefix_of(invocation), &arena, &copy, et));
    if (copy.checkpoints_count == 0)
        err = error_set(et, ERR_NOT_FOUND, "%s: no checkpoint yet", prefix_of(invocation));
    else
        err = verify_rows(invocation, client, &copy, &arena, et);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}
