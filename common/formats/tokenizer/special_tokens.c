/* special_tokens.c - see special_tokens.h. */
#include "common/formats/tokenizer/special_tokens.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"

enum { CONFIG_BYTES_MAX = 64 << 20, PATH_BYTES_MAX = 4096 };

/* Spelling of a role: text, or an object with "content"; *found false for null and absent. */
static enum err read_spelling(struct json_value value, struct text *out, bool *found,
                              struct err_text *et)
{
    enum json_read_type type = json_read_type(value);
    *found = false;
    if (type == JSON_READ_ABSENT || type == JSON_READ_NULL)
        return ERR_OK;
    *found = true;
    if (type == JSON_READ_OBJECT)
        return json_read_text(value, "content", out, et);
    return json_read_as_text(value, out, et);
}

static enum err read_role(struct tokenizer *t, struct json_value root, const char *key,
                          uint32_t *role, struct err_text *et)
{
    struct json_value value = json_read_find(root, key);
    struct text spelling;
    bool found;
    TRY(read_spelling(value, &spelling, &found, et));
    if (!found || *role != TOKENIZER_NONE)
        return ERR_OK;
    uint32_t id = vocab_find(&t->vocab, spelling);
    if (id == UINT32_MAX)
        return json_read_wrong(value, "a token of the vocabulary", et);
    *role = id;
    return ERR_OK;
}

static enum err read_roles(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    TRY(read_role(t, root, "bos_token", &t->roles.bos, et));
    TRY(read_role(t, root, "eos_token", &t->roles.eos, et));
    TRY(read_role(t, root, "pad_token", &t->roles.pad, et));
    return read_role(t, root, "unk_token", &t->roles.unk, et);
}

/* "eos_token_id": an id or a list of them, of which the first counts. */
static enum err read_role_id(struct tokenizer *t, struct json_value root, const char *key,
                             uint32_t *role, struct err_text *et)
{
    struct json_value value = json_read_find(root, key);
    int64_t id;
    if (json_read_type(value) == JSON_READ_ARRAY)
        value = json_read_item(value, 0);
    enum json_read_type type = json_read_type(value);
    if (*role != TOKENIZER_NONE || type == JSON_READ_ABSENT || type == JSON_READ_NULL)
        return ERR_OK;
    TRY(json_read_as_i64(value, -1, UINT32_MAX, &id, et));
    /* Configurations name ids that their vocabulary lacks (-1, template defaults): no role then. */
    if (id >= 0 && id < t->vocab.size && t->vocab.tokens[id].data != NULL)
        *role = (uint32_t)id;
    return ERR_OK;
}

static enum err read_role_ids(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    TRY(read_role_id(t, root, "bos_token_id", &t->roles.bos, et));
    TRY(read_role_id(t, root, "eos_token_id", &t->roles.eos, et));
    return read_role_id(t, root, "pad_token_id", &t->roles.pad, et);
}

/* "added_tokens_decoder": {"7": {content, ...}}. */
static enum err read_added(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    struct json_cursor cursor = {0};
    struct json_value table = {0};
    TRY(json_read_opt_object(root, "added_tokens_decoder", &table, NULL, et));
    while (json_read_next(table, &cursor)) {
        struct added_token token = {.special = true};
        uint64_t id = 0;
        for (size_t i = 0; i < cursor.value.key.size && id <= VOCAB_ID_MAX; i++) {
            uint8_t digit = (uint8_t)(cursor.value.key.data[i] - '0');
            if (digit > 9)
                return json_read_wrong(cursor.value, "an id as the key", et);
            id = id * 10 + digit;
        }
        if (id > VOCAB_ID_MAX)
            return json_read_wrong(cursor.value, "a smaller id as the key", et);
        TRY(json_read_text(cursor.value, "content", &token.pattern, et));
        TRY(json_read_opt_bool(cursor.value, "special", &token.special, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "lstrip", &token.lstrip, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "rstrip", &token.rstrip, NULL, et));
        TRY(json_read_opt_bool(cursor.value, "single_word", &token.single_word, NULL, et));
        token.id = (uint32_t)id;
        TRY(tokenizer_model_add(t, token, et));
    }
    return ERR_OK;
}

/* Whether BOS and EOS stand around a text, where tokenizer_config.json decides that. */
struct switches {
    bool decide;
    bool bos;
    bool eos;
};

