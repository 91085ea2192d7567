/* cmd_jobs.c - `qctl jobs` and `qctl show`. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/held_out.h"
#include "cli/command/output.h"
#include "cli/command/rewards.h"
#include "cli/command/stage_note.h"
#include "cli/command/variants.h"
#include "cli/render/human.h"
#include "cli/render/state_color.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/state.h"
#include "common/view/json_view.h"

enum { ERROR_BYTES = 48 };

static double age(uint64_t from_ms, uint64_t to_ms)
{
    if (from_ms == 0)
        return -1;
    uint64_t end = to_ms != 0 ? to_ms : exchange_unix_ms();
    return (double)(end - MIN(end, from_ms)) / 1000;
}

/* "DIGEST: " before the words of a failure; that a job was cancelled, its state says. */
static const char *print_error(const struct job_row *row, char *out, size_t size)
{
    bool is_said = row->error == 0 || (row->error == ERR_CANCELLED && row->detail.size == 0);
    (void)snprintf(out, size, "%s%s", is_said ? "" : error_name((enum err)row->error),
                   is_said || row->detail.size == 0 ? "" : ": ");
    return out;
}

static void add_row(struct table *table, const struct job_row *row)
{
    char text[HUMAN_BYTES], progress[VARIANTS_PROGRESS_BYTES], error[ERROR_BYTES];
    enum job_state state = (enum job_state)row->state;
    table_row(table);
    table_cell(table, 0, STYLE_BOLD, "%s", human_id(row->job, text));
    table_cell(table, 1, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->name));
    table_cell(table, 2, STYLE_DIM, "%.*s", TEXT_ARGS(row->owner));
    table_cell(table, 3, state_color_job(state), "%s", state_job_word(state));
    table_cell(table, 4, STYLE_PLAIN, "%s",
               human_duration(age(row->created_unix_ms, row->ended_unix_ms), text));
    table_cell(table, 5, STYLE_PLAIN, "%s",
               variants_progress(row->stage, row->done, row->total, progress));
    table_cell(table, 6, STYLE_PLAIN, "%s", human_number(row->loss, text));
    table_cell(table, 7, STYLE_PLAIN, "%s", human_number(row->eval_loss, text));
    table_cell(table, 8, row->error != 0 ? STYLE_BAD : STYLE_DIM, "%s%.*s",
               print_error(row, error, sizeof error), TEXT_ARGS(row->detail));
}

/* The trainings of a job are a group below its row. */
static void add_variant(struct table *table, const struct variant_row *row)
{
    char text[HUMAN_BYTES], progress[VARIANTS_PROGRESS_BYTES];
    table_row(table);
    table_cell(table, 0, STYLE_PLAIN, " ");
    table_cell(table, 1, STYLE_PLAIN, "  %.*s", TEXT_ARGS(row->name));
    table_cell(table, 2, STYLE_PLAIN, " ");
    table_cell(table, 3, STYLE_DIM, "%s", state_stage_word((enum stage_state)row->state));
    table_cell(table, 4, STYLE_PLAIN, " ");
    table_cell(table, 5, STYLE_PLAIN, "%s",
               variants_progress(row->stage, row->done, row->total, progress));
    table_cell(table, 6, STYLE_PLAIN, "%s", human_number(row->loss, text));
    table_cell(table, 7, STYLE_PLAIN, "%s", human_number(row->eval_loss, text));
    table_cell(table, 8,
               row->is_best           ? STYLE_GOOD
               : row->detail.size > 0 ? STYLE_BAD
                                      : STYLE_PLAIN,
               "%s%.*s", row->is_best ? "best" : " ", TEXT_ARGS(row->detail));
}

