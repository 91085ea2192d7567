/* peft_insert.c - two kinds of adapter_config.json. */
#include "common/formats/peft/peft_insert.h"

#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/source/folder.h"

enum { COUNT_MAX = 1 << 20, PATH_ARENA_BYTES = 1 << 16 };

#define KIND_PROMPT     "PROMPT_TUNING"
#define KIND_BOTTLENECK "QFLEET_BOTTLENECK"

/* ---- writing ---- */

static void print_text(struct json_write *w, const char *key, struct text text)
{
    if (text.data == NULL)
        json_write_null(w, key);
    else
        json_write_text(w, key, text);
}

/* What the vectors started from is not said: to go on from them PEFT would look for a tokenizer or
 * know no such word, and would then load the vectors all the same. */
static void print_prompt(struct json_write *w, const struct peft_insert_config *c)
{
    json_write_text(w, "peft_type", TEXT(KIND_PROMPT));
    json_write_null(w, "auto_mapping");
    json_write_u64(w, "num_attention_heads", c->head_count);
    json_write_u64(w, "num_layers", c->layer_count);
    json_write_u64(w, "num_transformer_submodules", 1);
    json_write_u64(w, "num_virtual_tokens", c->vector_count);
    json_write_text(w, "prompt_tuning_init", TEXT("RANDOM"));
    json_write_null(w, "prompt_tuning_init_text");
    json_write_u64(w, "token_dim", c->width);
    json_write_null(w, "tokenizer_kwargs");
    json_write_null(w, "tokenizer_name_or_path");
}

static void print_bottleneck(struct json_write *w, const struct peft_insert_config *c)
{
    json_write_text(w, "peft_type", TEXT(KIND_BOTTLENECK));
    json_write_text(w, "adapter", c->method);
    json_write_text(w, "non_linearity", c->non_linearity);
    json_write_u64(w, "reduction_factor", c->reduction_factor);
    json_write_f64(w, "scaling", c->scaling);
}

enum err peft_insert_print(const struct peft_insert_config *config, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, PEFT_CONFIG_SIZE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    print_text(&w, "base_model_name_or_path", config->base_model);
    json_write_bool(&w, "inference_mode", true);
    if (config->kind == PEFT_INSERT_PROMPT)
        print_prompt(&w, config);
    else
        print_bottleneck(&w, config);
    print_text(&w, "revision", config->revision);
    json_write_text(&w, "task_type", TEXT("CAUSAL_LM"));
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

/* ---- reading ---- */

static enum err keep_text(struct json_value root, const char *key, struct arena *arena,
                          struct text *out, struct err_text *et)
{
    struct text found = {0};
    TRY(json_read_opt_text(root, key, &found, NULL, et));
    if (found.data == NULL)
        return ERR_OK;
    const char *copy = arena_copy_text(arena, found);
    if (copy == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", json_read_name(root.doc));
    *out = (struct text){copy, found.size};
    return ERR_OK;
}

static enum err read_count(struct json_value root, const char *key, uint32_t *out,
                           struct err_text *et)
{
    int64_t count = 0;
    TRY(json_read_i64(root, key, 1, COUNT_MAX, &count, et));
    *out = (uint32_t)count;
    return ERR_OK;
}

static enum err read_prompt(struct json_value root, struct peft_insert_config *made,
                            struct err_text *et)
{
    int64_t submodules = 1;
    made->kind = PEFT_INSERT_PROMPT;
    TRY(read_count(root, "num_virtual_tokens", &made->vector_count, et));
    TRY(read_count(root, "token_dim", &made->width, et));
    TRY(json_read_opt_i64(root, "num_transformer_submodules", 1, 1, &submodules, NULL, et));
    TRY(read_count(root, "num_attention_heads", &made->head_count, et));
    return read_count(root, "num_layers", &made->layer_count, et);
}

static enum err read_bottleneck(struct json_value root, struct arena *arena,
                                struct peft_insert_config *made, struct err_text *et)
{
    struct text method = {0}, non_linearity = {0};
    made->kind = PEFT_INSERT_BOTTLENECK;
    TRY(json_read_text(root, "adapter", &method, et));
    TRY(json_read_text(root, "non_linearity", &non_linearity, et));
    TRY(read_count(root, "reduction_factor", &made->reduction_factor, et));
    TRY(json_read_f64(root, "scaling", &made->scaling, et));
    TRY(keep_text(root, "adapter", arena, &made->method, et));
    return keep_text(root, "non_linearity", arena, &made->non_linearity, et);
}

static enum err read_config(struct json_value root, struct arena *arena,
                            struct peft_insert_config *out, struct err_text *et)
{
    struct peft_insert_config made = {0};
    struct text kind = {0};
    TRY(json_read_text(root, "peft_type", &kind, et));
    if (text_is(kind, KIND_PROMPT))
        TRY(read_prompt(root, &made, et));
    else if (text_is(kind, KIND_BOTTLENECK))
        TRY(read_bottleneck(root, arena, &made, et));
    else
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: peft_type: expected " KIND_PROMPT " or " KIND_BOTTLENECK
                         ", found %.*s",
                         json_read_name(root.doc), TEXT_ARGS(kind));
    TRY(keep_text(root, "base_model_name_or_path", arena, &made.base_model, et));
    TRY(keep_text(root, "revision", arena, &made.revision, et));
    *out = made;
    return ERR_OK;
}

enum err peft_insert_probe(const char *folder, bool *out, struct err_text *et)
{
    struct arena arena;
    struct json_doc *doc = NULL;
    struct text kind = {0};
    arena_init(&arena, PATH_ARENA_BYTES);
    const char *path = folder_join(&arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    enum err err = path == NULL ? ERR_OUT_OF_MEMORY
                                : json_read_open(path, PEFT_CONFIG_SIZE_BYTES_MAX, &doc, et);
    if (err == ERR_OK)
        err = json_read_text(json_read_root(doc), "peft_type", &kind, et);
    if (err == ERR_OK)
        *out = text_is(kind, KIND_PROMPT) || text_is(kind, KIND_BOTTLENECK);
    json_read_close(&doc);
    arena_fini(&arena);
    return err;
}

static enum err open_files(struct peft_insert *made, const char *folder, struct err_text *et)
{
    const char *config = folder_join(&made->arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    const char *weights = folder_join(&made->arena, folder, PEFT_ADAPTER_WEIGHTS_FILE);
    struct json_doc *doc = NULL;
    if (config == NULL || weights == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    TRY(json_read_open(config, PEFT_CONFIG_SIZE_BYTES_MAX, &doc, et));
    enum err err = read_config(json_read_root(doc), &made->arena, &made->config, et);
    json_read_close(&doc);
    TRY(err);
    return safetensors_open(&made->weights, weights, et);
}

enum err peft_insert_open(struct peft_insert *insert, const char *folder, struct err_text *et)
{
    struct peft_insert made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the ceilings of the files */
    enum err err = open_files(&made, folder, et);
    if (err == ERR_OK)
        *insert = made;
    else
        peft_insert_close(&made);
    return err;
}

void peft_insert_close(struct peft_insert *insert)
{
    safetensors_close(&insert->weights);
    arena_fini(&insert->arena);
    *insert = (struct peft_insert){0};
}
