/* task_report_json.c - quantization.json: settings, quality, sizes, tensors. */
#include "common/base/check.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_report.h"
#include "worker/task/task_settings.h"

enum { REPORT_BYTES_MAX = 256 << 20 };

/* ---- the keys of quantize, by their kind in recipe.def ---- */

static void put_text(struct json_write *w, const char *key, const char *value)
{
    if (value != NULL)
        json_write_text(w, key, text_of(value));
}

/* The file's name alone: where it lay is nobody's business. */
static void put_path(struct json_write *w, const char *key, const char *value)
{
    const char *slash = value != NULL ? strrchr(value, '/') : NULL;
    put_text(w, key, slash != NULL ? slash + 1 : value);
}

/* 0 is what an absent number reads as. */
static void put_u64(struct json_write *w, const char *key, uint64_t value)
{
    if (value > 0)
        json_write_u64(w, key, value);
}

static void put_f64(struct json_write *w, const char *key, double value)
{
    if (value > 0)
        json_write_f64(w, key, value);
}

static void put_words(struct json_write *w, const char *key, const char *const *words, size_t count)
{
    if (count == 0)
        return;
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++)
        json_write_text(w, NULL, text_of(words[i]));
    json_write_array_end(w);
}

#define SETTING_TEXT(type, name)  put_text(w, #name, q->name);
#define SETTING_PATH(type, name)  put_path(w, #name, q->name);
#define SETTING_U64(type, name)   put_u64(w, #name, q->name);
#define SETTING_F64(type, name)   put_f64(w, #name, q->name);
#define SETTING_BOOL(type, name)  json_write_bool(w, #name, q->name);
#define SETTING_ENUM(type, name)  put_text(w, #name, recipe_##type##_word(q->name));
#define SETTING_WORDS(type, name) put_words(w, #name, q->name, q->name##_count);
#define SETTING_PAIRS(type, name) put_words(w, #name, q->name, q->name##_count);

#define SETTING(self, kind, type, name, fallback, min, max, help) SETTING_##kind(type, name)

static void put_settings(struct json_write *w, const struct recipe *recipe)
{
    const struct recipe_quantize *q = &recipe->quantize;
    json_write_object_begin(w, "settings");
    RECIPE_QUANTIZE_ROWS(SETTING, none)
    json_write_u64(w, "sequence_len", recipe->sequence_len);
    json_write_u64(w, "seed", recipe->seed);
    put_text(w, "profile", recipe_profile_name(recipe));
    json_write_object_end(w);
}

/* ---- what was measured ---- */

void task_report_put_rules(struct json_write *w, const struct perplexity *rules)
{
    struct bytes line;
    bytes_init(&line, SIZE_MAX);
    perplexity_print_rules(rules, &line);
    if (bytes_status(&line) == ERR_OK)
        json_write_text(w, "rules", (struct text){(const char *)line.data, line.size});
    bytes_fini(&line);
    put_text(w, "protocol", perplexity_protocol_name(rules->protocol));
    put_u64(w, "window", rules->length);
    put_u64(w, "words", rules->words);
    if (rules->tokenizer[0] != '\0')
        put_text(w, "tokenizer", rules->tokenizer);
}

void task_report_put_losses(struct json_write *w, const char *key, const struct perplexity *rules,
                            double loss_sum, uint64_t positions)
{
    json_write_object_begin(w, key);
    json_write_f64(w, "loss", loss_sum / (double)positions);
    json_write_f64(w, "perplexity", perplexity_value(rules, loss_sum, (double)positions));
    json_write_object_end(w);
}

