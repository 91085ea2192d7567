/* safetensors_write.c - the header is built first, then data goes from its place to the sink. */
#include "common/formats/safetensors/safetensors_write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"

#define METADATA_KEY "__metadata__"

enum { PREFIX_BYTES = 8, HEADER_ALIGN_BYTES = 8 };

const struct safetensors_note safetensors_write_note_pt = {.key = {"format", sizeof "format" - 1},
                                                           .value = {"pt", sizeof "pt" - 1}};

static int compare_tensors(const void *a, const void *b)
{
    const struct safetensor *left = *(const struct safetensor *const *)a;
    const struct safetensor *right = *(const struct safetensor *const *)b;
    if (left->dtype != right->dtype)
        return left->dtype > right->dtype ? -1 : 1;
    return text_compare(left->name, right->name);
}

static int compare_names(const void *a, const void *b)
{
    return text_compare((*(const struct safetensor *const *)a)->name,
                        (*(const struct safetensor *const *)b)->name);
}

static int compare_notes(const void *a, const void *b)
{
    return text_compare((*(const struct safetensors_note *const *)a)->key,
                        (*(const struct safetensors_note *const *)b)->key);
}

static void assert_size(const struct safetensor *t)
{
    size_t size = safetensors_dtype_size_bytes(t->dtype);
    bool fits = t->rank <= SAFETENSORS_RANK_MAX;
    for (uint32_t i = 0; fits && i < t->rank; i++)
        fits = check_mul(size, (size_t)t->shape[i], &size);
    ASSERT(fits && size == t->data.size);
}

/* Appends `"__metadata__":{...}`. */
static enum err put_notes(const struct safetensors_content *content, struct bytes *out)
{
    const struct safetensors_note **order = mem_alloc(content->note_count, sizeof *order);
    if (order == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < content->note_count; i++)
        order[i] = &content->notes[i];
    qsort(order, content->note_count, sizeof *order, compare_notes);
    enum err err = ERR_OK;
    bytes_append_text(out, TEXT("\"" METADATA_KEY "\":{"));
    for (size_t i = 0; i < content->note_count && err == ERR_OK; i++) {
        if (i > 0 && text_equal(order[i - 1]->key, order[i]->key))
            err = ERR_FORMAT;
        if (i > 0)
            bytes_append_text(out, TEXT(","));
        if (err == ERR_OK)
            err = json_write_quoted(out, order[i]->key);
        bytes_append_text(out, TEXT(":"));
        if (err == ERR_OK)
            err = json_write_quoted(out, order[i]->value);
    }
    bytes_append_text(out, TEXT("}"));
    mem_free(order);
    return err;
}

static enum err put_tensor(const struct safetensor *t, size_t begin, struct bytes *out)
{
    if (text_is(t->name, METADATA_KEY))
        return ERR_FORMAT;
    TRY(json_write_quoted(out, t->name));
    bytes_print(out, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->rank; i++)
        bytes_print(out, "%s%" PRIu64, i > 0 ? "," : "", t->shape[i]);
    bytes_print(out, "],\"data_offsets\":[%zu,%zu]}", begin, begin + t->data.size);
    return bytes_status(out);
}

/* Builds prefix and header. `order` are the tensors as they will lie. */
static enum err put_header(const struct safetensors_content *content,
                           const struct safetensor **order, struct bytes *out, size_t *data_bytes)
{
    static const uint8_t blank[PREFIX_BYTES];
    bytes_append(out, blank, sizeof blank);
    bytes_append_text(out, TEXT("{"));
    if (content->note_count > 0)
        TRY(put_notes(content, out));
    size_t at = 0;
    for (size_t i = 0; i < content->count; i++) {
        size_t end;
        if (!check_add(at, order[i]->data.size, &end))
            return ERR_OVERFLOW;
        if (i > 0 || content->note_count > 0)
            bytes_append_text(out, TEXT(","));
        TRY(put_tensor(order[i], at, out));
        at = end;
    }
    bytes_append_text(out, TEXT("}"));
    while (out->err == ERR_OK && out->size % HEADER_ALIGN_BYTES != 0)
        bytes_append_text(out, TEXT(" "));
    TRY(bytes_status(out));
    uint64_t size = out->size - PREFIX_BYTES;
    for (size_t i = 0; i < PREFIX_BYTES; i++)
        out->data[i] = (uint8_t)(size >> (8 * i));
    *data_bytes = at;
    return ERR_OK;
}

/* The tensors in file order and the header that says so; both owned by the caller, also on
 * failure. */
static enum err lay_out(const struct safetensors_content *content, const struct safetensor ***order,
                        struct bytes *header, size_t *data_bytes)
{
    if (content->count > SAFETENSORS_TENSORS_MAX)
        return ERR_LIMIT;
    *order = mem_alloc(content->count, sizeof **order);
    if (*order == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < content->count; i++) {
        assert_size(&content->tensors[i]);
        (*order)[i] = &content->tensors[i];
    }
    qsort(*order, content->count, sizeof **order, compare_names);
    for (size_t i = 1; i < content->count; i++) {
        if (compare_names(&(*order)[i - 1], &(*order)[i]) == 0)
            return ERR_FORMAT;
    }
    qsort(*order, content->count, sizeof **order, compare_tensors);
    return put_header(content, *order, header, data_bytes);
}

static enum err send_data(void *context, const struct safetensor *tensor, file_sink_f sink,
                          void *sink_context)
{
    (void)context;
    return sink(sink_context, tensor->data);
}

enum err safetensors_write(const struct safetensors_content *content, file_sink_f sink,
                           void *context)
{
    return safetensors_write_made(content, send_data, NULL, sink, context);
}

enum err safetensors_write_made(const struct safetensors_content *content, safetensors_data_f data,
                                void *data_context, file_sink_f sink, void *context)
{
    const struct safetensor **order = NULL;
    struct bytes header;
    bytes_init(&header, SAFETENSORS_HEADER_BYTES_MAX + PREFIX_BYTES);
    size_t data_bytes;
    enum err err;
    TRY_OUT(lay_out(content, &order, &header, &data_bytes));
    TRY_OUT(sink(context, bytes_span(&header)));
    for (size_t i = 0; i < content->count; i++)
        TRY_OUT(data(data_context, order[i], sink, context));
out:
    bytes_fini(&header);
    mem_free(order);
    return err;
}

enum err safetensors_write_file(const struct safetensors_content *content, const char *path,
                                struct err_text *et)
{
    struct file_writer writer;
    TRY(file_writer_open(&writer, path, et));
    enum err err = safetensors_write(content, file_sink_writer, &writer);
    if (err != ERR_OK) {
        file_writer_abandon(&writer);
        return error_set(et, err, "%s: cannot be written: %s", path, error_text(err));
    }
    return file_writer_commit(&writer, et);
}

enum err safetensors_write_size(const struct safetensors_content *content, size_t *size_bytes)
{
    const struct safetensor **order = NULL;
    struct bytes header;
    bytes_init(&header, SAFETENSORS_HEADER_BYTES_MAX + PREFIX_BYTES);
    size_t data_bytes;
    enum err err = lay_out(content, &order, &header, &data_bytes);
    if (err == ERR_OK && !check_add(header.size, data_bytes, size_bytes))
        err = ERR_OVERFLOW;
    bytes_fini(&header);
    mem_free(order);
    return err;
}
