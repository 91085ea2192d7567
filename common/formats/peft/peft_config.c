/* peft_config.c - the keys of adapter_config.json. */
#include "common/formats/peft/peft_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

enum { LIST_COUNT_MAX = 1 << 16 };

#define ALPHA_MAX 1e9

/* A file in the reading. */
struct reader {
    struct json_value root;
    struct arena *arena;
    struct err_text *et;
};

static enum err out_of_memory(const struct reader *r)
{
    return error_set(r->et, ERR_OUT_OF_MEMORY, "%s: out of memory", json_read_name(r->root.doc));
}

static enum err keep_text(const struct reader *r, struct text found, struct text *out)
{
    char *copy = arena_copy_text(r->arena, found);
    if (copy == NULL)
        return out_of_memory(r);
    *out = (struct text){copy, found.size};
    return ERR_OK;
}

static enum err read_text(const struct reader *r, const char *key, struct text *out)
{
    struct text found = {0};
    bool is_given = false;
    TRY(json_read_opt_text(r->root, key, &found, &is_given, r->et));
    return is_given ? keep_text(r, found, out) : ERR_OK;
}

static enum err read_list(const struct reader *r, struct json_value list, const struct text **out,
                          size_t *count)
{
    size_t wanted = json_read_count(list);
    if (wanted > LIST_COUNT_MAX)
        return json_read_wrong(list, "at most 65536 names", r->et);
    struct text *texts = arena_alloc(r->arena, wanted, sizeof *texts);
    if (texts == NULL)
        return out_of_memory(r);
    struct json_cursor c = {0};
    while (json_read_next(list, &c)) {
        struct text found = {0};
        TRY(json_read_as_text(c.value, &found, r->et));
        TRY(keep_text(r, found, &texts[c.count - 1]));
    }
    *out = texts;
    *count = wanted;
    return ERR_OK;
}

static enum err read_opt_list(const struct reader *r, const char *key, const struct text **out,
                              size_t *count)
{
    struct json_value list = {0};
    bool is_given = false;
    TRY(json_read_opt_array(r->root, key, &list, &is_given, r->et));
    return is_given ? read_list(r, list, out, count) : ERR_OK;
}

static enum err read_patterns(const struct reader *r, const char *key, bool whole, double min,
                              double max, const struct peft_pattern **out, size_t *count)
{
    struct json_value object = {0};
    bool is_given = false;
    TRY(json_read_opt_object(r->root, key, &object, &is_given, r->et));
    if (!is_given)
        return ERR_OK;
    size_t wanted = json_read_count(object);
    struct peft_pattern *patterns = arena_alloc(r->arena, wanted, sizeof *patterns);
    if (patterns == NULL)
        return out_of_memory(r);
    struct json_cursor c = {0};
    while (json_read_next(object, &c)) {
        struct peft_pattern *p = &patterns[c.count - 1];
        char expected[64];
        (void)snprintf(expected, sizeof expected, "%s from %g to %g",
                       whole ? "a whole number" : "a number", min, max);
        TRY(json_read_as_f64(c.value, &p->value, r->et));
        if (!(p->value >= min && p->value <= max) || (whole && p->value != floor(p->value)))
            return json_read_wrong(c.value, expected, r->et);
        TRY(keep_text(r, c.value.key, &p->suffix));
    }
    *out = patterns;
    *count = wanted;
    return ERR_OK;
}

static enum err read_targets(const struct reader *r, struct peft_config *made)
{
    struct json_value targets = json_read_find(r->root, "target_modules");
    if (json_read_type(targets) == JSON_READ_ARRAY)
        return read_list(r, targets, &made->target_modules, &made->target_count);
    if (json_read_type(targets) != JSON_READ_TEXT)
        return json_read_wrong(targets, "a list of module names or one expression", r->et);
    return read_text(r, "target_modules", &made->target_expression);
}

