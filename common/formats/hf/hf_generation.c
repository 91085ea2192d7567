/* hf_generation.c - generation_config.json, read and written. */
#include "common/formats/hf/hf_generation.h"

#include "common/formats/hf/hf_read.h"
#include "common/formats/hf/hf_write.h"
#include "common/formats/json/json_write.h"
#include "common/formats/source/source.h"

enum { TOKENS_MAX = 1 << 24 };

static enum err read_all(struct json_value root, struct hf_generation *g, struct err_text *et)
{
    static const char *const top_k[] = {"top_k", NULL};
    static const char *const new_tokens[] = {"max_new_tokens", NULL};
    TRY(hf_read_token(root, "bos_token_id", &g->bos_token_id, et));
    TRY(hf_read_token(root, "pad_token_id", &g->pad_token_id, et));
    TRY(hf_read_tokens(root, "eos_token_id", &g->eos, et));
    TRY(json_read_opt_bool(root, "do_sample", &g->do_sample, NULL, et));
    TRY(hf_read_opt_number(root, "temperature", 0.0, 1000.0, &g->temperature, et));
    TRY(hf_read_opt_number(root, "top_p", 0.0, 1.0, &g->top_p, et));
    TRY(hf_read_opt_number(root, "repetition_penalty", 0.0, 1000.0, &g->repetition_penalty, et));
    TRY(hf_read_opt_size(root, top_k, 0, TOKENS_MAX, &g->top_k, et));
    return hf_read_opt_size(root, new_tokens, 0, TOKENS_MAX, &g->max_new_tokens, et);
}

enum err hf_generation_parse(struct hf_generation *generation, struct span content,
                             const char *name, struct err_text *et)
{
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = name,
                                              .size_bytes_max = HF_CONFIG_SIZE_BYTES_MAX};
    TRY(json_read_parse(content, &options, &doc, et));
    struct hf_generation made = {.temperature = 1.0, .top_p = 1.0, .repetition_penalty = 1.0};
    struct json_value root = json_read_root(doc);
    enum err err = json_read_type(root) == JSON_READ_OBJECT
                       ? read_all(root, &made, et)
                       : json_read_wrong(root, "an object", et);
    if (err == ERR_OK)
        *generation = made;
    json_read_close(&doc);
    return err;
}

enum err hf_generation_open(struct hf_generation *generation, const char *path, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = hf_generation_parse(generation, source.bytes, path, et);
    source_close(&source);
    return err;
}

enum err hf_generation_print(const struct hf_generation *g, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, HF_CONFIG_SIZE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    hf_write_tokens(&w, g->bos_token_id, g->pad_token_id, &g->eos);
    if (g->do_sample)
        json_write_bool(&w, "do_sample", true);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}
