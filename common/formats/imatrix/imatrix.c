/* imatrix.c - both readers, look-up, sums of several. */
#include "common/formats/imatrix/imatrix.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/imatrix/imatrix_legacy.h"
#include "common/formats/source/source.h"

#define SUMS_ENDING   ".in_sum2"
#define COUNTS_ENDING ".counts"

static int compare_entries(const void *a, const void *b)
{
    return text_compare(((const struct imatrix_entry *)a)->name,
                        ((const struct imatrix_entry *)b)->name);
}

static bool are_counts(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] >= 0.0f && values[i] <= 0x1.fffffep127f))
            return false;
    }
    return true;
}

/* Sorts the entries and looks at what both kinds of files promise. */
static enum err finish(struct imatrix *m, const char *name, struct err_text *et)
{
    if (m->count == 0)
        return error_set(et, ERR_FORMAT, "%s: expected an importance matrix with entries, found 0",
                         name);
    qsort(m->entries, m->count, sizeof *m->entries, compare_entries);
    for (size_t i = 0; i < m->count; i++) {
        const struct imatrix_entry *e = &m->entries[i];
        if (i > 0 && text_equal(m->entries[i - 1].name, e->name))
            return error_set(et, ERR_FORMAT, "%s: %.*s: two entries of one name", name,
                             TEXT_ARGS(e->name));
        if (!are_counts(e->sums, e->matrices * e->columns) || !are_counts(e->counts, e->matrices))
            return error_set(et, ERR_NOT_FINITE,
                             "%s: %.*s: expected sums of squares, found a negative or infinite "
                             "value, or NaN",
                             name, TEXT_ARGS(e->name));
    }
    return ERR_OK;
}

/* ---- the GGUF kind ---- */

static bool ends_in(struct text name, const char *end)
{
    size_t size = strlen(end);
    return name.size > size && memcmp(name.data + name.size - size, end, size) == 0;
}

