/* cmd_metrics.c - `qctl metrics`: the log points of a job, as a table, as JSON, and as the files of
 * viewers, which may follow the job. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/command/calibration_events.h"
#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/job_stats.h"
#include "cli/command/output.h"
#include "cli/command/run_log.h"
#include "cli/plot/pace.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"

enum { POLL_MS = 1000, LINES_BYTES_MAX = 1 << 30, EVENTS_BYTES_MAX = 1 << 30 };

/* What is written, one event file a variant. */
struct metrics {
    struct invocation *invocation;
    struct follow follow;
    const char *folder; /* of event files, or NULL */
    const char *lines;  /* trainer_log.jsonl, or NULL */
    uint32_t variant;   /* of `lines` */
    struct run_log_file files[LIMIT_VARIANTS];
    uint32_t file_count;
    size_t histogram_count; /* of calibration, written */
};

/* ---- on the screen ---- */

static void add_row(struct table *table, const struct follow *follow, size_t index,
                    const struct log_point *before)
{
    char text[HUMAN_BYTES];
    const struct log_point *point = &follow->points[index];
    table_row(table);
    if (follow->variant_count > 0)
        table_cell(table, 0, STYLE_PLAIN, "%s", follow->variants[point->variant].name);
    table_cell(table, 1, STYLE_PLAIN, "%" PRIu64, point->step);
    table_cell(table, 2, STYLE_PLAIN, "%.3f", point->epoch);
    table_cell(table, point->is_eval ? 4 : 3, STYLE_BOLD, "%.4f", point->loss);
    if (!point->is_eval) {
        table_cell(table, 5, STYLE_PLAIN, "%.3f", point->grad_norm);
        table_cell(table, 6, STYLE_PLAIN, "%.3e", point->learning_rate);
        double speed = pace_between(before, point);
        if (speed > 0)
            table_cell(table, 7, STYLE_PLAIN, "%s", human_count((uint64_t)speed, text));
    }
    if (point->pairs > 0) {
        table_cell(table, 8, STYLE_PLAIN, "%.4f", point->reward_chosen);
        table_cell(table, 9, STYLE_PLAIN, "%.4f", point->reward_rejected);
        table_cell(table, 10, STYLE_PLAIN, "%.1f%%", 100 * point->accuracy);
    }
}

static enum err print_table(const struct metrics *m, uint64_t last)
{
    static const struct table_column columns[] = {
        {"VARIANT", TABLE_LEFT},   {"STEP", TABLE_RIGHT},  {"EPOCH", TABLE_RIGHT},
        {"LOSS", TABLE_RIGHT},     {"EVAL", TABLE_RIGHT},  {"GRAD_NORM", TABLE_RIGHT},
        {"LR", TABLE_RIGHT},       {"TOK/S", TABLE_RIGHT}, {"CHOSEN", TABLE_RIGHT},
        {"REJECTED", TABLE_RIGHT}, {"RIGHT", TABLE_RIGHT},
    };
    const struct follow *follow = &m->follow;
    const struct log_point *before[LIMIT_VARIANTS] = {NULL};
    size_t first = follow->point_count - (size_t)MIN((uint64_t)follow->point_count, last);
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < follow->point_count; i++) {
        const struct log_point *point = &follow->points[i];
        if (i >= first)
            add_row(&table, follow, i, before[point->variant]);
        if (!point->is_eval)
            before[point->variant] = point;
    }
    enum err err =
        table_print(&table, &m->invocation->style, m->invocation->header, m->invocation->out);
    table_fini(&table);
    return err;
}

static enum err print_points(const struct metrics *m, struct err_text *et)
{
    uint64_t last = UINT64_MAX;
    TRY(command_u64(m->invocation, "last", 1, UINT32_MAX, &last, et));
    if (m->invocation->format == COMMAND_TABLE)
        return print_table(m, last);
    size_t first = m->follow.point_count - (size_t)MIN((uint64_t)m->follow.point_count, last);
    return output_rows(m->invocation, &message_type_log_point, m->follow.points + first,
                       m->follow.point_count - first);
}

/* ---- in files ---- */

static enum err find_variant(struct metrics *m, struct err_text *et)
{
    const struct follow *follow = &m->follow;
    const char *name = command_text(m->invocation, "variant");
    if (name == NULL && (follow->variant_count == 0 || m->lines == NULL))
        return ERR_OK;
    if (name == NULL)
        return error_set(et, ERR_USAGE,
                         "job %s has %u variants, a file of lines has one: name it with --variant, "
                         "such as %s",
                         follow->name, follow->variant_count, follow->variants[0].name);
    for (uint32_t v = 0; v < follow->variant_count; v++) {
        m->variant = v;
        if (strcmp(follow->variants[v].name, name) == 0)
            return ERR_OK;
    }
    return error_set(et, ERR_NOT_FOUND, "job %s has no variant \"%s\"", follow->name, name);
}

