/* hf_folder.c - a table of names, and the shards that an index adds to it. */
#include "common/formats/hf/hf_folder.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"

#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

struct known {
    const char *name;
    enum hf_folder_kind kind;
};

static const struct known known_files[] = {
    {"config.json", HF_FOLDER_CONFIG},
    {"generation_config.json", HF_FOLDER_CONFIG},
    {SINGLE_NAME, HF_FOLDER_WEIGHTS},
    {INDEX_NAME, HF_FOLDER_WEIGHTS},
    {"tokenizer.json", HF_FOLDER_TOKENIZER},
    {"tokenizer.model", HF_FOLDER_TOKENIZER},
    {"tokenizer_config.json", HF_FOLDER_TOKENIZER},
    {"special_tokens_map.json", HF_FOLDER_TOKENIZER},
    {"added_tokens.json", HF_FOLDER_TOKENIZER},
    {"vocab.json", HF_FOLDER_TOKENIZER},
    {"merges.txt", HF_FOLDER_TOKENIZER},
    {"chat_template.jinja", HF_FOLDER_TEMPLATE},
    {"chat_template.json", HF_FOLDER_TEMPLATE},
};

/* A listing in the making. */
struct lister {
    const char *path;
    struct arena *arena;
    struct folder_listing entries;
    struct hf_folder found;
    struct err_text *et;
};

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct hf_folder_file *)a)->name,
                  ((const struct hf_folder_file *)b)->name);
}

static const struct folder_entry *find_entry(const struct lister *l, struct text name)
{
    for (size_t i = 0; i < l->entries.count; i++) {
        if (text_is(name, l->entries.entries[i].name))
            return &l->entries.entries[i];
    }
    return NULL;
}

static void add(struct lister *l, const struct folder_entry *entry, enum hf_folder_kind kind)
{
    for (size_t i = 0; i < l->found.count; i++) {
        if (l->found.files[i].name == entry->name)
            return; /* a shard is named once a tensor */
    }
    ASSERT(l->found.count < l->entries.count);
    l->found.files[l->found.count++] =
        (struct hf_folder_file){entry->name, kind, entry->size_bytes};
}

static enum err add_shards(struct lister *l)
{
    const char *path = folder_join(l->arena, l->path, INDEX_NAME);
    if (path == NULL)
        return error_set(l->et, ERR_OUT_OF_MEMORY, "%s: out of memory", l->path);
    struct json_doc *doc = NULL;
    TRY(json_read_open(path, SAFETENSORS_HEADER_BYTES_MAX, &doc, l->et));
    struct json_value map = {0};
    enum err err;
    TRY_OUT(json_read_object(json_read_root(doc), "weight_map", &map, l->et));
    struct json_cursor c = {0};
    while (json_read_next(map, &c)) {
        struct text name = {0};
        TRY_OUT(json_read_as_text(c.value, &name, l->et));
        const struct folder_entry *entry = find_entry(l, name);
        if (entry == NULL) {
            err = error_set(l->et, ERR_NOT_FOUND, "%s: weight_map names %.*s, which is not there",
                            path, TEXT_ARGS(name));
            goto out;
        }
        add(l, entry, HF_FOLDER_WEIGHTS);
    }
out:
    json_read_close(&doc);
    return err;
}

static enum err list(const char *path, struct arena *arena, bool wants_weights,
                     struct hf_folder *folder, struct err_text *et)
{
    struct lister l = {.path = path, .arena = arena, .et = et};
    TRY(folder_list(path, arena, &l.entries, et));
    l.found.files = arena_alloc(arena, l.entries.count, sizeof *l.found.files);
    if (l.found.files == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    bool is_single = find_entry(&l, TEXT(SINGLE_NAME)) != NULL;
    bool is_sharded = !is_single && find_entry(&l, TEXT(INDEX_NAME)) != NULL;
    for (size_t i = 0; i < COUNT_OF(known_files); i++) {
        const struct folder_entry *entry = find_entry(&l, text_of(known_files[i].name));
        bool is_unread = is_single && strcmp(known_files[i].name, INDEX_NAME) == 0;
        bool is_wanted = wants_weights || known_files[i].kind != HF_FOLDER_WEIGHTS;
        if (entry != NULL && is_wanted && !is_unread)
            add(&l, entry, known_files[i].kind);
    }
    if (find_entry(&l, TEXT("config.json")) == NULL)
        return error_set(et, ERR_NOT_FOUND, "%s: expected a config.json, found none", path);
    if (wants_weights && !is_single && !is_sharded)
        return error_set(et, ERR_NOT_FOUND,
                         "%s: expected " SINGLE_NAME " or " INDEX_NAME ", found neither", path);
    if (wants_weights && is_sharded)
        TRY(add_shards(&l));
    qsort(l.found.files, l.found.count, sizeof *l.found.files, compare_files);
    *folder = l.found;
    return ERR_OK;
}

enum err hf_folder_list(const char *path, struct arena *arena, struct hf_folder *folder,
                        struct err_text *et)
{
    return list(path, arena, true, folder, et);
}

enum err hf_folder_list_unweighted(const char *path, struct arena *arena, struct hf_folder *folder,
                                   struct err_text *et)
{
    return list(path, arena, false, folder, et);
}
