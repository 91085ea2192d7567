/* convert_tokenizer_files.c - the two forms, and what both share. */
#include "common/formats/convert/convert_tokenizer_files.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_piece_model.h"
#include "common/formats/json/json_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/pretokenizer_named.h"
#include "common/formats/tokenizer/tokenizer_export.h"

enum { TEXT_BYTES_MAX = 512 << 20, ID_BYTES = 16 };

struct writing {
    const struct tokenizer *tokenizer;
    const struct tokenizer_export *e;
    const char *folder; /* for messages */
    struct arena *arena;
    convert_tokenizer_put_f put;
    void *context;
    struct err_text *et;
};

static enum err write_file(const struct writing *g, const char *name, struct span content)
{
    return g->put(g->context, name, content, g->et);
}

/* Ends the writer into a file. */
static enum err close_json(const struct writing *g, const char *name, struct json_write *w)
{
    struct span text = {0};
    enum err err = json_write_finish(w, &text);
    if (err != ERR_OK)
        error_set(g->et, err, "%s: %s: cannot be written: %s", g->folder, name, error_text(err));
    else
        err = write_file(g, name, text);
    json_write_fini(w);
    return err;
}

static bool is_added(uint8_t type)
{
    return type == TOKENIZER_CONTROL || type == TOKENIZER_USER_DEFINED || type == TOKENIZER_UNKNOWN;
}

static void put_added(struct json_write *w, struct text content, uint8_t type)
{
    json_write_text(w, "content", content);
    json_write_bool(w, "lstrip", false);
    json_write_bool(w, "normalized", false);
    json_write_bool(w, "rstrip", false);
    json_write_bool(w, "single_word", false);
    json_write_bool(w, "special", type != TOKENIZER_USER_DEFINED);
}

static void put_role(struct json_write *w, const char *key, const struct writing *g, uint32_t id)
{
    if (id == TOKENIZER_NONE || id >= g->e->count)
        json_write_null(w, key);
    else
        json_write_text(w, key, g->e->tokens[id]);
}

static enum err write_config(const struct writing *g)
{
    struct tokenizer_roles roles = tokenizer_roles(g->tokenizer);
    struct text chat = tokenizer_chat_template(g->tokenizer);
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, TEXT_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_bool(&w, "add_bos_token", g->e->add_bos);
    json_write_bool(&w, "add_eos_token", g->e->add_eos);
    json_write_bool(&w, "clean_up_tokenization_spaces", false);
    put_role(&w, "bos_token", g, roles.bos);
    put_role(&w, "eos_token", g, roles.eos);
    put_role(&w, "pad_token", g, roles.pad);
    put_role(&w, "unk_token", g, roles.unk);
    if (chat.size > 0)
        json_write_text(&w, "chat_template", chat);
    json_write_object_begin(&w, "added_tokens_decoder");
    for (uint32_t i = 0; i < g->e->count; i++) {
        char id[ID_BYTES];
        /* SentencePiece knows its own user-defined pieces. */
        if (!is_added(g->e->types[i]) ||
            (g->e->scores != NULL && g->e->types[i] == TOKENIZER_USER_DEFINED))
            continue;
        (void)snprintf(id, sizeof id, "%u", i);
        json_write_object_begin(&w, id);
        put_added(&w, g->e->tokens[i], g->e->types[i]);
        json_write_object_end(&w);
    }
    json_write_object_end(&w);
    if (g->e->scores != NULL)
        json_write_bool(&w, "legacy", false);
    json_write_text(&w, "tokenizer_class",
                    g->e->scores != NULL ? TEXT("LlamaTokenizer")
                                         : TEXT("PreTrainedTokenizerFast"));
    json_write_object_end(&w);
    return close_json(g, "tokenizer_config.json", &w);
}

/* ---- tokenizer.json ---- */

