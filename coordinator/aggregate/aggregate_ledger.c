/* aggregate_ledger.c - see aggregate_ledger.h. */
#include "coordinator/aggregate/aggregate_ledger.h"

#include <math.h>

#include "common/formats/json/json_write.h"
#include "coordinator/aggregate/aggregate_state.h"

enum { LINE_BYTES_MAX = 1 << 16 };

/* The line of the one value written. */
static enum err end_line(struct json_write *w, struct bytes *out)
{
    struct span line;
    enum err err = json_write_finish(w, &line);
    if (err == ERR_OK) {
        bytes_append(out, line.data, line.size);
        bytes_append(out, "\n", 1);
        err = bytes_status(out);
    }
    json_write_fini(w);
    return err;
}

enum err aggregate_ledger_add(struct bytes *ledger, uint64_t step,
                              const struct aggregate_part *parts, size_t part_count)
{
    size_t size = ledger->size;
    enum err err = ERR_OK;
    for (size_t i = 0; i < part_count && err == ERR_OK; i++) {
        struct json_write w;
        char hex[DIGEST_HEX_BYTES];
        digest_hex(parts[i].digest, hex);
        json_write_init(&w, JSON_WRITE_LINE, LINE_BYTES_MAX);
        json_write_object_begin(&w, NULL);
        json_write_u64(&w, "step", step);
        json_write_u64(&w, "first", parts[i].first);
        json_write_u64(&w, "end", parts[i].end);
        json_write_text(&w, "worker", parts[i].worker);
        json_write_text(&w, "gradient", text_of(hex));
        json_write_object_end(&w);
        err = end_line(&w, ledger);
    }
    if (err != ERR_OK) {
        ledger->size = size;
        ledger->err = ERR_OK;
    }
    return err;
}

enum err aggregate_write_ledger(const struct aggregate *aggregate, struct bytes *out)
{
    bytes_append(out, aggregate->ledger.data, aggregate->ledger.size);
    return bytes_status(out);
}

void aggregate_clear_ledger(struct aggregate *aggregate)
{
    bytes_clear(&aggregate->ledger);
}

/* JSON has no NaN: a number that is not there is left out. */
static void write_f64(struct json_write *w, const char *key, double value)
{
    if (isfinite(value))
        json_write_f64(w, key, value);
}

enum err aggregate_write_log(const struct log_point *points, size_t count, struct bytes *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct log_point *p = &points[i];
        struct json_write w;
        json_write_init(&w, JSON_WRITE_LINE, LINE_BYTES_MAX);
        json_write_object_begin(&w, NULL);
        json_write_u64(&w, "step", p->step);
        write_f64(&w, "epoch", p->epoch);
        write_f64(&w, "loss", p->loss);
        if (p->is_eval) {
            json_write_bool(&w, "is_eval", true);
        } else {
            write_f64(&w, "grad_norm", p->grad_norm);
            write_f64(&w, "learning_rate", p->learning_rate);
            json_write_u64(&w, "tokens", p->tokens);
        }
        if (p->pairs > 0) {
            json_write_u64(&w, "pairs", p->pairs);
            write_f64(&w, "reward_chosen", p->reward_chosen);
            write_f64(&w, "reward_rejected", p->reward_rejected);
            write_f64(&w, "accuracy", p->accuracy);
        }
        json_write_object_end(&w);
        TRY(end_line(&w, out));
    }
    return ERR_OK;
}