static enum err read_numbers(const struct reader *r, struct peft_config *made)
{
    int64_t rank = 8;
    TRY(json_read_opt_i64(r->root, "r", 1, PEFT_CONFIG_RANK_MAX, &rank, NULL, r->et));
    made->r = (uint32_t)rank;
    made->lora_alpha = 8.0; /* PEFT's default, whatever r is */
    TRY(json_read_opt_f64(r->root, "lora_alpha", &made->lora_alpha, NULL, r->et));
    if (!(fabs(made->lora_alpha) <= ALPHA_MAX))
        return json_read_wrong(json_read_find(r->root, "lora_alpha"), "a number from -1e9 to 1e9",
                               r->et);
    TRY(json_read_opt_f64(r->root, "lora_dropout", &made->lora_dropout, NULL, r->et));
    if (!(made->lora_dropout >= 0.0 && made->lora_dropout < 1.0))
        return json_read_wrong(json_read_find(r->root, "lora_dropout"),
                               "a probability from 0 up to 1", r->et);
    TRY(json_read_opt_bool(r->root, "use_rslora", &made->use_rslora, NULL, r->et));
    TRY(json_read_opt_bool(r->root, "use_dora", &made->use_dora, NULL, r->et));
    return json_read_opt_bool(r->root, "fan_in_fan_out", &made->fan_in_fan_out, NULL, r->et);
}

/* What would change the meaning of the tensors in ways that are not read here. */
static enum err check_kind(const struct reader *r)
{
    const char *name = json_read_name(r->root.doc);
    struct text kind = {0};
    TRY(json_read_text(r->root, "peft_type", &kind, r->et));
    if (!text_is(kind, "LORA"))
        return error_set(r->et, ERR_UNSUPPORTED, "%s: peft_type: expected LORA, found %.*s", name,
                         TEXT_ARGS(kind));
    struct text bias = TEXT("none");
    TRY(json_read_opt_text(r->root, "bias", &bias, NULL, r->et));
    if (!text_is(bias, "none"))
        return error_set(r->et, ERR_UNSUPPORTED, "%s: bias: expected none, found %.*s", name,
                         TEXT_ARGS(bias));
    bool lora_bias = false;
    TRY(json_read_opt_bool(r->root, "lora_bias", &lora_bias, NULL, r->et));
    if (lora_bias)
        return error_set(r->et, ERR_UNSUPPORTED, "%s: lora_bias: expected false, found true", name);
    return ERR_OK;
}

static enum err read_all(const struct reader *r, struct peft_config *made)
{
    if (json_read_type(r->root) != JSON_READ_OBJECT)
        return json_read_wrong(r->root, "an object", r->et);
    TRY(check_kind(r));
    TRY(read_numbers(r, made));
    TRY(read_targets(r, made));
    TRY(read_text(r, "base_model_name_or_path", &made->base_model));
    TRY(read_text(r, "revision", &made->revision));
    TRY(read_opt_list(r, "modules_to_save", &made->modules_to_save, &made->save_count));
    TRY(read_patterns(r, "rank_pattern", true, 1.0, PEFT_CONFIG_RANK_MAX, &made->rank_patterns,
                      &made->rank_pattern_count));
    return read_patterns(r, "alpha_pattern", false, -ALPHA_MAX, ALPHA_MAX, &made->alpha_patterns,
                         &made->alpha_pattern_count);
}

enum err peft_config_parse(struct peft_config *config, struct span content, const char *name,
                           struct arena *arena, struct err_text *et)
{
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = name,
                                              .size_bytes_max = PEFT_CONFIG_SIZE_BYTES_MAX};
    TRY(json_read_parse(content, &options, &doc, et));
    const struct reader reader = {json_read_root(doc), arena, et};
    struct peft_config made = {0};
    enum err err = read_all(&reader, &made);
    if (err == ERR_OK)
        *config = made;
    json_read_close(&doc);
    return err;
}

enum err peft_config_open(struct peft_config *config, const char *path, struct arena *arena,
                          struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = peft_config_parse(config, source.bytes, path, arena, et);
    source_close(&source);
    return err;
}

static int compare_texts(const void *a, const void *b)
{
    return text_compare(*(const struct text *)a, *(const struct text *)b);
}

static enum err print_list(struct json_write *w, const char *key, const struct text *texts,
                           size_t count)
{
    struct text *sorted = mem_alloc(count, sizeof *sorted);
    if (sorted == NULL)
        return ERR_OUT_OF_MEMORY;
    if (count > 0) {
        memcpy(sorted, texts, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare_texts);
    }
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++)
        json_write_text(w, NULL, sorted[i]);
    json_write_array_end(w);
    mem_free(sorted);
    return ERR_OK;
}

