/* tokenizer_open.c - finds the files of a tokenizer and has them read. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/sentencepiece.h"
#include "common/formats/tokenizer/special_tokens.h"
#include "common/formats/tokenizer/tiktoken.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/tokenizer_gguf.h"
#include "common/formats/tokenizer/tokenizer_json.h"
#include "common/formats/tokenizer/tokenizer_model.h"
#include "common/mem/mem.h"

enum { PATH_BYTES_MAX = 4096 };

static const char *const FILE_NAMES[] = {
    "tokenizer.json",        "tokenizer.model",         "vocab.json",  "merges.txt",
    "tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json",
    "chat_template.jinja",   "chat_template.json",
};

const char *tokenizer_file_name(size_t index)
{
    return index < COUNT_OF(FILE_NAMES) ? FILE_NAMES[index] : NULL;
}

void tokenizer_unicode_version(char *out, size_t out_bytes)
{
    char patterns[64];
    regex_version(patterns, sizeof(patterns));
    (void)snprintf(out, out_bytes, "utf8proc %s, pcre2 %s", unicode_version(), patterns);
}

static enum err read_json(struct tokenizer *t, const char *path, struct err_text *et)
{
    struct json_doc *doc = NULL;
    TRY(json_read_open(path, JSON_READ_SIZE_BYTES_MAX, &doc, et));
    enum err err = tokenizer_json_read(t, json_read_root(doc), et);
    json_read_close(&doc);
    return err;
}

/* tokenizer.model is the name of two formats. */
static enum err read_model(struct tokenizer *t, const char *path, struct err_text *et)
{
    struct source source = {0};
    TRY(source_open(&source, path, et));
    enum err err = tiktoken_recognise(source.bytes) ? tiktoken_read(t, source.bytes, et)
                                                    : sentencepiece_read(t, source.bytes, et);
    source_close(&source);
    return err;
}

static enum err read_gguf(struct tokenizer *t, const char *path, struct err_text *et)
{
    struct gguf gguf = {0};
    TRY(gguf_open(&gguf, path, et));
    enum err err = tokenizer_gguf_read(t, &gguf, et);
    gguf_close(&gguf);
    return err;
}

static enum err read_pair(struct tokenizer *t, const char *vocabulary, const char *merges,
                          struct err_text *et)
{
    struct json_doc *doc = NULL;
    struct source source = {0};
    TRY(source_open(&source, merges, et));
    enum err err = json_read_open(vocabulary, JSON_READ_SIZE_BYTES_MAX, &doc, et);
    struct text text = {(const char *)source.bytes.data, source.bytes.size};
    if (err == ERR_OK && unicode_valid_prefix(text) != text.size)
        err = error_set(et, ERR_FORMAT, "%s: expected UTF-8", merges);
    if (err == ERR_OK)
        err = tokenizer_json_read_pair(t, json_read_root(doc), text, et);
    json_read_close(&doc);
    source_close(&source);
    return err;
}

enum place_kind { PLACE_JSON, PLACE_MODEL, PLACE_PAIR, PLACE_GGUF };

/* The file that a folder or a path means, and where its neighbours are. */
struct place {
    char folder[PATH_BYTES_MAX];
    char path[PATH_BYTES_MAX];
    char merges[PATH_BYTES_MAX];
    enum place_kind kind;
};

static bool join(char *out, const char *folder, const char *name)
{
    return snprintf(out, PATH_BYTES_MAX, "%s/%s", folder, name) < PATH_BYTES_MAX;
}

static bool ends_with(const char *text, const char *tail)
{
    size_t size = strlen(text);
    size_t tail_size = strlen(tail);
    return size >= tail_size && strcmp(text + size - tail_size, tail) == 0;
}