static void put_quality(struct json_write *w, const struct task_report *report)
{
    const struct compare_sums *sums = &report->sums;
    const struct perplexity *rules = &report->scores.perplexity;
    if (!report->is_compared)
        return;
    json_write_object_begin(w, "quality");
    task_report_put_rules(w, rules);
    json_write_u64(w, "rows", report->scores.total);
    json_write_u64(w, "tokens_scored", sums->positions);
    task_report_put_losses(w, "base", rules, sums->base_loss, sums->positions);
    task_report_put_losses(w, "result", rules, sums->result_loss, sums->positions);
    json_write_f64(w, "kl_mean", sums->kl / (double)sums->positions);
    json_write_f64(w, "kl_max", sums->kl_max);
    json_write_f64(w, "top1_agreement", (double)sums->agreements / (double)sums->positions);
    json_write_object_end(w);
}

static void put_size(struct json_write *w, const struct task_report *report)
{
    json_write_object_begin(w, "size");
    json_write_u64(w, "tensors", report->tensor_count);
    json_write_u64(w, "weights", report->weight_count);
    json_write_u64(w, "weight_bytes", report->size_bytes);
    if (report->weight_count > 0)
        json_write_f64(w, "bits_per_weight",
                       8 * (double)report->size_bytes / (double)report->weight_count);
    if (report->is_compared) {
        json_write_u64(w, "base_bytes", report->scores.base_bytes);
        json_write_u64(w, "result_bytes", report->scores.result_bytes);
    }
    json_write_object_end(w);
}

static void put_target(struct json_write *w, const struct task_report_target *target)
{
    if (target == NULL)
        return;
    json_write_object_begin(w, "target");
    put_f64(w, "target_bpw", target->target_bpw);
    put_f64(w, "target_kl", target->target_kl);
    json_write_u64(w, "size_bytes", target->size_bytes);
    json_write_f64(w, "bits_per_weight", target->bits_per_weight);
    json_write_f64(w, "predicted_kl", target->predicted_kl);
    json_write_u64(w, "tokens", target->tokens);
    json_write_object_end(w);
}

/* All the figures that its task gave, whatever the method. */
static enum err put_tensor(struct json_write *w, const struct task_report_tensor *tensor)
{
    struct json_cursor c = {.count = 0};
    json_write_object_begin(w, NULL);
    while (json_read_next(tensor->figures, &c)) {
        enum json_read_type type = json_read_type(c.value);
        const char *key = c.value.key.data;
        if (type == JSON_READ_INTEGER) {
            int64_t number;
            TRY(json_read_as_i64(c.value, INT64_MIN, INT64_MAX, &number, NULL));
            json_write_i64(w, key, number);
        } else if (type == JSON_READ_REAL) {
            double number;
            TRY(json_read_as_f64(c.value, &number, NULL));
            json_write_f64(w, key, number);
        } else if (type == JSON_READ_TEXT) {
            struct text text;
            TRY(json_read_as_text(c.value, &text, NULL));
            json_write_text(w, key, text);
        }
    }
    json_write_object_end(w);
    return ERR_OK;
}

static void put_digest(struct json_write *w, const char *key, struct digest digest)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    json_write_text(w, key, text_of(hex));
}

static enum err put_report(struct json_write *w, const struct task_report *report)
{
    const struct recipe *recipe = report->recipe;
    json_write_object_begin(w, NULL);
    json_write_text(w, "base_model", task_settings_base_model(recipe));
    json_write_text(w, "form", report->form);
    json_write_text(w, "scheme", report->scheme);
    put_text(w, "method", recipe_quantize_method_word(recipe_quantize_method(recipe)));
    json_write_object_begin(w, "content");
    put_digest(w, "choices", report->choices_digest);
    json_write_object_end(w);
    put_settings(w, recipe);
    put_quality(w, report);
    put_size(w, report);
    put_target(w, report->target);
    json_write_array_begin(w, "tensors");
    for (size_t i = 0; i < report->tensor_count; i++)
        TRY(put_tensor(w, &report->tensors[i]));
    json_write_array_end(w);
    json_write_object_end(w);
    return ERR_OK;
}

enum err task_report_print_json(const struct task_report *report, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, REPORT_BYTES_MAX);
    enum err err = put_report(&w, report);
    if (err != ERR_OK) {
        json_write_fini(&w);
        return err;
    }
    return json_write_close(&w, out);
}
