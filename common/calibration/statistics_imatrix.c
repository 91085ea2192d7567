/* statistics_imatrix.c - sums of squares under the names of GGUF. */
#include "common/calibration/statistics_imatrix.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static int compare_entries(const void *a, const void *b)
{
    return text_compare(((const struct imatrix_entry *)a)->name,
                        ((const struct imatrix_entry *)b)->name);
}

static enum err add_entry(struct imatrix *m, const struct statistics *stats,
                          const struct statistics_imatrix_entry *from, struct err_text *et)
{
    const struct statistics_site *site = statistics_find(stats, from->site);
    if (site == NULL)
        return error_set(et, ERR_NOT_FOUND, "%.*s: no statistics of site %.*s",
                         TEXT_ARGS(from->weight), TEXT_ARGS(from->site));
    if (site->sum_x2 == NULL)
        return error_set(et, ERR_STATE, "site %.*s: expected sums of squares, found none",
                         TEXT_ARGS(from->site));
    if (from->weight.size == 0 || from->weight.size > IMATRIX_NAME_BYTES_MAX)
        return error_set(et, ERR_LIMIT, "site %.*s: expected a weight of 1 to %d bytes of name",
                         TEXT_ARGS(from->site), IMATRIX_NAME_BYTES_MAX);
    struct imatrix_entry *entry = &m->entries[m->count];
    *entry = (struct imatrix_entry){.columns = site->columns, .matrices = 1};
    entry->name = (struct text){arena_copy_text(&m->arena, from->weight), from->weight.size};
    entry->sums = arena_alloc(&m->arena, site->columns, sizeof *entry->sums);
    entry->counts = arena_alloc(&m->arena, 1, sizeof *entry->counts);
    if (entry->name.data == NULL || entry->sums == NULL || entry->counts == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t c = 0; c < site->columns; c++) {
        if (site->sum_x2[c] > (double)FLT_MAX)
            return error_set(et, ERR_NOT_FINITE, "site %.*s: a sum of squares leaves f32",
                             TEXT_ARGS(from->site));
        entry->sums[c] = (float)site->sum_x2[c];
    }
    entry->counts[0] = (float)stats->tokens;
    m->count++;
    return ERR_OK;
}

static enum err fill(struct imatrix *m, const struct statistics *stats,
                     const struct statistics_imatrix_entry *entries, size_t count,
                     const struct statistics_imatrix_options *options, struct err_text *et)
{
    m->entries = arena_alloc(&m->arena, count, sizeof *m->entries);
    if (m->entries == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        TRY(add_entry(m, stats, &entries[i], et));
    qsort(m->entries, m->count, sizeof *m->entries, compare_entries);
    for (size_t i = 1; i < m->count; i++)
        if (text_equal(m->entries[i - 1].name, m->entries[i].name))
            return error_set(et, ERR_EXISTS, "%.*s: two entries of one name",
                             TEXT_ARGS(m->entries[i].name));
    m->chunk_size = options->chunk_size;
    m->chunk_count = (uint32_t)(stats->rows.end - stats->rows.begin);
    if (options->dataset.size == 0)
        return ERR_OK;
    m->datasets = arena_alloc(&m->arena, 1, sizeof *m->datasets);
    const char *copy = arena_copy_text(&m->arena, options->dataset);
    if (m->datasets == NULL || copy == NULL)
        return ERR_OUT_OF_MEMORY;
    m->datasets[0] = (struct text){copy, options->dataset.size};
    m->dataset_count = 1;
    return ERR_OK;
}

enum err statistics_imatrix(const struct statistics *stats,
                            const struct statistics_imatrix_entry *entries, size_t count,
                            const struct statistics_imatrix_options *options, struct imatrix *out,
                            struct err_text *et)
{
    const uint64_t rows = stats->rows.end - stats->rows.begin;
    if (rows == 0 || count == 0 || options->chunk_size == 0)
        return error_set(et, ERR_STATE,
                         "an importance matrix needs rows, weights and a chunk size, found %llu, "
                         "%zu and %u",
                         (unsigned long long)rows, count, options->chunk_size);
    if (count > IMATRIX_ENTRIES_MAX || rows > UINT32_MAX)
        return error_set(et, ERR_LIMIT, "%zu weights and %llu rows do not fit an importance matrix",
                         count, (unsigned long long)rows);
    struct imatrix made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the statistics */
    enum err err = fill(&made, stats, entries, count, options, et);
    if (err != ERR_OK) {
        arena_fini(&made.arena);
        return err;
    }
    *out = made;
    return ERR_OK;
}
