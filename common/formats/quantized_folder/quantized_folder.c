/* quantized_folder.c - shards planned, configs printed, files sent. */
#include "common/formats/quantized_folder/quantized_folder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_folder.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"

#define CONFIG_NAME "config.json"
#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

/* A plan in the making. */
struct planner {
    const struct quantized_folder_content *content;
    struct arena *arena;
    struct quantized_folder_file *files;
    size_t count, shard_count;
    struct err_text *et;
};

static enum err out_of_memory(const struct planner *p)
{
    const char *base = p->content->base;
    return error_set(p->et, ERR_OUT_OF_MEMORY, "%s: out of memory", base != NULL ? base : "model");
}

/* ---- shards ---- */

/* Tensors from `first` on that make the next shard: at least one. */
static size_t shard_tensors(const struct quantized_folder_content *c, size_t first)
{
    uint64_t most = c->shard_bytes_max != 0 ? c->shard_bytes_max : QUANTIZED_FOLDER_SHARD_BYTES;
    uint64_t size = c->tensors[first].data.size;
    size_t next = first + 1;
    while (next < c->count && size <= most && c->tensors[next].data.size <= most - size)
        size += c->tensors[next++].data.size;
    return next - first;
}

static size_t count_shards(const struct quantized_folder_content *c)
{
    size_t shards = 0;
    for (size_t i = 0; i < c->count; i += shard_tensors(c, i))
        shards++;
    return shards;
}

static enum err add_shards(struct planner *p)
{
    const struct quantized_folder_content *c = p->content;
    for (size_t first = 0, shard = 1; first < c->count; shard++) {
        struct quantized_folder_file *file = &p->files[p->count++];
        size_t count = shard_tensors(c, first), size_bytes = 0;
        file->name = p->shard_count == 1 ? SINGLE_NAME
                                         : arena_print(p->arena, "model-%05zu-of-%05zu.safetensors",
                                                       shard, p->shard_count);
        if (file->name == NULL)
            return out_of_memory(p);
        file->weights =
            (struct safetensors_content){c->tensors + first, count, &safetensors_write_note_pt, 1};
        enum err err = safetensors_write_size(&file->weights, &size_bytes);
        if (err != ERR_OK)
            return error_set(p->et, err, "%s: %s", file->name, error_text(err));
        file->size_bytes = size_bytes;
        first += count;
    }
    return ERR_OK;
}

/* ---- texts ---- */

static enum err add_text(struct planner *p, const char *name, const struct bytes *text)
{
    char *copy = arena_copy_text(p->arena, (struct text){(const char *)text->data, text->size});
    if (copy == NULL)
        return out_of_memory(p);
    p->files[p->count++] = (struct quantized_folder_file){
        .name = name, .size_bytes = text->size, .text = {(uint8_t *)copy, text->size}};
    return ERR_OK;
}

/* Which file has each tensor. */
static enum err add_index(struct planner *p)
{
    struct json_write w;
    struct bytes text;
    uint64_t total = 0;
    if (p->shard_count == 1)
        return ERR_OK;
    json_write_init(&w, JSON_WRITE_PRETTY, SIZE_MAX);
    bytes_init(&text, SIZE_MAX);
    json_write_object_begin(&w, NULL);
    json_write_object_begin(&w, "weight_map");
    for (size_t shard = 0; shard < p->shard_count; shard++) {
        const struct quantized_folder_file *file = &p->files[shard];
        for (size_t i = 0; i < file->weights.count; i++) {
            json_write_text(&w, file->weights.tensors[i].name.data, text_of(file->name));
            total += file->weights.tensors[i].data.size;
        }
    }
    json_write_object_end(&w);
    json_write_object_begin(&w, "metadata");
    json_write_u64(&w, "total_size", total);
    json_write_object_end(&w);
    json_write_object_end(&w);
    enum err err = json_write_close(&w, &text);
    if (err == ERR_OK)
        err = add_text(p, INDEX_NAME, &text);
    bytes_fini(&text);
    return err;
}

static enum err check_config(const struct bytes *text, const char *path, struct err_text *et)
{
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = path};
    enum err err = ERR_OK;
    TRY(json_read_parse(bytes_span(text), &options, &doc, et));
    struct json_value root = json_read_root(doc);
    if (json_read_type(root) != JSON_READ_OBJECT || json_read_count(root) == 0)
        err = json_read_wrong(root, "an object with the model's settings", et);
    else if (!json_read_is_absent(json_read_find(root, "quantization_config")))
        err = error_set(et, ERR_STATE,
                        "%s: the model is quantized already (quantization_config); start from the "
                        "model before",
                        path);
    json_read_close(&doc);
    return err;
}

/* The text with one more member, the first: every other byte stays what it is. */
static void insert_config(struct span base, struct span config, struct bytes *text)
{
    const uint8_t *brace = memchr(base.data, '{', base.size);
    ASSERT(brace != NULL);
    size_t front = (size_t)(brace - base.data) + 1;
    bytes_append(text, base.data, front);
    bytes_append_text(text, TEXT("\n  \"quantization_config\": "));
    for (size_t i = 0; i < config.size; i++) { /* one level deeper */
        bool last = i + 1 == config.size;
        if (!(last && config.data[i] == '\n'))
            bytes_append(text, &config.data[i], 1);
        if (!last && config.data[i] == '\n')
            bytes_append_text(text, TEXT("  "));
    }
    bytes_append_text(text, TEXT(","));
    bytes_append(text, base.data + front, base.size - front);
}