/* PEFT declares alpha and ranks as integers: 16 and not 16.0, where the value allows it. */
static void print_number(struct json_write *w, const char *key, double value)
{
    if (fabs(value) <= ALPHA_MAX && value == (double)(int64_t)value)
        json_write_i64(w, key, (int64_t)value);
    else
        json_write_f64(w, key, value);
}

static enum err print_patterns(struct json_write *w, const char *key,
                               const struct peft_pattern *patterns, size_t count)
{
    json_write_object_begin(w, key);
    for (size_t i = 0; i < count; i++) {
        char *suffix = mem_copy_text(patterns[i].suffix);
        if (suffix == NULL)
            return ERR_OUT_OF_MEMORY;
        print_number(w, suffix, patterns[i].value);
        mem_free(suffix);
    }
    json_write_object_end(w);
    return ERR_OK;
}

static void print_text(struct json_write *w, const char *key, struct text text)
{
    if (text.data == NULL)
        json_write_null(w, key);
    else
        json_write_text(w, key, text);
}

/* Keys whose value is always the same. */
static void print_fixed(struct json_write *w)
{
    json_write_text(w, "peft_type", TEXT("LORA"));
    json_write_text(w, "task_type", TEXT("CAUSAL_LM"));
    json_write_text(w, "bias", TEXT("none"));
    json_write_bool(w, "inference_mode", true);
    json_write_bool(w, "init_lora_weights", true);
    json_write_null(w, "auto_mapping");
    json_write_null(w, "layer_replication");
    json_write_null(w, "layers_pattern");
    json_write_null(w, "layers_to_transform");
    json_write_object_begin(w, "loftq_config");
    json_write_object_end(w);
    json_write_null(w, "megatron_config");
    json_write_text(w, "megatron_core", TEXT("megatron.core"));
}

static enum err print_all(struct json_write *w, const struct peft_config *c)
{
    json_write_object_begin(w, NULL);
    print_fixed(w);
    print_text(w, "base_model_name_or_path", c->base_model);
    print_text(w, "revision", c->revision);
    json_write_u64(w, "r", c->r);
    print_number(w, "lora_alpha", c->lora_alpha);
    json_write_f64(w, "lora_dropout", c->lora_dropout);
    json_write_bool(w, "use_rslora", c->use_rslora);
    json_write_bool(w, "use_dora", c->use_dora);
    json_write_bool(w, "fan_in_fan_out", c->fan_in_fan_out);
    if (c->target_expression.data != NULL)
        json_write_text(w, "target_modules", c->target_expression);
    else
        TRY(print_list(w, "target_modules", c->target_modules, c->target_count));
    if (c->save_count == 0)
        json_write_null(w, "modules_to_save");
    else
        TRY(print_list(w, "modules_to_save", c->modules_to_save, c->save_count));
    TRY(print_patterns(w, "rank_pattern", c->rank_patterns, c->rank_pattern_count));
    TRY(print_patterns(w, "alpha_pattern", c->alpha_patterns, c->alpha_pattern_count));
    json_write_object_end(w);
    return ERR_OK;
}

enum err peft_config_print(const struct peft_config *config, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, PEFT_CONFIG_SIZE_BYTES_MAX);
    enum err err = print_all(&w, config);
    if (err == ERR_OK)
        return json_write_close(&w, out);
    json_write_fini(&w);
    return err;
}

bool peft_config_suffix_fits(struct text module, struct text suffix)
{
    if (suffix.size > module.size)
        return false;
    size_t front = module.size - suffix.size;
    return memcmp(module.data + front, suffix.data, suffix.size) == 0 &&
           (front == 0 || module.data[front - 1] == '.');
}

static double value_of(const struct peft_pattern *patterns, size_t count, struct text module,
                       double otherwise)
{
    for (size_t i = 0; i < count; i++) {
        if (peft_config_suffix_fits(module, patterns[i].suffix))
            return patterns[i].value;
    }
    return otherwise;
}

uint32_t peft_config_rank_of(const struct peft_config *c, struct text module)
{
    return (uint32_t)value_of(c->rank_patterns, c->rank_pattern_count, module, c->r);
}

double peft_config_alpha_of(const struct peft_config *c, struct text module)
{
    return value_of(c->alpha_patterns, c->alpha_pattern_count, module, c->lora_alpha);
}

double peft_config_scale_of(const struct peft_config *c, struct text module)
{
    double rank = peft_config_rank_of(c, module);
    return peft_config_alpha_of(c, module) / (c->use_rslora ? sqrt(rank) : rank);
}
