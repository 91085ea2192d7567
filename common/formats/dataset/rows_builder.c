/* rows_builder.c - see rows_builder.h. */
#include "common/formats/dataset/rows_builder.h"

#include "common/base/check.h"
#include "common/formats/dataset/samples.h"
#include "common/formats/safetensors/safetensors_write.h"

void rows_builder_init(struct rows_builder *b)
{
    static const uint64_t zero = 0;
    *b = (struct rows_builder){0};
    bytes_init(&b->tokens, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&b->loss, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&b->row_offsets, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&b->row_segments, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&b->segments, SAMPLES_BLOB_BYTES_MAX);
    bytes_append(&b->row_offsets, &zero, sizeof(zero));
    bytes_append(&b->row_segments, &zero, sizeof(zero));
}

void rows_builder_fini(struct rows_builder *b)
{
    bytes_fini(&b->tokens);
    bytes_fini(&b->loss);
    bytes_fini(&b->row_offsets);
    bytes_fini(&b->row_segments);
    bytes_fini(&b->segments);
}

void rows_builder_add(struct rows_builder *b, const uint32_t *tokens, const uint8_t *loss,
                      size_t count)
{
    uint32_t start = (uint32_t)b->row_tokens;
    bytes_append(&b->segments, &start, sizeof(start));
    bytes_append(&b->tokens, tokens, count * sizeof(*tokens));
    bytes_append(&b->loss, loss, count);
    b->segment_count++;
    b->row_tokens += count;
    for (size_t i = 0; i < count; i++)
        b->supervised_count += loss[i];
}

void rows_builder_end_row(struct rows_builder *b)
{
    uint64_t end = b->loss.size;
    bytes_append(&b->row_offsets, &end, sizeof(end));
    bytes_append(&b->row_segments, &b->segment_count, sizeof(b->segment_count));
    b->row_tokens = 0;
    b->row_count++;
}

enum err rows_builder_write(const struct rows_builder *b, const struct safetensors_note *notes,
                            size_t note_count, struct bytes *out)
{
    const struct safetensor tensors[] = {
        {TEXT("row_offsets"), SAFETENSORS_U64, 1, {b->row_count + 1}, bytes_span(&b->row_offsets)},
        {TEXT("row_segments"),
         SAFETENSORS_U64,
         1,
         {b->row_count + 1},
         bytes_span(&b->row_segments)},
        {TEXT("segments"), SAFETENSORS_U32, 1, {b->segment_count}, bytes_span(&b->segments)},
        {TEXT("tokens"), SAFETENSORS_U32, 1, {b->loss.size}, bytes_span(&b->tokens)},
        {TEXT("loss"), SAFETENSORS_U8, 1, {b->loss.size}, bytes_span(&b->loss)},
    };
    const struct safetensors_content content = {tensors, COUNT_OF(tensors), notes, note_count};
    size_t start = out->size;
    TRY(bytes_status(&b->tokens));
    TRY(bytes_status(&b->loss));
    TRY(bytes_status(&b->row_offsets));
    TRY(bytes_status(&b->row_segments));
    TRY(bytes_status(&b->segments));
    enum err err = safetensors_write(&content, file_sink_bytes, out);
    if (err != ERR_OK)
        out->size = start;
    return err;
}