static void put_step(struct json_write *w, const struct pretokenizer_step *step)
{
    struct text pattern = pretokenizer_pattern(step);
    json_write_object_begin(w, NULL);
    if (pattern.data != NULL) {
        json_write_text(w, "type", TEXT("Split"));
        json_write_object_begin(w, "pattern");
        json_write_text(w, "Regex", pattern);
        json_write_object_end(w);
        json_write_text(w, "behavior", TEXT("Isolated"));
        json_write_bool(w, "invert", false);
    } else if (step->kind == PRETOKENIZER_PUNCTUATION) {
        json_write_text(w, "type", TEXT("Punctuation"));
        json_write_text(w, "behavior", TEXT("Contiguous"));
    } else if (step->kind == PRETOKENIZER_DIGIT) {
        json_write_text(w, "type", TEXT("Digits"));
        json_write_bool(w, "individual_digits", step->behavior == PRETOKENIZER_ISOLATED);
    } else {
        ASSERT(step->kind == PRETOKENIZER_BYTES); /* the named steps are no others */
        json_write_text(w, "type", TEXT("ByteLevel"));
        json_write_bool(w, "add_prefix_space", false);
        json_write_bool(w, "trim_offsets", true);
        json_write_bool(w, "use_regex", false);
    }
    json_write_object_end(w);
}

static void put_byte_level(struct json_write *w, const char *key)
{
    json_write_object_begin(w, key);
    json_write_text(w, "type", TEXT("ByteLevel"));
    json_write_bool(w, "add_prefix_space", true);
    json_write_bool(w, "trim_offsets", false);
    json_write_bool(w, "use_regex", true);
    json_write_object_end(w);
}

static void put_template_token(struct json_write *w, struct text token)
{
    json_write_object_begin(w, NULL);
    json_write_object_begin(w, "SpecialToken");
    json_write_text(w, "id", token);
    json_write_i64(w, "type_id", 0);
    json_write_object_end(w);
    json_write_object_end(w);
}

static void put_template_list(struct json_write *w, const struct writing *g, const char *key,
                              const char *const *names, size_t count)
{
    struct tokenizer_roles roles = tokenizer_roles(g->tokenizer);
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++) {
        if (g->e->add_bos)
            put_template_token(w, g->e->tokens[roles.bos]);
        json_write_object_begin(w, NULL);
        json_write_object_begin(w, "Sequence");
        json_write_text(w, "id", text_of(names[i]));
        json_write_i64(w, "type_id", (int64_t)i);
        json_write_object_end(w);
        json_write_object_end(w);
        if (g->e->add_eos)
            put_template_token(w, g->e->tokens[roles.eos]);
    }
    json_write_array_end(w);
}

/* What stands around a text. */
static void put_template(struct json_write *w, const struct writing *g)
{
    static const char *const names[] = {"A", "B"};
    struct tokenizer_roles roles = tokenizer_roles(g->tokenizer);
    const uint32_t ids[] = {
        g->e->add_bos ? roles.bos : TOKENIZER_NONE,
        g->e->add_eos && (!g->e->add_bos || roles.eos != roles.bos) ? roles.eos : TOKENIZER_NONE};
    if (!g->e->add_bos && !g->e->add_eos) {
        put_byte_level(w, "post_processor");
        return;
    }
    json_write_object_begin(w, "post_processor");
    json_write_text(w, "type", TEXT("TemplateProcessing"));
    put_template_list(w, g, "single", names, 1);
    put_template_list(w, g, "pair", names, 2);
    json_write_object_begin(w, "special_tokens");
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        char *name =
            ids[i] == TOKENIZER_NONE ? NULL : arena_copy_text(g->arena, g->e->tokens[ids[i]]);
        if (name == NULL)
            continue;
        json_write_object_begin(w, name);
        json_write_text(w, "id", text_of(name));
        json_write_array_begin(w, "ids");
        json_write_i64(w, NULL, ids[i]);
        json_write_array_end(w);
        json_write_array_begin(w, "tokens");
        json_write_text(w, NULL, text_of(name));
        json_write_array_end(w);
        json_write_object_end(w);
    }
    json_write_object_end(w);
    json_write_object_end(w);
}

static enum err put_model(struct json_write *w, const struct writing *g, bool ignore_merges)
{
    json_write_object_begin(w, "model");
    json_write_text(w, "type", TEXT("BPE"));
    json_write_null(w, "dropout");
    json_write_null(w, "unk_token");
    json_write_null(w, "continuing_subword_prefix");
    json_write_null(w, "end_of_word_suffix");
    json_write_bool(w, "fuse_unk", false);
    json_write_bool(w, "byte_fallback", false);
    json_write_bool(w, "ignore_merges", ignore_merges);
    json_write_object_begin(w, "vocab");
    for (uint32_t i = 0; i < g->e->count; i++) {
        if (g->e->types[i] == TOKENIZER_UNUSED)
            continue;
        char *name = arena_copy_text(g->arena, g->e->tokens[i]);
        if (name == NULL)
            return error_set(g->et, ERR_OUT_OF_MEMORY, "%s: out of memory", g->folder);
        json_write_i64(w, name, i);
    }
    json_write_object_end(w);
    json_write_array_begin(w, "merges");
    for (uint32_t i = 0; i < g->e->merge_count; i++)
        json_write_text(w, NULL, g->e->merges[i]);
    json_write_array_end(w);
    json_write_object_end(w);
    return ERR_OK;
}