static enum err write_lines(const struct metrics *m, struct err_text *et)
{
    struct run_log log;
    struct bytes text;
    bytes_init(&text, LINES_BYTES_MAX);
    enum err err = run_log_init(&m->follow, m->variant, &log);
    if (err == ERR_OK)
        err = run_log_lines(&log, 0, &text);
    if (err == ERR_OK)
        err = file_write_atomic(m->lines, bytes_span(&text), et);
    run_log_fini(&log);
    bytes_fini(&text);
    return err;
}

/* Files are opened once there is something to write; variants are known by then. */
static enum err write_events(struct metrics *m, struct err_text *et)
{
    uint32_t wanted = m->follow.point_count > 0 ? MAX(m->follow.variant_count, 1u) : 0;
    for (; m->file_count < wanted; m->file_count++)
        TRY(run_log_file_open(m->folder, &m->follow, m->file_count, &m->files[m->file_count], et));
    for (uint32_t v = 0; v < m->file_count; v++) {
        struct run_log log;
        enum err err = run_log_init(&m->follow, v, &log);
        if (err == ERR_OK)
            err = run_log_file_add(&m->files[v], &log, et);
        run_log_fini(&log);
        TRY(err);
    }
    return ERR_OK;
}

static enum err write_files(struct metrics *m, struct err_text *et)
{
    TRY(m->lines != NULL ? write_lines(m, et) : ERR_OK);
    return m->folder != NULL ? write_events(m, et) : ERR_OK;
}

/* Histograms of a job that calibrated, beside its run. */
static enum err write_calibration(struct metrics *m, struct err_text *et)
{
    const struct follow *follow = &m->follow;
    struct job_stats stats;
    struct bytes file;
    char run[2 * RUN_LOG_NAME_BYTES], path[LIMIT_PATH_BYTES];
    if (m->folder == NULL || !follow->calibrates)
        return ERR_OK;
    TRY(job_stats_open(m->invocation, follow->id, &stats, et));
    bytes_init(&file, EVENTS_BYTES_MAX);
    enum err err = ERR_OK;
    if (stats.statistics != NULL)
        err = calibration_events_print(stats.statistics, (double)follow->created_unix_ms / 1000,
                                       &file, &m->histogram_count);
    (void)snprintf(path, sizeof path, "%s/%.*s/calibration", m->folder,
                   (int)strcspn(run_log_run_name(follow, 0, run), "/"), run);
    if (err == ERR_OK && m->histogram_count > 0)
        err = folder_create(path, et);
    size_t used = strlen(path);
    (void)snprintf(path + used, sizeof path - used, "/events.out.tfevents.%" PRIu64 ".qfleet-%.7s",
                   follow->created_unix_ms / 1000, follow->id);
    if (err == ERR_OK && m->histogram_count > 0)
        err = file_write_atomic(path, bytes_span(&file), et);
    bytes_fini(&file);
    job_stats_close(&stats);
    return err;
}

static void say(const struct metrics *m)
{
    char run[2 * RUN_LOG_NAME_BYTES];
    FILE *messages = m->invocation->messages;
    if (m->lines != NULL)
        (void)fprintf(messages, "%s\n", m->lines);
    if (m->histogram_count > 0)
        (void)fprintf(messages, "%s: %zu histograms of calibration\n", m->folder,
                      m->histogram_count);
    for (uint32_t v = 0; v < m->file_count; v++)
        (void)fprintf(messages, "%s/%s: %zu points\n", m->folder,
                      run_log_run_name(&m->follow, v, run), m->files[v].points);
}

/* Once, or until the job is over or a signal comes; a coordinator that starts again is waited for
 * as long as a request is. */
static enum err run_metrics(struct metrics *m, struct err_text *et)
{
    bool goes_on = command_flag(m->invocation, "follow");
    TRY(follow_step(&m->follow, et));
    TRY(find_variant(m, et));
    if (m->folder == NULL && m->lines == NULL)
        return print_points(m, et);
    for (;;) {
        TRY(write_files(m, et));
        if (!goes_on || follow_is_done(&m->follow))
            break;
        int number = follow_pause(POLL_MS);
        if (number != 0) {
            m->invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
            break;
        }
        TRY(follow_step(&m->follow, et));
    }
    TRY(write_calibration(m, et));
    say(m);
    return ERR_OK;
}

enum err cmd_metrics(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct metrics m = {
        .invocation = invocation,
        .folder = command_text(invocation, "tensorboard"),
        .lines = command_text(invocation, "jsonl"),
    };
    uint64_t job = 0;
    if (command_flag(invocation, "follow") && m.folder == NULL && m.lines == NULL)
        return error_set(et, ERR_USAGE,
                         "--follow: expected --tensorboard or --jsonl beside it; qctl watch shows "
                         "a job as it goes on");
    TRY(command_connect(invocation, &client, et));
    enum err err = follow_find(
        client, invocation->argument_count > 0 ? invocation->arguments[0] : "last", &job, et);
    if (err == ERR_OK) {
        follow_block_signals();
        follow_init(&m.follow, client, job, invocation);
        m.follow.is_quiet = true;
        err = run_metrics(&m, et);
        follow_fini(&m.follow);
    }
    for (uint32_t v = 0; v < m.file_count; v++)
        run_log_file_close(&m.files[v]);
    client_close(&client);
    return err;
}