static enum err find_in_folder(struct place *place, struct err_text *et)
{
    static const char *const names[] = {
        [PLACE_JSON] = "tokenizer.json",
        [PLACE_MODEL] = "tokenizer.model",
        [PLACE_PAIR] = "vocab.json",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (!join(place->path, place->folder, names[i]) ||
            !join(place->merges, place->folder, "merges.txt"))
            return error_set(et, ERR_LIMIT, "%s: the path is too long", place->folder);
        bool whole = i != PLACE_PAIR || file_exists(place->merges);
        if (whole && file_exists(place->path)) {
            place->kind = (enum place_kind)i;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_NOT_FOUND,
                     "%s: no tokenizer (looked for tokenizer.json, tokenizer.model, vocab.json "
                     "with merges.txt)",
                     place->folder);
}

/* Content addressed stores keep GGUF files under names without an ending. */
static bool is_gguf(const char *path)
{
    struct source source;
    if (source_open(&source, path, NULL) != ERR_OK)
        return false;
    bool found = gguf_recognise(source.bytes);
    source_close(&source);
    return found;
}

static enum err find(struct place *place, const char *path, struct err_text *et)
{
    if (snprintf(place->folder, PATH_BYTES_MAX, "%s", path) >= PATH_BYTES_MAX)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    if (folder_exists(path))
        return find_in_folder(place, et);
    memcpy(place->path, place->folder, PATH_BYTES_MAX);
    char *slash = strrchr(place->folder, '/');
    if (slash == NULL)
        memcpy(place->folder, ".", 2);
    else
        *slash = '\0';
    place->kind = ends_with(path, ".json")                    ? PLACE_JSON
                  : ends_with(path, ".gguf") || is_gguf(path) ? PLACE_GGUF
                                                              : PLACE_MODEL;
    if (ends_with(path, "vocab.json")) {
        place->kind = PLACE_PAIR;
        if (!join(place->merges, place->folder, "merges.txt"))
            return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    }
    if (!file_exists(path))
        return error_set(et, ERR_NOT_FOUND, "%s: no such file or folder", path);
    return ERR_OK;
}

static enum err read_place(struct tokenizer *t, const struct place *place, struct err_text *et)
{
    switch (place->kind) {
    case PLACE_JSON:
        return read_json(t, place->path, et);
    case PLACE_MODEL:
        return read_model(t, place->path, et);
    case PLACE_PAIR:
        return read_pair(t, place->path, place->merges, et);
    case PLACE_GGUF:
        return read_gguf(t, place->path, et);
    }
    return ERR_INTERNAL;
}

static enum err read_all(struct tokenizer *t, const struct place *place, struct err_text *et)
{
    enum err err = read_place(t, place, et);
    if (err != ERR_OK) {
        /* Messages about a value name the file already. */
        bool named = et != NULL && strncmp(et->text, place->path, strlen(place->path)) == 0;
        return named ? err : error_prefix(et, err, "%s", place->path);
    }
    if (place->kind != PLACE_GGUF) /* a GGUF file speaks for itself */
        TRY(special_tokens_read(t, place->folder, place->kind != PLACE_JSON, et));
    err = tokenizer_model_finish(t, et);
    return err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s", place->path);
}

enum err tokenizer_open(const char *path, struct tokenizer **out, struct err_text *et)
{
    struct place *place = mem_alloc(1, sizeof(*place));
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    enum err err = ERR_OUT_OF_MEMORY;
    if (t != NULL)
        tokenizer_model_init(t, TOKENIZER_MODEL_BYTES_MAX);
    if (t == NULL || place == NULL)
        goto out;
    TRY_OUT(find(place, path, et));
    TRY_OUT(read_all(t, place, et));
    *out = t;
    t = NULL;
out:
    mem_free(place);
    tokenizer_close(&t);
    return err;
}

enum err tokenizer_open_gguf(const struct gguf *gguf, struct tokenizer **out, struct err_text *et)
{
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    if (t == NULL)
        return ERR_OUT_OF_MEMORY;
    tokenizer_model_init(t, TOKENIZER_MODEL_BYTES_MAX);
    enum err err = tokenizer_gguf_read(t, gguf, et);
    if (err == ERR_OK)
        err = tokenizer_model_finish(t, et);
    if (err == ERR_OK) {
        *out = t;
        t = NULL;
    }
    tokenizer_close(&t);
    return err;
}

void tokenizer_close(struct tokenizer **tokenizer)
{
    struct tokenizer *t = *tokenizer;
    if (t == NULL)
        return;
    normalizer_fini(&t->normalizer);
    pretokenizer_fini(&t->pretokenizer);
    arena_fini(&t->arena);
    mem_free(t);
    *tokenizer = NULL;
}
