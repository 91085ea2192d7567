/* cmd_ckpt_show.c - `qctl ckpt show`: one checkpoint, the ones it goes back to, also over jobs, and
 * who computed the gradients since its parent. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command/checkpoint_find.h"
#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/message/message_copy.h"
#include "common/view/json_view.h"

enum {
    ARENA_BYTES_MAX = 256 << 20,
    LEDGER_BYTES_MAX = 512 << 20,
    LINEAGE_SHOWN = 6,
    JOB_BYTES = 17
};

static enum err ask_job(struct client *client, uint64_t job, struct arena *arena,
                        struct msg_job *out, struct err_text *et)
{
    char id[JOB_BYTES];
    const union message_any *reply = NULL;
    (void)snprintf(id, sizeof id, "%016" PRIx64, job);
    struct msg_job_get get = {.prefix = text_of(id), .points_after = UINT64_MAX};
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    return message_copy(&message_type_msg_job, &reply->job, arena, out);
}

static const struct checkpoint_row *find(const struct msg_checkpoints *rows, struct digest digest,
                                         uint32_t stage)
{
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        if (rows->checkpoints[i].stage == stage &&
            digest_equal(rows->checkpoints[i].digest, digest))
            return &rows->checkpoints[i];
    }
    return NULL;
}

/* The kept one before `row` in its training: its parent, or the nearest older one. */
static const struct checkpoint_row *before(const struct msg_checkpoints *rows,
                                           const struct checkpoint_row *row)
{
    const struct checkpoint_row *parent = find(rows, row->parent, row->stage);
    for (uint32_t i = 0; parent == NULL && i < rows->checkpoints_count; i++) {
        const struct checkpoint_row *other = &rows->checkpoints[i];
        if (other->stage == row->stage && other->step < row->step)
            parent = other; /* newest first */
    }
    return parent;
}

/* The checkpoint of another job that this training went on from; false where there is none. */
static bool find_start(struct client *client, const struct msg_job *job, struct arena *arena,
                       struct checkpoint_row *out)
{
    char hex[DIGEST_HEX_BYTES];
    struct err_text ignored;
    digest_hex(job->start, hex);
    return !digest_is_zero(job->start) &&
           checkpoint_find_one(client, hex, arena, out, &ignored) == ERR_OK;
}

/* Parents that are kept, nearest first: of this job, then of the one that it was forked from. */
static enum err fill_lineage(struct client *client, struct arena *arena,
                             struct checkpoint_view *view, struct err_text *et)
{
    struct checkpoint_row at = view->row;
    struct msg_checkpoints rows;
    struct msg_job job;
    view->lineage = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *view->lineage);
    if (view->lineage == NULL)
        return ERR_OUT_OF_MEMORY;
    for (unsigned forks = 0; forks < 64; forks++) {
        char id[JOB_BYTES];
        (void)snprintf(id, sizeof id, "%016" PRIx64, at.job);
        TRY(checkpoint_find_list(client, id, arena, &rows, et));
        for (const struct checkpoint_row *row = &at;
             (row = before(&rows, row)) != NULL && view->lineage_count < LIMIT_LIST_ROWS;)
            view->lineage[view->lineage_count++] = *row;
        TRY(ask_job(client, at.job, arena, &job, et));
        if (!find_start(client, &job, arena, &at) || view->lineage_count == LIMIT_LIST_ROWS)
            break;
        view->lineage[view->lineage_count++] = at;
    }
    return ERR_OK;
}

static enum err add_work(struct checkpoint_view *view, struct text worker, uint64_t rows,
                         struct arena *arena)
{
    uint32_t i = 0;
    while (i < view->workers_count && !text_equal(view->workers[i].worker, worker))
        i++;
    if (i == LIMIT_WORKERS)
        return ERR_OK;
    if (i == view->workers_count) {
        const char *name = arena_copy_text(arena, worker);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        view->workers[view->workers_count++] =
            (struct checkpoint_work){.worker = {name, worker.size}};
    }
    view->workers[i].ranges++;
    view->workers[i].rows += rows;
    return ERR_OK;
}

/* A line of the ledger: a range of rows of a step, and who computed it. Others are passed over. */
static enum err add_line(struct checkpoint_view *view, struct span line, struct arena *arena)
{
    struct json_read_options options = {.name = "ledger"};
    struct json_doc *doc = NULL;
    struct err_text ignored;
    struct text worker;
    int64_t first, end;
    if (json_read_parse(line, &options, &doc, &ignored) != ERR_OK)
        return ERR_OK;
    struct json_value root = json_read_root(doc);
    struct json_value name = json_read_find(root, "worker");
    enum err err = ERR_OK;
    if (!json_read_is_absent(name) && json_read_as_text(name, &worker, &ignored) == ERR_OK &&
        json_read_as_i64(json_read_find(root, "first"), 0, INT64_MAX, &first, &ignored) == ERR_OK &&
        json_read_as_i64(json_read_find(root, "end"), first, INT64_MAX, &end, &ignored) == ERR_OK)
        err = add_work(view, worker, (uint64_t)(end - first), arena);
    json_read_close(&doc);
    return err;
}

static int compare_work(const void *a, const void *b)
{
    const struct checkpoint_work *left = a, *right = b;
    size_t size = MIN(left->worker.size, right->worker.size);
    int order = size > 0 ? memcmp(left->worker.data, right->worker.data, size) : 0;
    return order != 0 ? order
                      : (left->worker.size > right->worker.size) -
                            (left->worker.size < right->worker.size);
}

