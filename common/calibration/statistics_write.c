/* statistics_write.c - the file of a node, straight from where its numbers lie. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/calibration/statistics_tensor.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/arena.h"

enum { NOTES = 6, DIGITS_MAX = 24 };

struct tables {
    struct safetensor *tensors;
    size_t count;
    struct arena arena; /* owned */
};

static enum err add(struct tables *t, const struct statistics_site *site, const char *ending,
                    struct safetensor tensor)
{
    char *name = arena_print(&t->arena, "%.*s%s", TEXT_ARGS(site->name), ending);
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    tensor.name = text_of(name);
    t->tensors[t->count++] = tensor;
    return ERR_OK;
}

static enum err add_site(struct tables *t, const struct statistics_site *site, uint64_t rows)
{
    uint64_t *columns = arena_alloc(&t->arena, 1, sizeof *columns);
    if (columns == NULL)
        return ERR_OUT_OF_MEMORY;
    *columns = site->columns;
    struct safetensor tensor = {.dtype = SAFETENSORS_I64,
                                .data = {(const uint8_t *)columns, sizeof *columns}};
    TRY(add(t, site, STATISTICS_TENSOR_COLUMNS, tensor));
    for (enum statistics_tensor i = 0; i < STATISTICS_TENSOR_COUNT; i++) {
        if ((site->kinds & statistics_tensor_kind(i)) == 0)
            continue;
        TRY(statistics_tensor_describe(i, site, rows, &tensor));
        TRY(add(t, site, statistics_tensor_ending(i), tensor));
    }
    return ERR_OK;
}

static void set_number(struct safetensors_note *note, const char *key, uint64_t number,
                       char digits[DIGITS_MAX])
{
    (void)snprintf(digits, DIGITS_MAX, "%" PRIu64, number);
    *note = (struct safetensors_note){text_of(key), text_of(digits)};
}

enum err statistics_write(const struct statistics *stats, file_sink_f sink, void *context)
{
    struct tables t = {0};
    struct safetensors_note notes[NOTES];
    char digits[4][DIGITS_MAX];
    const uint64_t rows = stats->rows.end - stats->rows.begin;
    enum err err;
    if (rows == 0)
        return ERR_STATE;
    arena_init(&t.arena, SIZE_MAX);
    t.tensors =
        arena_alloc(&t.arena, stats->count * (STATISTICS_TENSOR_COUNT + 1), sizeof *t.tensors);
    if (t.tensors == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    for (size_t i = 0; i < stats->count; i++)
        TRY_OUT(add_site(&t, &stats->sites[i], rows));
    notes[0] = (struct safetensors_note){TEXT("format"), TEXT(STATISTICS_TENSOR_FORMAT)};
    notes[1] = (struct safetensors_note){TEXT("profile"), stats->profile};
    set_number(&notes[2], "row_begin", stats->rows.begin, digits[0]);
    set_number(&notes[3], "row_end", stats->rows.end, digits[1]);
    set_number(&notes[4], "row_count", stats->row_count, digits[2]);
    set_number(&notes[5], "tokens", stats->tokens, digits[3]);
    const struct safetensors_content content = {t.tensors, t.count, notes, NOTES};
    err = safetensors_write(&content, sink, context);
out:
    arena_fini(&t.arena);
    return err;
}
