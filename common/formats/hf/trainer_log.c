/* trainer_log.c - field names are those of the Trainer and of LLaMA-Factory. */
#include "common/formats/hf/trainer_log.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"

enum { STATE_BYTES_MAX = 1 << 30, LINE_BYTES_MAX = 4096, MS_PER_S = 1000, S_PER_MIN = 60 };

static const struct trainer_log_point *best_of(const struct trainer_log *log)
{
    const struct trainer_log_point *best = NULL;
    for (size_t i = 0; i < log->count; i++) {
        const struct trainer_log_point *p = &log->points[i];
        if (p->is_eval && (best == NULL || p->loss < best->loss))
            best = p;
    }
    return best;
}

/* TRL's names, of an evaluation behind "eval_". */
static void put_rewards(struct json_write *w, const struct trainer_log_point *p)
{
    static const char *const names[][2] = {
        {"rewards/chosen", "eval_rewards/chosen"},
        {"rewards/rejected", "eval_rewards/rejected"},
        {"rewards/margins", "eval_rewards/margins"},
        {"rewards/accuracies", "eval_rewards/accuracies"},
    };
    const double values[] = {p->reward_chosen, p->reward_rejected,
                             p->reward_chosen - p->reward_rejected, p->accuracy};
    for (size_t i = 0; p->pairs > 0 && i < COUNT_OF(values); i++)
        json_write_f64(w, names[i][p->is_eval], values[i]);
}

static void put_point(struct json_write *w, const struct trainer_log_point *p)
{
    json_write_object_begin(w, NULL);
    json_write_u64(w, "step", p->step);
    json_write_f64(w, "epoch", p->epoch);
    if (p->is_eval) {
        json_write_f64(w, "eval_loss", p->loss);
    } else {
        json_write_f64(w, "loss", p->loss);
        json_write_f64(w, "grad_norm", p->grad_norm);
        json_write_f64(w, "learning_rate", p->learning_rate);
    }
    put_rewards(w, p);
    json_write_object_end(w);
}

enum err trainer_log_print_state(const struct trainer_log *log, struct bytes *out)
{
    const struct trainer_log_point *best = best_of(log);
    const struct trainer_log_point *last = log->count > 0 ? &log->points[log->count - 1] : NULL;
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, STATE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    if (best != NULL)
        json_write_f64(&w, "best_metric", best->loss);
    else
        json_write_null(&w, "best_metric");
    if (best != NULL)
        json_write_u64(&w, "best_global_step", best->step);
    else
        json_write_null(&w, "best_global_step");
    json_write_null(&w, "best_model_checkpoint");
    json_write_f64(&w, "epoch", last != NULL ? last->epoch : 0.0);
    json_write_u64(&w, "global_step", log->steps_done);
    json_write_u64(&w, "max_steps", log->steps_total);
    json_write_f64(&w, "num_train_epochs", log->epochs_total);
    json_write_u64(&w, "train_batch_size", log->batch_size);
    json_write_u64(&w, "logging_steps", log->logging_steps);
    json_write_u64(&w, "eval_steps", log->eval_steps);
    json_write_u64(&w, "save_steps", log->save_steps);
    json_write_bool(&w, "is_hyper_param_search", false);
    json_write_bool(&w, "is_local_process_zero", true);
    json_write_bool(&w, "is_world_process_zero", true);
    json_write_array_begin(&w, "log_history");
    for (size_t i = 0; i < log->count; i++)
        put_point(&w, &log->points[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

/* "0:01:07", the way Python prints a duration. */
static void put_duration(struct json_write *w, const char *key, uint64_t ms)
{
    uint64_t s = ms / MS_PER_S;
    char text[48];
    int size = snprintf(text, sizeof text, "%" PRIu64 ":%02u:%02u", s / S_PER_MIN / S_PER_MIN,
                        (unsigned)(s / S_PER_MIN % S_PER_MIN), (unsigned)(s % S_PER_MIN));
    json_write_text(w, key, (struct text){text, (size_t)size});
}

enum err trainer_log_print_line(const struct trainer_log *log,
                                const struct trainer_log_point *point, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, LINE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_u64(&w, "current_steps", point->step);
    json_write_u64(&w, "total_steps", log->steps_total);
    json_write_f64(&w, point->is_eval ? "eval_loss" : "loss", point->loss);
    if (!point->is_eval) {
        json_write_f64(&w, "lr", point->learning_rate);
        json_write_f64(&w, "grad_norm", point->grad_norm);
    }
    if (point->pairs > 0)
        json_write_f64(&w, "accuracy", point->accuracy);
    json_write_f64(&w, "epoch", point->epoch);
    uint64_t hundredths =
        log->steps_total > 0 ? (uint64_t)((double)point->step * 1e4 / (double)log->steps_total) : 0;
    json_write_f64(&w, "percentage", (double)hundredths / 100.0);
    put_duration(&w, "elapsed_time", point->elapsed_ms);
    put_duration(&w, "remaining_time", point->remaining_ms);
    if (point->tokens_per_second > 0.0)
        json_write_f64(&w, "throughput", point->tokens_per_second);
    json_write_u64(&w, "total_tokens", point->tokens);
    if (point->memory_bytes > 0)
        json_write_u64(&w, "memory_bytes", point->memory_bytes);
    json_write_object_end(&w);
    size_t size_before = out->size;
    TRY(json_write_close(&w, out));
    bytes_append_text(out, TEXT("\n"));
    if (bytes_status(out) != ERR_OK)
        out->size = size_before;
    return bytes_status(out);
}

enum err trainer_log_print_lines(const struct trainer_log *log, struct bytes *out)
{
    for (size_t i = 0; i < log->count; i++)
        TRY(trainer_log_print_line(log, &log->points[i], out));
    return ERR_OK;
}
