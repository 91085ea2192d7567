/* run_log.c - log points to lines and records. */
#include "cli/command/run_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/plot/pace.h"
#include "cli/plot/run_metric.h"
#include "common/base/check.h"
#include "common/formats/hf/trainer_log.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tensorboard/event_file.h"
#include "common/formats/tensorboard/event_reader.h"
#include "common/mem/mem.h"

enum { FILE_BYTES_MAX = 1 << 30, SCALARS_MAX = 16 };

enum err run_log_init(const struct follow *follow, uint32_t variant, struct run_log *log)
{
    *log = (struct run_log){
        .points = mem_alloc(MAX(follow->point_count, (size_t)1), sizeof *log->points),
        .started_unix_ms = follow->started_unix_ms,
        .steps_total = follow->steps_total,
    };
    if (log->points == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < follow->point_count; i++) {
        if (follow->points[i].variant == variant)
            log->points[log->count++] = follow->points[i];
    }
    for (size_t i = 0; i < log->count; i++)
        log->steps_total = MAX(log->steps_total, log->points[i].step);
    return ERR_OK;
}

void run_log_fini(struct run_log *log)
{
    mem_free(log->points);
    *log = (struct run_log){0};
}

/* The training point before point `index`, or NULL. */
static const struct log_point *before(const struct run_log *log, size_t index)
{
    while (index > 0 && log->points[index - 1].is_eval)
        index--;
    return index > 0 ? &log->points[index - 1] : NULL;
}

/* ---- trainer_log.jsonl ---- */

static struct trainer_log_point line_of(const struct run_log *log, size_t index)
{
    const struct log_point *point = &log->points[index];
    uint64_t start = log->points[0].unix_ms;
    if (log->started_unix_ms != 0)
        start = MIN(start, log->started_unix_ms);
    double speed = point->is_eval ? (double)NAN : pace_between(before(log, index), point);
    struct trainer_log_point line = {
        .step = point->step,
        .epoch = point->epoch,
        .is_eval = point->is_eval,
        .loss = point->loss,
        .grad_norm = point->grad_norm,
        .learning_rate = point->learning_rate,
        .pairs = point->pairs,
        .reward_chosen = point->reward_chosen,
        .reward_rejected = point->reward_rejected,
        .accuracy = point->accuracy,
        .tokens = point->tokens,
        .elapsed_ms = point->unix_ms - MIN(point->unix_ms, start),
        .tokens_per_second = isfinite(speed) ? speed : 0,
    };
    if (point->step > 0 && log->steps_total > point->step)
        line.remaining_ms =
            (uint64_t)((double)line.elapsed_ms * (double)(log->steps_total - point->step) /
                       (double)point->step);
    return line;
}

enum err run_log_lines(const struct run_log *log, size_t first, struct bytes *out)
{
    const struct trainer_log head = {.steps_total = log->steps_total};
    for (size_t i = first; i < log->count; i++) {
        const struct trainer_log_point line = line_of(log, i);
        TRY(trainer_log_print_line(&head, &line, out));
    }
    return ERR_OK;
}

/* ---- event files ---- */

void run_log_events(const struct run_log *log, size_t first, struct bytes *out)
{
    for (size_t i = first; i < log->count; i++) {
        const struct log_point *point = &log->points[i];
        struct event_file_scalar scalars[SCALARS_MAX];
        const struct run_metric *metric;
        size_t count = 0;
        for (size_t m = 0; (metric = run_metric_at(m)) != NULL && count < SCALARS_MAX; m++) {
            if (metric->is_eval != point->is_eval)
                continue;
            double value = metric->value(point, before(log, i));
            /* A loss that is no number is news; what a point does not have is none. */
            if (isfinite(value) || strcmp(metric->word, "loss") == 0)
                scalars[count++] = (struct event_file_scalar){metric->tag, value};
        }
        event_file_scalars((double)point->unix_ms / 1000, point->step, scalars, count, out);
    }
}

/* Bytes that may stand in the name of a folder anywhere. */
static void make_plain(char *name)
{
    for (; *name != '\0'; name++) {
        bool is_plain = (*name >= '0' && *name <= '9') || (*name >= 'a' && *name <= 'z') ||
                        (*name >= 'A' && *name <= 'Z') || strchr("._=,+-", *name) != NULL;
        *name = is_plain ? *name : '_';
    }
}