static enum err read_entry(struct imatrix *m, const struct gguf *g, const struct gguf_tensor *sums,
                           struct err_text *et)
{
    char wanted[GGUF_NAME_BYTES_MAX + sizeof COUNTS_ENDING];
    struct text name = {sums->name.data, sums->name.size - (sizeof SUMS_ENDING - 1)};
    int size = snprintf(wanted, sizeof wanted, "%.*s" COUNTS_ENDING, TEXT_ARGS(name));
    const struct gguf_tensor *counts =
        gguf_find_tensor(g, (struct text){wanted, (size_t)(size > 0 ? size : 0)});
    if (counts == NULL)
        return error_set(et, ERR_FORMAT, "%s: expected a tensor %s beside %.*s, found none",
                         g->name, wanted, TEXT_ARGS(sums->name));
    uint64_t matrices = gguf_element_count(counts), all = gguf_element_count(sums);
    if (sums->format != BLOCK_FORMAT_F32 || counts->format != BLOCK_FORMAT_F32)
        return error_set(et, ERR_FORMAT, "%s: %.*s: expected F32", g->name, TEXT_ARGS(name));
    if (matrices == 0 || all == 0 || all % matrices != 0)
        return error_set(et, ERR_SHAPE,
                         "%s: %.*s: expected whole matrices, found %" PRIu64 " sums, %" PRIu64
                         " counts",
                         g->name, TEXT_ARGS(name), all, matrices);
    struct imatrix_entry *e = &m->entries[m->count];
    *e = (struct imatrix_entry){.columns = (size_t)(all / matrices), .matrices = (size_t)matrices};
    e->name = (struct text){arena_copy_text(&m->arena, name), name.size};
    e->sums = arena_alloc(&m->arena, (size_t)all, sizeof *e->sums);
    e->counts = arena_alloc(&m->arena, (size_t)matrices, sizeof *e->counts);
    if (e->name.data == NULL || e->sums == NULL || e->counts == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", g->name);
    memcpy(e->sums, sums->data.data, sums->data.size);
    memcpy(e->counts, counts->data.data, counts->data.size);
    m->count++;
    return ERR_OK;
}

static enum err read_keys(struct imatrix *m, const struct gguf *g, struct err_text *et)
{
    struct text type = {0};
    const struct gguf_value *names = NULL;
    int64_t number = 0;
    TRY(gguf_text(g, "general.type", &type, et));
    if (!text_is(type, "imatrix"))
        return gguf_wrong(g, "general.type", "imatrix", et);
    TRY(gguf_i64(g, "imatrix.chunk_count", 0, UINT32_MAX, &number, et));
    m->chunk_count = (uint32_t)number;
    TRY(gguf_i64(g, "imatrix.chunk_size", 1, UINT32_MAX, &number, et));
    m->chunk_size = (uint32_t)number;
    TRY(gguf_opt_array(g, "imatrix.datasets", GGUF_TEXT, &names, et));
    if (names == NULL || names->count == 0)
        return ERR_OK;
    m->datasets = arena_alloc(&m->arena, (size_t)names->count, sizeof *m->datasets);
    if (m->datasets == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", g->name);
    for (; m->dataset_count < names->count; m->dataset_count++) {
        struct text name = names->texts[m->dataset_count];
        struct text copy = {arena_copy_text(&m->arena, name), name.size};
        if (copy.data == NULL)
            return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", g->name);
        m->datasets[m->dataset_count] = copy;
    }
    return ERR_OK;
}

static enum err read_gguf(struct imatrix *m, struct span content, const char *name,
                          struct err_text *et)
{
    struct gguf g;
    TRY(gguf_parse(&g, content, name, et));
    enum err err;
    TRY_OUT(read_keys(m, &g, et));
    m->entries = arena_alloc(&m->arena, g.tensor_count + 1, sizeof *m->entries);
    if (m->entries == NULL)
        TRY_OUT(error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", name));
    for (size_t i = 0; i < g.tensor_count; i++) {
        const struct gguf_tensor *t = &g.tensors[i];
        if (ends_in(t->name, SUMS_ENDING))
            TRY_OUT(read_entry(m, &g, t, et));
        else if (!ends_in(t->name, COUNTS_ENDING))
            TRY_OUT(error_set(et, ERR_FORMAT,
                              "%s: tensor %.*s: expected a name that ends in " SUMS_ENDING
                              " or " COUNTS_ENDING,
                              name, TEXT_ARGS(t->name)));
    }
out:
    gguf_close(&g);
    return err;
}

/* ---- both ---- */

enum err imatrix_parse(struct imatrix *m, struct span content, const char *name,
                       struct err_text *et)
{
    struct imatrix made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the file */
    enum err err;
    if (gguf_recognise(content))
        TRY_OUT(read_gguf(&made, content, name, et));
    else
        TRY_OUT(imatrix_legacy_read(&made, content, name, et));
    TRY_OUT(finish(&made, name, et));
    *m = made;
    return ERR_OK;
out:
    arena_fini(&made.arena);
    return err;
}

enum err imatrix_open(struct imatrix *m, const char *path, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = imatrix_parse(m, source.bytes, path, et);
    source_close(&source);
    return err;
}

void imatrix_close(struct imatrix *m)
{
    arena_fini(&m->arena);
    *m = (struct imatrix){0};
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, struct text name)
{
    struct imatrix_entry key = {.name = name};
    return bsearch(&key, m->entries, m->count, sizeof *m->entries, compare_entries);
}

void imatrix_mean(const struct imatrix_entry *e, float *out)
{
    for (size_t k = 0; k < e->matrices; k++) {
        float count = e->counts[k];
        for (size_t i = 0; i < e->columns; i++)
            out[k * e->columns + i] = count > 0.0f ? e->sums[k * e->columns + i] / count : 1.0f;
    }
}

/* ---- several ---- */

static enum err copy_entry(struct imatrix *m, const struct imatrix_entry *from)
{
    size_t all = from->matrices * from->columns;
    struct imatrix_entry *to = &m->entries[m->count];
    *to = *from;
    to->name.data = arena_copy_text(&m->arena, from->name);
    to->sums = arena_alloc(&m->arena, all, sizeof *to->sums);
    to->counts = arena_alloc(&m->arena, to->matrices, sizeof *to->counts);
    if (to->name.data == NULL || to->sums == NULL || to->counts == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(to->sums, from->sums, all * sizeof *to->sums);
    memcpy(to->counts, from->counts, to->matrices * sizeof *to->counts);
    m->count++;
    return ERR_OK;
}

/* Adds `part` to the sorted entries of *m. */
static enum err add_part(struct imatrix *m, const struct imatrix *part, struct err_text *et)
{
    const size_t before = m->count;
    for (size_t i = 0; i < part->count; i++) {
        const struct imatrix_entry *from = &part->entries[i];
        struct imatrix_entry *to =
            before == 0 ? NULL
                        : bsearch(from, m->entries, before, sizeof *m->entries, compare_entries);
        if (to == NULL) {
            TRY(copy_entry(m, from));
            continue;
        }
        if (to->columns != from->columns || to->matrices != from->matrices)
            return error_set(et, ERR_SHAPE, "%.*s: expected %zu columns as before, found %zu",
                             TEXT_ARGS(from->name), to->columns, from->columns);
        for (size_t k = 0; k < to->matrices * to->columns; k++)
            to->sums[k] += from->sums[k];
        for (size_t k = 0; k < to->matrices; k++)
            to->counts[k] += from->counts[k];
    }
    qsort(m->entries, m->count, sizeof *m->entries, compare_entries);
    for (size_t i = 0; i < part->dataset_count; i++) {
        struct text name = part->datasets[i];
        struct text copy = {arena_copy_text(&m->arena, name), name.size};
        if (copy.data == NULL)
            return ERR_OUT_OF_MEMORY;
        m->datasets[m->dataset_count++] = copy;
    }
    m->chunk_count += part->chunk_count;
    return ERR_OK;
}

enum err imatrix_merge(const struct imatrix *const *parts, size_t count, struct imatrix *out,
                       struct err_text *et)
{
    struct imatrix made = {.chunk_size = parts[0]->chunk_size};
    size_t entries = 0, datasets = 0;
    for (size_t i = 0; i < count; i++) {
        entries += parts[i]->count;
        datasets += parts[i]->dataset_count;
        if ((parts[i]->chunk_size == 0) != (made.chunk_size == 0))
            return error_set(et, ERR_UNSUPPORTED,
                             "importance matrices: one counts calls (legacy form), another tokens "
                             "(GGUF form): merge files of one form");
    }
    arena_init(&made.arena, SIZE_MAX); /* bounded by the parts */
    enum err err = ERR_OK;
    made.entries = arena_alloc(&made.arena, entries + 1, sizeof *made.entries);
    made.datasets = arena_alloc(&made.arena, datasets + 1, sizeof *made.datasets);
    if (made.entries == NULL || made.datasets == NULL)
        TRY_OUT(error_set(et, ERR_OUT_OF_MEMORY, "out of memory"));
    for (size_t i = 0; i < count; i++)
        TRY_OUT(add_part(&made, parts[i], et));
    *out = made;
    return ERR_OK;
out:
    arena_fini(&made.arena);
    return err;
}
