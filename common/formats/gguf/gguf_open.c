/* gguf_open.c - files: one, or the parts of a split model beside their first. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf.h"
#include "common/mem/mem.h"

enum { SUFFIX_BYTES = sizeof "-00001-of-00003.gguf" - 1 };

static int compare_tensors(const void *a, const void *b)
{
    return text_compare((*(const struct gguf_tensor *const *)a)->name,
                        (*(const struct gguf_tensor *const *)b)->name);
}

static enum err open_one(struct gguf *gguf, const char *path, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = gguf_parse(gguf, source.bytes, path, et);
    if (err == ERR_OK)
        gguf->source = source;
    else
        source_close(&source);
    return err;
}

/* Whether the file says of itself to be part `number` (from 0) of `count`. */
static enum err check_part(const struct gguf *part, int64_t number, int64_t count,
                           struct err_text *et)
{
    int64_t found_number = -1;
    int64_t found_count = -1;
    TRY(gguf_i64(part, "split.no", 0, GGUF_FILES_MAX, &found_number, et));
    TRY(gguf_i64(part, "split.count", 0, GGUF_FILES_MAX, &found_count, et));
    if (found_number != number || found_count != count)
        return error_set(et, ERR_FORMAT,
                         "%s: expected part %" PRId64 " of %" PRId64 ", found part %" PRId64
                         " of %" PRId64,
                         part->name, number + 1, count, found_number + 1, found_count);
    return ERR_OK;
}

/* "NAME-00002-of-00003.gguf" of "NAME-00001-of-00003.gguf"; NULL when the first is named otherwise
 * or memory is out. */
static char *part_path(struct arena *arena, const char *first, int64_t number, int64_t count)
{
    char suffix[SUFFIX_BYTES + 1];
    size_t size = strlen(first);
    (void)snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", 1, (int)count);
    if (size <= SUFFIX_BYTES || strcmp(first + size - SUFFIX_BYTES, suffix) != 0)
        return NULL;
    return arena_print(arena, "%.*s-%05d-of-%05d.gguf", (int)(size - SUFFIX_BYTES), first,
                       (int)number + 1, (int)count);
}

static enum err open_parts(struct gguf *gguf, int64_t count, struct err_text *et)
{
    gguf->parts = mem_alloc((size_t)count - 1, sizeof *gguf->parts);
    if (gguf->parts == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", gguf->name);
    for (int64_t i = 1; i < count; i++) {
        char *path = part_path(&gguf->arena, gguf->name, i, count);
        if (path == NULL)
            return error_set(et, ERR_FORMAT,
                             "%s: it is the first of %" PRId64
                             " files, so its name must end in -00001-of-%05d.gguf",
                             gguf->name, count, (int)count);
        TRY(open_one(&gguf->parts[gguf->part_count], path, et));
        gguf->part_count++;
        TRY(check_part(&gguf->parts[i - 1], i, count, et));
    }
    return ERR_OK;
}

/* One list of the tensors of all files. */
static enum err join_tensors(struct gguf *gguf, struct err_text *et)
{
    size_t count = gguf->tensor_count;
    for (size_t i = 0; i < gguf->part_count; i++)
        count += gguf->parts[i].tensor_count;
    if (count > GGUF_TENSORS_MAX)
        return error_set(et, ERR_LIMIT, "%s: expected at most %d tensors, found %zu", gguf->name,
                         GGUF_TENSORS_MAX, count);
    struct gguf_tensor *all = arena_alloc(&gguf->arena, count, sizeof *all);
    const struct gguf_tensor **by_name = arena_alloc(&gguf->arena, count, sizeof *by_name);
    if (all == NULL || by_name == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", gguf->name);
    size_t done = 0;
    for (size_t i = 0; i < gguf->part_count + 1; i++) {
        const struct gguf *part = i == 0 ? gguf : &gguf->parts[i - 1];
        for (size_t k = 0; k < part->tensor_count; k++)
            all[done++] = part->tensors[k];
    }
    for (size_t i = 0; i < count; i++)
        by_name[i] = &all[i];
    qsort(by_name, count, sizeof *by_name, compare_tensors);
    for (size_t i = 1; i < count; i++) {
        if (text_equal(by_name[i - 1]->name, by_name[i]->name))
            return error_set(et, ERR_FORMAT, "%s: tensor %.*s occurs in two of its files",
                             gguf->name, TEXT_ARGS(by_name[i]->name));
    }
    int64_t promised = (int64_t)count;
    TRY(gguf_opt_i64(gguf, "split.tensors.count", 0, INT64_MAX, &promised, NULL, et));
    if (promised != (int64_t)count)
        return error_set(et, ERR_FORMAT,
                         "%s: split.tensors.count: expected %" PRId64 " tensors, found %zu in %zu "
                         "files",
                         gguf->name, promised, count, gguf->part_count + 1);
    gguf->tensors = all;
    gguf->tensors_by_name = by_name;
    gguf->tensor_count = count;
    return ERR_OK;
}

enum err gguf_open(struct gguf *gguf, const char *path, struct err_text *et)
{
    struct gguf made = {0};
    int64_t count = 1;
    TRY(open_one(&made, path, et));
    enum err err;
    TRY_OUT(gguf_opt_i64(&made, "split.count", 0, GGUF_FILES_MAX, &count, NULL, et));
    if (count > 1) {
        int64_t number = 0;
        TRY_OUT(gguf_i64(&made, "split.no", 0, GGUF_FILES_MAX, &number, et));
        if (number != 0) {
            err = error_set(et, ERR_FORMAT,
                            "%s: it is part %" PRId64 " of %" PRId64 "; open the first part", path,
                            number + 1, count);
            goto out;
        }
        TRY_OUT(open_parts(&made, count, et));
        TRY_OUT(join_tensors(&made, et));
    }
    *gguf = made;
out:
    if (err != ERR_OK)
        gguf_close(&made);
    return err;
}
