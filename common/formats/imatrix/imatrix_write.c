/* imatrix_write.c - both forms written. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/formats/imatrix/imatrix_legacy.h"

static enum err send_word(file_sink_f sink, void *context, uint32_t word)
{
    uint8_t bytes[4] = {(uint8_t)word, (uint8_t)(word >> 8), (uint8_t)(word >> 16),
                        (uint8_t)(word >> 24)};
    return sink(context, (struct span){bytes, sizeof bytes});
}

static enum err send_text(file_sink_f sink, void *context, struct text text)
{
    TRY(send_word(sink, context, (uint32_t)text.size));
    return sink(context, span_of_text(text));
}

/* Calls that a legacy file has: its own, or the chunks that the tokens fill. */
static uint32_t calls_of(const struct imatrix *m, float count)
{
    if (m->chunk_size == 0)
        return (uint32_t)count;
    uint32_t calls = (uint32_t)((double)count / m->chunk_size);
    return (double)calls * m->chunk_size < (double)count || calls == 0 ? calls + 1 : calls;
}

static enum err write_legacy(const struct imatrix *m, file_sink_f sink, void *context)
{
    for (size_t i = 0; i < m->count; i++) {
        double calls = (double)m->entries[i].counts[0] / MAX(m->chunk_size, 1u);
        if (m->entries[i].matrices != 1 || calls > IMATRIX_CALLS_MAX)
            return ERR_UNSUPPORTED;
    }
    if (m->dataset_count > 1)
        return ERR_UNSUPPORTED;
    TRY(send_word(sink, context, (uint32_t)m->count));
    for (size_t i = 0; i < m->count; i++) {
        const struct imatrix_entry *e = &m->entries[i];
        uint32_t calls = calls_of(m, e->counts[0]);
        TRY(send_text(sink, context, e->name));
        TRY(send_word(sink, context, calls));
        TRY(send_word(sink, context, (uint32_t)e->columns));
        for (size_t k = 0; k < e->columns; k++) {
            float value = e->sums[k];
            uint32_t bits;
            if (m->chunk_size != 0)
                value = e->counts[0] > 0.0f ? value / e->counts[0] * (float)calls : (float)calls;
            memcpy(&bits, &value, sizeof bits);
            TRY(send_word(sink, context, bits));
        }
    }
    TRY(send_word(sink, context, m->chunk_count));
    return send_text(sink, context, m->dataset_count > 0 ? m->datasets[0] : TEXT(""));
}

static void declare(const struct imatrix_entry *e, const char *ending, size_t columns,
                    struct gguf_write *w)
{
    char name[IMATRIX_NAME_BYTES_MAX + 16];
    uint64_t shape[2] = {e->matrices, columns};
    size_t size = strlen(ending);
    memcpy(name, e->name.data, e->name.size);
    memcpy(name + e->name.size, ending, size);
    gguf_write_tensor(w, (struct text){name, e->name.size + size}, BLOCK_FORMAT_F32, 2, shape);
}

static enum err write_gguf(const struct imatrix *m, struct gguf_write *w, file_sink_f sink,
                           void *context)
{
    gguf_write_text(w, "general.type", TEXT("imatrix"));
    gguf_write_array(w, "imatrix.datasets", GGUF_TEXT, m->dataset_count);
    for (size_t i = 0; i < m->dataset_count; i++)
        gguf_write_item_text(w, m->datasets[i]);
    gguf_write_u32(w, "imatrix.chunk_count", m->chunk_count);
    gguf_write_u32(w, "imatrix.chunk_size", m->chunk_size);
    for (size_t i = 0; i < m->count; i++) {
        declare(&m->entries[i], ".in_sum2", m->entries[i].columns, w);
        declare(&m->entries[i], ".counts", 1, w);
    }
    TRY(gguf_write_header(w, sink, context));
    for (size_t i = 0; i < m->count; i++) {
        const struct imatrix_entry *e = &m->entries[i];
        size_t all = e->matrices * e->columns;
        TRY(gguf_write_data(w, (struct span){(const uint8_t *)e->sums, all * sizeof *e->sums}));
        TRY(gguf_write_data(
            w, (struct span){(const uint8_t *)e->counts, e->matrices * sizeof *e->counts}));
    }
    return gguf_write_finish(w);
}

enum err imatrix_write(const struct imatrix *m, enum imatrix_form form, file_sink_f sink,
                       void *context)
{
    if (form == IMATRIX_LEGACY)
        return write_legacy(m, sink, context);
    if (m->chunk_size == 0)
        return ERR_UNSUPPORTED;
    struct gguf_write w;
    gguf_write_init(&w);
    enum err err = write_gguf(m, &w, sink, context);
    gguf_write_fini(&w);
    return err;
}