static void put_rules(struct json_write *w, const struct pretokenizer *steps, bool nfc)
{
    if (nfc) {
        json_write_object_begin(w, "normalizer");
        json_write_text(w, "type", TEXT("NFC"));
        json_write_object_end(w);
    } else {
        json_write_null(w, "normalizer");
    }
    json_write_object_begin(w, "pre_tokenizer");
    json_write_text(w, "type", TEXT("Sequence"));
    json_write_array_begin(w, "pretokenizers");
    for (size_t i = 0; i < steps->count; i++)
        put_step(w, &steps->steps[i]);
    json_write_array_end(w);
    json_write_object_end(w);
    put_byte_level(w, "decoder");
}

static enum err write_json(const struct writing *g)
{
    struct pretokenizer steps = {0};
    struct pretokenizer_named named = {0};
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, TEXT_BYTES_MAX);
    enum err err = pretokenizer_named_add(&steps, text_of(g->e->pre), &named, g->et);
    if (err == ERR_OK) {
        json_write_object_begin(&w, NULL);
        json_write_text(&w, "version", TEXT("1.0"));
        json_write_null(&w, "truncation");
        json_write_null(&w, "padding");
        json_write_array_begin(&w, "added_tokens");
        for (uint32_t i = 0; i < g->e->count; i++) {
            if (!is_added(g->e->types[i]))
                continue;
            json_write_object_begin(&w, NULL);
            json_write_i64(&w, "id", i);
            put_added(&w, g->e->tokens[i], g->e->types[i]);
            json_write_object_end(&w);
        }
        json_write_array_end(&w);
        put_rules(&w, &steps, named.nfc);
        put_template(&w, g);
        err = put_model(&w, g, named.ignore_merges);
        json_write_object_end(&w);
    }
    pretokenizer_fini(&steps);
    if (err == ERR_OK)
        return close_json(g, "tokenizer.json", &w);
    json_write_fini(&w);
    return err;
}

/* ---- tokenizer.model ---- */

static enum err write_model(const struct writing *g)
{
    struct bytes content;
    bytes_init(&content, TEXT_BYTES_MAX);
    struct tokenizer_roles roles = tokenizer_roles(g->tokenizer);
    enum err err = convert_piece_model_print(g->e, &roles, &content);
    if (err != ERR_OK)
        error_set(g->et, err, "%s: tokenizer.model: cannot be written: %s", g->folder,
                  error_text(err));
    else
        err = write_file(g, "tokenizer.model", bytes_span(&content));
    bytes_fini(&content);
    return err;
}

enum err convert_tokenizer_files_make(const struct tokenizer *tokenizer, const char *place,
                                      struct arena *arena, convert_tokenizer_put_f put,
                                      void *context, struct err_text *et)
{
    struct tokenizer_export e = {0};
    enum err err = tokenizer_export_make(tokenizer, arena, &e, et);
    if (err != ERR_OK)
        return error_prefix(et, err, "%s", place);
    const struct writing g = {tokenizer, &e, place, arena, put, context, et};
    TRY(e.scores != NULL ? write_model(&g) : write_json(&g));
    return write_config(&g);
}

struct into_folder {
    const char *folder;
    struct arena *arena;
};

static enum err put_into_folder(void *context, const char *name, struct span content,
                                struct err_text *et)
{
    const struct into_folder *into = context;
    const char *path = folder_join(into->arena, into->folder, name);
    if (path == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", into->folder);
    return file_write_atomic(path, content, et);
}

enum err convert_tokenizer_files_write(const struct tokenizer *tokenizer, const char *folder,
                                       struct arena *arena, struct err_text *et)
{
    struct into_folder into = {folder, arena};
    return convert_tokenizer_files_make(tokenizer, folder, arena, put_into_folder, &into, et);
}
