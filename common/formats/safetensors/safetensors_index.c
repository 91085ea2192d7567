/* safetensors_index.c - shards are opened once each, in the order of their names. */
#include "common/formats/safetensors/safetensors_index.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

/* A row of weight_map. Texts are borrowed from the document. */
struct row {
    struct text tensor;
    struct text file;
};

/* An index in the reading. */
struct index {
    const char *folder;
    const char *path; /* of the index */
    struct row *rows; /* owned; sorted by file, then tensor */
    size_t row_count;
    struct err_text *et;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;
    int order = text_compare(left->file, right->file);
    return order != 0 ? order : text_compare(left->tensor, right->tensor);
}

static int compare_tensors(const void *a, const void *b)
{
    return text_compare(((const struct safetensor *)a)->name, ((const struct safetensor *)b)->name);
}

static enum err out_of_memory(const struct index *index)
{
    return error_set(index->et, ERR_OUT_OF_MEMORY, "%s: out of memory", index->path);
}

static enum err read_rows(struct index *index, const struct json_doc *doc)
{
    struct json_value map;
    TRY(json_read_object(json_read_root(doc), "weight_map", &map, index->et));
    size_t count = json_read_count(map);
    if (count > SAFETENSORS_TENSORS_MAX)
        return error_set(index->et, ERR_LIMIT, "%s: expected at most %d tensors, found %zu",
                         index->path, SAFETENSORS_TENSORS_MAX, count);
    index->rows = mem_alloc(count, sizeof *index->rows);
    if (index->rows == NULL)
        return out_of_memory(index);
    struct json_cursor c = {0};
    while (json_read_next(map, &c)) {
        struct text file = {0};
        TRY(json_read_as_text(c.value, &file, index->et));
        if (!folder_name_is_plain(file))
            return json_read_wrong(c.value, "the name of a file in the same folder", index->et);
        index->rows[index->row_count++] = (struct row){c.value.key, file};
    }
    if (index->row_count > 0)
        qsort(index->rows, index->row_count, sizeof *index->rows, compare_rows);
    return ERR_OK;
}

static bool starts_file(const struct index *index, size_t row)
{
    return row == 0 || !text_equal(index->rows[row - 1].file, index->rows[row].file);
}

static enum err open_shards(const struct index *index, struct safetensors *st)
{
    size_t files = 0;
    for (size_t i = 0; i < index->row_count; i++)
        files += starts_file(index, i);
    if (files > SAFETENSORS_SHARDS_MAX)
        return error_set(index->et, ERR_LIMIT, "%s: expected at most %d files, found %zu",
                         index->path, SAFETENSORS_SHARDS_MAX, files);
    st->shards = mem_alloc(files, sizeof *st->shards);
    if (st->shards == NULL)
        return out_of_memory(index);
    for (size_t i = 0; i < index->row_count; i++) {
        if (!starts_file(index, i))
            continue;
        char *path = folder_join(&st->arena, index->folder, index->rows[i].file.data);
        if (path == NULL)
            return out_of_memory(index);
        TRY(safetensors_open(&st->shards[st->shard_count], path, index->et));
        st->shard_count++;
    }
    return ERR_OK;
}

static enum err list_tensors(const struct index *index, struct safetensors *st)
{
    st->tensors = arena_alloc(&st->arena, index->row_count, sizeof *st->tensors);
    if (st->tensors == NULL)
        return out_of_memory(index);
    size_t shard = 0;
    for (size_t i = 0; i < index->row_count; i++) {
        const struct row *row = &index->rows[i];
        shard += i > 0 && starts_file(index, i);
        const struct safetensor *tensor = safetensors_find(&st->shards[shard], row->tensor);
        if (tensor == NULL)
            return error_set(index->et, ERR_FORMAT,
                             "%s: weight_map.%.*s: the file %.*s has no such tensor", index->path,
                             TEXT_ARGS(row->tensor), TEXT_ARGS(row->file));
        st->tensors[st->count++] = *tensor;
    }
    if (st->count > 0)
        qsort(st->tensors, st->count, sizeof *st->tensors, compare_tensors);
    return ERR_OK;
}

enum err safetensors_index_open(struct safetensors *st, const char *folder, const char *path,
                                struct err_text *et)
{
    struct json_doc *doc = NULL;
    TRY(json_read_open(path, SAFETENSORS_HEADER_BYTES_MAX, &doc, et));
    struct index index = {.folder = folder, .path = path, .et = et};
    struct safetensors made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the index */
    enum err err;
    TRY_OUT(read_rows(&index, doc));
    TRY_OUT(open_shards(&index, &made));
    TRY_OUT(list_tensors(&index, &made));
    *st = made;
out:
    json_read_close(&doc);
    mem_free(index.rows);
    if (err != ERR_OK)
        safetensors_close(&made);
    return err;
}

enum err safetensors_index_open_folder(struct safetensors *st, const char *folder, const char *stem,
                                       struct err_text *et)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    char *single = arena_print(&arena, "%s/%s.safetensors", folder, stem);
    char *index = arena_print(&arena, "%s/%s.safetensors.index.json", folder, stem);
    enum err err;
    if (single == NULL || index == NULL)
        err = error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    else if (file_exists(single))
        err = safetensors_open(st, single, et);
    else if (file_exists(index))
        err = safetensors_index_open(st, folder, index, et);
    else if (!folder_exists(folder))
        err = error_set(et, ERR_NOT_FOUND, "%s: no such folder", folder);
    else
        err = error_set(et, ERR_NOT_FOUND,
                        "%s: expected %s.safetensors or %s.safetensors.index.json, found neither",
                        folder, stem, stem);
    arena_fini(&arena);
    return err;
}