/* A ledger that cannot be had is said, and no reason to show nothing. */
static enum err fill_workers(struct client *client, struct arena *arena,
                             struct checkpoint_view *view, const struct invocation *invocation)
{
    struct bytes ledger;
    struct err_text why = {""};
    view->workers = arena_alloc(arena, LIMIT_WORKERS, sizeof *view->workers);
    if (view->workers == NULL)
        return ERR_OUT_OF_MEMORY;
    if (digest_is_zero(view->row.ledger))
        return ERR_OK;
    bytes_init(&ledger, LEDGER_BYTES_MAX);
    enum err err = client_download(client, view->row.ledger, file_sink_bytes, &ledger, &why);
    if (err != ERR_OK)
        (void)fprintf(invocation->messages, "the ledger cannot be read: %s\n", why.text);
    struct span rest = err == ERR_OK ? bytes_span(&ledger) : (struct span){0};
    err = ERR_OK;
    while (rest.size > 0 && err == ERR_OK) {
        const uint8_t *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline == NULL ? rest.size : (size_t)(newline - rest.data);
        err = add_line(view, (struct span){rest.data, size}, arena);
        size += newline != NULL;
        rest = (struct span){rest.data + size, rest.size - size};
    }
    bytes_fini(&ledger);
    if (view->workers_count > 0)
        qsort(view->workers, view->workers_count, sizeof *view->workers, compare_work);
    return err;
}

static enum err fill(struct client *client, const char *name, struct arena *arena,
                     struct checkpoint_view *view, const struct invocation *invocation,
                     struct err_text *et)
{
    struct msg_job job;
    *view = (struct checkpoint_view){0};
    TRY(checkpoint_find_one(client, name, arena, &view->row, et));
    TRY(ask_job(client, view->row.job, arena, &job, et));
    view->name = job.row.name;
    if (view->row.stage < job.stages_count &&
        job.stages[view->row.stage].variant < job.row.variants_count)
        view->variant = job.row.variants[job.stages[view->row.stage].variant].name;
    TRY(fill_lineage(client, arena, view, et));
    return fill_workers(client, arena, view, invocation);
}

static void print_lineage(FILE *out, const struct checkpoint_view *view)
{
    char name[CHECKPOINT_FIND_BYTES];
    (void)fprintf(out, "lineage    %s", view->lineage_count == 0 ? "the first" : "");
    for (uint32_t i = 0; i < view->lineage_count && i < LINEAGE_SHOWN; i++) {
        const struct checkpoint_row *row = &view->lineage[i];
        (void)fprintf(out, "%s%s (step %" PRIu64, i > 0 ? " < " : "",
                      checkpoint_find_name(row->digest, name), row->step);
        if (row->job != view->row.job)
            (void)fprintf(out, ", job %.7s", human_id(row->job, (char[HUMAN_BYTES]){0}));
        (void)fprintf(out, ")");
    }
    if (view->lineage_count > LINEAGE_SHOWN)
        (void)fprintf(out, " < %u more", view->lineage_count - LINEAGE_SHOWN);
    (void)fprintf(out, "\n");
}

static enum err print_workers(struct invocation *invocation, const struct checkpoint_view *view)
{
    static const struct table_column columns[] = {
        {"WORKER", TABLE_LEFT}, {"RANGES", TABLE_RIGHT}, {"ROWS", TABLE_RIGHT}};
    struct table table;
    if (view->workers_count == 0)
        return ERR_OK;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < view->workers_count; i++) {
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%.*s", TEXT_ARGS(view->workers[i].worker));
        table_cell(&table, 1, STYLE_PLAIN, "%" PRIu64, view->workers[i].ranges);
        table_cell(&table, 2, STYLE_PLAIN, "%" PRIu64, view->workers[i].rows);
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static enum err print_view(struct invocation *invocation, const struct checkpoint_view *view)
{
    const struct checkpoint_row *row = &view->row;
    char text[HUMAN_BYTES], hex[DIGEST_HEX_BYTES];
    FILE *out = invocation->out;
    digest_hex(row->digest, hex);
    (void)fprintf(out, "checkpoint %s\n", hex);
    digest_hex(row->parent, hex);
    (void)fprintf(out, "parent     %s\n", digest_is_zero(row->parent) ? "-" : hex);
    digest_hex(row->ledger, hex);
    (void)fprintf(out, "ledger     %s\n", digest_is_zero(row->ledger) ? "-" : hex);
    (void)fprintf(out, "job        %016" PRIx64 " %.*s\n", row->job, TEXT_ARGS(view->name));
    if (view->variant.size > 0)
        (void)fprintf(out, "variant    %.*s\n", TEXT_ARGS(view->variant));
    (void)fprintf(out, "step       %" PRIu64 "\nepoch      %.4f\n", row->step, row->epoch);
    (void)fprintf(out, "tokens     %s\n", human_count(row->tokens, text));
    (void)fprintf(out, "loss       %s\n", human_number(row->loss, text));
    (void)fprintf(out, "eval_loss  %s\n", human_number(row->eval_loss, text));
    (void)fprintf(out, "size       %s\n", human_size(row->size_bytes, text));
    (void)fprintf(out, "created    %s\n", human_time(row->created_unix_ms, text));
    if (row->tags.size > 0)
        (void)fprintf(out, "tags       %.*s\n", TEXT_ARGS(row->tags));
    if (row->undone)
        (void)fprintf(out, "undone     training was sent back before it\n");
    print_lineage(out, view);
    return print_workers(invocation, view);
}

enum err cmd_ckpt_show(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct checkpoint_view view;
    struct arena arena;
    const char *name = invocation->argument_count > 0 ? invocation->arguments[0] : "last";
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(fill(client, name, &arena, &view, invocation, et));
    if (invocation->json) {
        struct json_write w;
        json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 26);
        json_view_object(&w, NULL, &message_type_checkpoint_view, &view);
        err = command_print_json(invocation, &w);
    } else {
        err = print_view(invocation, &view);
    }
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}