static enum err add_inserted(struct planner *p, struct span base)
{
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    insert_config(base, p->content->quantization_config, &text);
    enum err err = bytes_status(&text);
    if (err == ERR_OK)
        err = add_text(p, CONFIG_NAME, &text);
    bytes_fini(&text);
    return err;
}

/* config.json as it was given. */
static enum err add_given_config(struct planner *p)
{
    struct span config = p->content->config;
    if (p->content->quantization_config.data != NULL)
        return add_inserted(p, config);
    p->files[p->count++] = (struct quantized_folder_file){
        .name = CONFIG_NAME, .size_bytes = config.size, .text = config};
    return ERR_OK;
}

static enum err add_config(struct planner *p)
{
    const char *path = folder_join(p->arena, p->content->base, CONFIG_NAME);
    struct bytes base;
    if (path == NULL)
        return out_of_memory(p);
    bytes_init(&base, HF_CONFIG_SIZE_BYTES_MAX);
    enum err err = file_read(path, HF_CONFIG_SIZE_BYTES_MAX, &base, p->et);
    if (err == ERR_OK)
        err = check_config(&base, path, p->et);
    if (err == ERR_OK)
        err = add_inserted(p, bytes_span(&base));
    bytes_fini(&base);
    return err;
}

/* ---- the plan ---- */

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct quantized_folder_file *)a)->name,
                  ((const struct quantized_folder_file *)b)->name);
}

static void add_copies(struct planner *p, const struct hf_folder *base)
{
    for (size_t i = 0; i < base->count; i++) {
        const struct hf_folder_file *file = &base->files[i];
        if (file->kind != HF_FOLDER_WEIGHTS && strcmp(file->name, CONFIG_NAME) != 0)
            p->files[p->count++] =
                (struct quantized_folder_file){.name = file->name, .size_bytes = file->size_bytes};
    }
}

enum err quantized_folder_plan(const struct quantized_folder_content *content, struct arena *arena,
                               struct quantized_folder *folder, struct err_text *et)
{
    struct planner p = {.content = content, .arena = arena, .et = et};
    struct hf_folder base = {.count = 0};
    ASSERT(content->count > 0);
    if (content->base != NULL)
        TRY(hf_folder_list_unweighted(content->base, arena, &base, et));
    p.shard_count = count_shards(content);
    p.files = arena_alloc(arena, p.shard_count + base.count + 2, sizeof *p.files);
    if (p.files == NULL)
        return out_of_memory(&p);
    TRY(add_shards(&p));
    TRY(add_index(&p));
    TRY(content->base != NULL ? add_config(&p) : add_given_config(&p));
    add_copies(&p, &base);
    qsort(p.files, p.count, sizeof *p.files, compare_files);
    *folder = (struct quantized_folder){content, p.files, p.count};
    return ERR_OK;
}

/* ---- sending ---- */

static enum err send_copy(const struct quantized_folder *folder, const char *name, file_sink_f sink,
                          void *context, struct err_text *et)
{
    struct arena arena;
    struct source source;
    arena_init(&arena, SIZE_MAX);
    const char *path = folder_join(&arena, folder->content->base, name);
    enum err err = path == NULL ? ERR_OUT_OF_MEMORY : source_open(&source, path, et);
    if (err == ERR_OK) {
        err = sink(context, source.bytes);
        source_close(&source);
    }
    arena_fini(&arena);
    return err;
}

enum err quantized_folder_send(const struct quantized_folder *folder, size_t index,
                               file_sink_f sink, void *context, struct err_text *et)
{
    const struct quantized_folder_content *content = folder->content;
    ASSERT(index < folder->count);
    const struct quantized_folder_file *file = &folder->files[index];
    if (file->weights.count == 0)
        return file->text.data != NULL ? sink(context, file->text)
                                       : send_copy(folder, file->name, sink, context, et);
    if (content->data == NULL)
        return safetensors_write(&file->weights, sink, context);
    return safetensors_write_made(&file->weights, content->data, content->context, sink, context);
}

static enum err write_file(const struct quantized_folder *folder, size_t index, const char *path,
                           struct arena *arena, struct err_text *et)
{
    struct file_writer writer;
    const char *name = folder_join(arena, path, folder->files[index].name);
    if (name == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    TRY(file_writer_open(&writer, name, et));
    struct err_text why = {""};
    enum err err = quantized_folder_send(folder, index, file_sink_writer, &writer, &why);
    if (err == ERR_OK)
        return file_writer_commit(&writer, et);
    file_writer_abandon(&writer);
    return error_set(et, err, "%s: cannot be written: %s", name,
                     why.text[0] != '\0' ? why.text : error_text(err));
}

enum err quantized_folder_write(const struct quantized_folder *folder, const char *path,
                                struct err_text *et)
{
    struct arena arena;
    enum err err;
    arena_init(&arena, SIZE_MAX);
    TRY_OUT(folder_create(path, et));
    size_t config = 0;
    for (size_t i = 0; i < folder->count; i++) {
        if (strcmp(folder->files[i].name, CONFIG_NAME) == 0)
            config = i;
        else
            TRY_OUT(write_file(folder, i, path, &arena, et));
    }
    err = write_file(folder, config, path, &arena, et);
out:
    arena_fini(&arena);
    return err;
}