static enum err print_jobs(struct invocation *invocation, const struct msg_jobs *jobs)
{
    static const struct table_column columns[] = {
        {"ID", TABLE_LEFT},    {"NAME", TABLE_LEFT},  {"OWNER", TABLE_LEFT},
        {"STATE", TABLE_LEFT}, {"TIME", TABLE_RIGHT}, {"STAGE", TABLE_LEFT},
        {"LOSS", TABLE_RIGHT}, {"EVAL", TABLE_RIGHT}, {"DETAIL", TABLE_LEFT},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < jobs->jobs_count; i++) {
        const struct job_row *row = &jobs->jobs[i];
        add_row(&table, row);
        for (uint32_t v = 0; v < row->variants_count; v++)
            add_variant(&table, &row->variants[v]);
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

enum err cmd_jobs(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    uint64_t limit = 0;
    TRY(command_u64(invocation, "limit", 1, LIMIT_LIST_ROWS, &limit, et));
    TRY(command_connect(invocation, &client, et));
    struct msg_jobs_get get = {
        .prefix = text_of(invocation->argument_count > 0 ? invocation->arguments[0] : ""),
        .active_only = command_flag(invocation, "active"),
        .limit = (uint32_t)limit,
    };
    const union message_any *reply = NULL;
    enum err err = client_request(client, &message_type_msg_jobs_get, &get, &message_type_msg_jobs,
                                  &reply, et);
    if (err == ERR_OK && invocation->format != COMMAND_TABLE)
        err = output_rows(invocation, &message_type_job_row, reply->jobs.jobs,
                          reply->jobs.jobs_count);
    else if (err == ERR_OK)
        err = print_jobs(invocation, &reply->jobs);
    client_close(&client);
    return err;
}

static void print_line(FILE *out, const char *name, char *value)
{
    (void)style_clean(value);
    if (value[0] != '\0' && !(value[0] == '-' && value[1] == '\0'))
        (void)fprintf(out, "%-10s %s\n", name, value);
}

static void print_artifacts(FILE *out, const char *title, const struct artifact_ref *refs,
                            uint32_t count)
{
    char size[HUMAN_BYTES], hex[DIGEST_HEX_BYTES];
    if (count > 0)
        (void)fprintf(out, "%s\n", title);
    for (uint32_t i = 0; i < count; i++) {
        digest_hex(refs[i].digest, hex);
        (void)fprintf(out, "  %.12s  %6s  %.*s\n", hex, human_size(refs[i].size_bytes, size),
                      TEXT_ARGS(refs[i].name));
    }
}

/* What stages share with other jobs. */
static void print_notes(FILE *out, const struct msg_job *job)
{
    char name[LIMIT_NAME_BYTES + 1], note[STAGE_NOTE_BYTES];
    for (uint32_t i = 0; i < job->stages_count; i++) {
        (void)snprintf(name, sizeof name, "%.*s", TEXT_ARGS(job->stages[i].name));
        (void)stage_note(&job->stages[i], note);
        print_line(out, style_clean(name), note);
    }
}

/* Without the word itself, which stands before it as the line's name. */
static void print_held_out(FILE *out, const struct msg_job *job)
{
    static const char word[] = "perplexity ";
    struct bytes line;
    bytes_init(&line, LIMIT_TEXT_BYTES);
    if (held_out_print(job, &line) == ERR_OK && line.size > sizeof word) {
        bytes_append(&line, "", 1);
        if (bytes_status(&line) == ERR_OK)
            print_line(out, "perplexity", (char *)line.data + sizeof word - 1);
    }
    bytes_fini(&line);
}

static void print_rewards(FILE *out, const struct msg_job *job, bool is_eval)
{
    char text[REWARDS_BYTES];
    const struct log_point *point = rewards_last(job->points, job->points_count, is_eval);
    if (point == NULL)
        return;
    (void)rewards_print(point, text);
    print_line(out, is_eval ? "eval_rewards" : "rewards", text);
}

static enum err print_job(struct invocation *invocation, const struct msg_job *job)
{
    const struct job_row *row = &job->row;
    char text[HUMAN_BYTES], line[VARIANTS_PROGRESS_BYTES], hex[DIGEST_HEX_BYTES];
    char detail[LIMIT_TEXT_BYTES + 32], error[ERROR_BYTES];
    FILE *out = invocation->out;
    enum job_state state = (enum job_state)row->state;
    (void)snprintf(line, sizeof line, "%016" PRIx64, row->job);
    print_line(out, "job", line);
    (void)snprintf(line, sizeof line, "%.*s", TEXT_ARGS(row->name));
    print_line(out, "name", line);
    (void)snprintf(line, sizeof line, "%.*s", TEXT_ARGS(row->owner));
    print_line(out, "owner", line);
    (void)fprintf(out, "%-10s %s%s%s\n", "state",
                  style_on(&invocation->style, state_color_job(state)), state_job_word(state),
                  style_off(&invocation->style, state_color_job(state)));
    (void)snprintf(detail, sizeof detail, "%s%.*s", print_error(row, error, sizeof error),
                   TEXT_ARGS(row->detail));
    print_line(out, row->error != 0 ? "error" : "detail", detail);
    (void)variants_progress(row->stage, row->done, row->total, line);
    print_line(out, "stage", line);
    (void)human_time(row->created_unix_ms, text);
    print_line(out, "created", text);
    (void)human_time(row->started_unix_ms, text);
    print_line(out, "started", text);
    (void)human_time(row->ended_unix_ms, text);
    print_line(out, "ended", text);
    (void)human_number(row->loss, text);
    print_line(out, "loss", text);
    (void)human_number(row->eval_loss, text);
    print_line(out, "eval_loss", text);
    if (row->step_bytes > 0) {
        (void)human_size(row->step_bytes, text);
        print_line(out, "memory", text);
    }
    print_rewards(out, job, false);
    print_rewards(out, job, true);
    print_held_out(out, job);
    print_notes(out, job);
    digest_hex(row->spec, hex);
    (void)fprintf(out, "%-10s %.16s\n", "spec", hex);
    TRY(variants_print(invocation, row));
    print_artifacts(out, "inputs", job->inputs, job->inputs_count);
    print_artifacts(out, "outputs", job->outputs, job->outputs_count);
    if (command_flag(invocation, "recipe"))
        (void)fprintf(out, "recipe\n%.*s", (int)job->recipe.size, (const char *)job->recipe.data);
    return ERR_OK;
}

enum err cmd_show(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    TRY(command_connect(invocation, &client, et));
    struct msg_job_get get = {
        .prefix = text_of(invocation->argument_count > 0 ? invocation->arguments[0] : "last")};
    const union message_any *reply = NULL;
    enum err err =
        client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et);
    if (err == ERR_OK && invocation->json) {
        struct json_write w;
        json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 28);
        json_view_object(&w, NULL, &message_type_msg_job, &reply->job);
        err = command_print_json(invocation, &w);
    } else if (err == ERR_OK) {
        err = print_job(invocation, &reply->job);
    }
    client_close(&client);
    return err;
}