/* The Llama class rebuilds its template from two switches; others ignore them. */
static enum err read_switches(struct json_value root, struct switches *out, struct err_text *et)
{
    struct text name = TEXT("");
    bool has_bos, has_eos;
    *out = (struct switches){.bos = true};
    TRY(json_read_opt_text(root, "tokenizer_class", &name, NULL, et));
    TRY(json_read_opt_bool(root, "add_bos_token", &out->bos, &has_bos, et));
    TRY(json_read_opt_bool(root, "add_eos_token", &out->eos, &has_eos, et));
    bool llama = text_is(name, "LlamaTokenizer") || text_is(name, "LlamaTokenizerFast");
    out->decide = llama && (has_bos || has_eos);
    return ERR_OK;
}

/* After all files, since any of them may name the tokens. */
static void apply_switches(struct tokenizer *t, const struct switches *switches)
{
    struct post_processor *p = &t->post_processor;
    if (!switches->decide)
        return;
    p->prefix[0] = t->roles.bos;
    p->prefix_count = switches->bos && t->roles.bos != TOKENIZER_NONE ? 1 : 0;
    p->suffix[0] = t->roles.eos;
    p->suffix_count = switches->eos && t->roles.eos != TOKENIZER_NONE ? 1 : 0;
}

static enum err keep_template(struct tokenizer *t, struct text jinja)
{
    char *copy = arena_copy_text(&t->arena, jinja);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    t->chat_template = (struct text){copy, jinja.size};
    return ERR_OK;
}

/* "chat_template": a text, or a list of {name, template} of which "default" counts. */
static enum err read_template(struct tokenizer *t, struct json_value root, struct err_text *et)
{
    struct json_value value = json_read_find(root, "chat_template");
    struct text jinja, name;
    if (json_read_type(value) == JSON_READ_TEXT) {
        TRY(json_read_as_text(value, &jinja, et));
        return keep_template(t, jinja);
    }
    for (size_t i = 0; i < json_read_count(value); i++) {
        struct json_value item = json_read_item(value, i);
        TRY(json_read_text(item, "name", &name, et));
        TRY(json_read_text(item, "template", &jinja, et));
        if (text_is(name, "default"))
            return keep_template(t, jinja);
    }
    return ERR_OK;
}

static enum err read_config(struct tokenizer *t, struct json_value root, bool with_added,
                            struct switches *switches, struct err_text *et)
{
    if (with_added)
        TRY(read_added(t, root, et));
    TRY(read_roles(t, root, et));
    TRY(read_switches(root, switches, et));
    return read_template(t, root, et);
}

enum kind { KIND_CONFIG, KIND_MAP, KIND_IDS, KIND_TEMPLATE };

static enum err read_file(struct tokenizer *t, const char *path, enum kind kind, bool with_added,
                          struct switches *switches, struct err_text *et)
{
    struct json_doc *doc = NULL;
    enum err err;
    TRY(json_read_open(path, CONFIG_BYTES_MAX, &doc, et));
    struct json_value root = json_read_root(doc);
    if (kind == KIND_CONFIG)
        err = read_config(t, root, with_added, switches, et);
    else if (kind == KIND_MAP)
        err = read_roles(t, root, et);
    else if (kind == KIND_TEMPLATE)
        err = t->chat_template.size == 0 ? read_template(t, root, et) : ERR_OK;
    else
        err = read_role_ids(t, root, et);
    json_read_close(&doc);
    return err;
}

static enum err read_jinja(struct tokenizer *t, const char *path, struct err_text *et)
{
    struct bytes content;
    bytes_init(&content, CONFIG_BYTES_MAX);
    enum err err = file_read(path, CONFIG_BYTES_MAX, &content, et);
    if (err == ERR_OK)
        err = keep_template(t, (struct text){(const char *)content.data, content.size});
    bytes_fini(&content);
    return err;
}

enum err special_tokens_read(struct tokenizer *tokenizer, const char *folder, bool with_added,
                             struct err_text *et)
{
    static const struct {
        const char *name;
        enum kind kind;
    } files[] = {
        {"tokenizer_config.json", KIND_CONFIG}, {"special_tokens_map.json", KIND_MAP},
        {"generation_config.json", KIND_IDS},   {"config.json", KIND_IDS},
        {"chat_template.json", KIND_TEMPLATE},
    };
    char path[PATH_BYTES_MAX];
    struct switches switches = {0};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", folder, files[i].name) >= (int)sizeof(path))
            return error_set(et, ERR_LIMIT, "%s: the path is too long", folder);
        if (file_exists(path))
            TRY(read_file(tokenizer, path, files[i].kind, with_added, &switches, et));
    }
    apply_switches(tokenizer, &switches);
    if (snprintf(path, sizeof(path), "%s/chat_template.jinja", folder) < (int)sizeof(path) &&
        file_exists(path))
        TRY(read_jinja(tokenizer, path, et));
    return ERR_OK;
}