const char *run_log_run_name(const struct follow *follow, uint32_t variant,
                             char out[2 * RUN_LOG_NAME_BYTES])
{
    char name[RUN_LOG_NAME_BYTES], part[RUN_LOG_NAME_BYTES] = "";
    (void)snprintf(name, sizeof name, "%s-%.7s", follow->name, follow->id);
    make_plain(name);
    if (name[0] == '.')
        name[0] = '_';
    if (follow->variant_count > 0) {
        (void)snprintf(part, sizeof part, "%s", follow->variants[variant].name);
        make_plain(part);
    }
    (void)snprintf(out, 2 * RUN_LOG_NAME_BYTES, "%s%s%s", name, part[0] != '\0' ? "/" : "", part);
    return out;
}

/* How many points of `log` the file has, whole and in their order; 0: it is another's. */
static size_t points_of(struct span content, const struct run_log *log, size_t *good_bytes)
{
    struct event_reader reader = event_reader_of(content);
    struct event_reader_event event;
    size_t points = 0;
    bool is_end = false;
    *good_bytes = 0;
    while (event_reader_next(&reader, &event, &is_end, NULL) == ERR_OK && !is_end) {
        if (reader.record_count > 1) {
            if (points >= log->count || event.step != log->points[points].step)
                return points == log->count ? points : 0;
            points++;
        }
        *good_bytes = reader.good_bytes;
    }
    return points;
}

static enum err append(int fd, const struct bytes *content, const char *path, struct err_text *et)
{
    errno = ENOSPC; /* of a write that ends early */
    if (write(fd, content->data, content->size) == (ssize_t)content->size)
        return ERR_OK;
    return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
}

/* Cuts a file that is there behind its last whole point, and gives a new one its first record. */
static enum err settle(struct run_log_file *file, const char *path, double begin_s,
                       const struct run_log *log, struct err_text *et)
{
    struct bytes content;
    size_t good = 0;
    bytes_init(&content, FILE_BYTES_MAX);
    enum err err = file_read(path, FILE_BYTES_MAX, &content, et);
    if (err == ERR_OK)
        file->points = points_of(bytes_span(&content), log, &good);
    good = file->points > 0 ? good : 0;
    bytes_clear(&content);
    if (err == ERR_OK && good == 0)
        event_file_begin(begin_s, &content);
    err = err == ERR_OK ? bytes_status(&content) : err;
    if (err == ERR_OK && ftruncate(file->fd, (off_t)good) != 0)
        err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    if (err == ERR_OK)
        err = append(file->fd, &content, path, et);
    bytes_fini(&content);
    return err;
}

enum err run_log_file_open(const char *folder, const struct follow *follow, uint32_t variant,
                           struct run_log_file *file, struct err_text *et)
{
    char run[2 * RUN_LOG_NAME_BYTES], path[LIMIT_PATH_BYTES];
    struct run_log log;
    *file = (struct run_log_file){.fd = -1};
    (void)run_log_run_name(follow, variant, run);
    int size = snprintf(path, sizeof path, "%s/%s", folder, run);
    if (size < 0 || (size_t)size + 64 > sizeof path)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", folder);
    TRY(folder_create(path, et));
    (void)snprintf(path + size, sizeof path - (size_t)size,
                   "/events.out.tfevents.%" PRIu64 ".qfleet-%.7s", follow->created_unix_ms / 1000,
                   follow->id);
    file->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    enum err err = run_log_init(follow, variant, &log);
    if (err == ERR_OK)
        err = settle(file, path, (double)follow->created_unix_ms / 1000, &log, et);
    if (err == ERR_OK)
        err = run_log_file_add(file, &log, et);
    run_log_fini(&log);
    if (err != ERR_OK)
        run_log_file_close(file);
    return err;
}

enum err run_log_file_add(struct run_log_file *file, const struct run_log *log, struct err_text *et)
{
    struct bytes records;
    if (log->count <= file->points)
        return ERR_OK;
    bytes_init(&records, FILE_BYTES_MAX);
    run_log_events(log, file->points, &records);
    enum err err = bytes_status(&records);
    if (err == ERR_OK)
        err = append(file->fd, &records, "an event file", et);
    if (err == ERR_OK)
        file->points = log->count;
    bytes_fini(&records);
    return err;
}

void run_log_file_close(struct run_log_file *file)
{
    if (file->fd >= 0)
        (void)close(file->fd);
    file->fd = -1;
}
