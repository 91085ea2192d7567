/* task_log.c - one JSON object a line. */
#include "worker/task/task_log.h"

#include <string.h>

#include "common/formats/json/json_read.h"

enum { LINE_BYTES_MAX = 64 << 10 };

static enum err read_point(struct json_value line, struct trainer_log_point *point,
                           struct err_text *et)
{
    int64_t step = 0, tokens = 0, pairs = 0;
    TRY(json_read_i64(line, "step", 0, INT64_MAX, &step, et));
    TRY(json_read_f64(line, "epoch", &point->epoch, et));
    TRY(json_read_f64(line, "loss", &point->loss, et));
    TRY(json_read_opt_bool(line, "is_eval", &point->is_eval, NULL, et));
    TRY(json_read_opt_f64(line, "grad_norm", &point->grad_norm, NULL, et));
    TRY(json_read_opt_f64(line, "learning_rate", &point->learning_rate, NULL, et));
    TRY(json_read_opt_i64(line, "tokens", 0, INT64_MAX, &tokens, NULL, et));
    TRY(json_read_opt_i64(line, "pairs", 0, INT64_MAX, &pairs, NULL, et));
    TRY(json_read_opt_f64(line, "reward_chosen", &point->reward_chosen, NULL, et));
    TRY(json_read_opt_f64(line, "reward_rejected", &point->reward_rejected, NULL, et));
    TRY(json_read_opt_f64(line, "accuracy", &point->accuracy, NULL, et));
    point->step = (uint64_t)step;
    point->pairs = (uint64_t)pairs;
    point->tokens = (uint64_t)tokens;
    return ERR_OK;
}

static enum err read_line(struct span line, size_t number, struct trainer_log_point *point,
                          struct err_text *et)
{
    const struct json_read_options options = {
        .name = "log", .first_line = number, .size_bytes_max = LINE_BYTES_MAX};
    struct json_doc *doc = NULL;
    TRY(json_read_parse(line, &options, &doc, et));
    enum err err = read_point(json_read_root(doc), point, et);
    json_read_close(&doc);
    return err;
}

static size_t count_lines(struct span content)
{
    size_t count = 0;
    for (size_t i = 0; i < content.size; i++)
        count += content.data[i] == '\n';
    return count + 1;
}

enum err task_log_read(struct span content, struct arena *arena, struct trainer_log *out,
                       struct err_text *et)
{
    struct trainer_log_point *points = arena_alloc(arena, count_lines(content), sizeof *points);
    if (points == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = 0;
    for (size_t number = 1; content.size > 0; number++) {
        const uint8_t *end = memchr(content.data, '\n', content.size);
        size_t size = end != NULL ? (size_t)(end - content.data) : content.size;
        if (size > 0)
            TRY(read_line((struct span){content.data, size}, number, &points[count++], et));
        size_t used = size + (end != NULL ? 1 : 0);
        content.data += used;
        content.size -= used;
    }
    *out = (struct trainer_log){.points = points, .count = count};
    return ERR_OK;
}

const struct trainer_log_point *task_log_last(const struct trainer_log *log, bool is_eval)
{
    for (size_t i = log->count; i > 0; i--)
        if (log->points[i - 1].is_eval == is_eval)
            return &log->points[i - 1];
    return NULL;
}
