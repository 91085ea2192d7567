/* rows_builder.h - a rows blob (rows.h) in the making: segments into the open row, row after row.
 */
#ifndef COMMON_FORMATS_DATASET_ROWS_BUILDER_H
#define COMMON_FORMATS_DATASET_ROWS_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/bytes.h"

/* The first failure sticks and is told by rows_builder_write. */
struct rows_builder {
    struct bytes tokens, loss, row_offsets, row_segments, segments; /* owned */
    uint64_t row_tokens;                                            /* of the row that is open */
    uint64_t segment_count;
    uint64_t row_count;
    uint64_t supervised_count;
};

void rows_builder_init(struct rows_builder *builder);
void rows_builder_fini(struct rows_builder *builder);

/* Adds a segment of `count` > 0 tokens to the open row; loss[0] is 0. */
void rows_builder_add(struct rows_builder *builder, const uint32_t *tokens, const uint8_t *loss,
                      size_t count);

/* Ends the open row, which holds a segment. */
void rows_builder_end_row(struct rows_builder *builder);

/* Appends the blob with these notes to *out. On an error *out is as it was. */
MUST_CHECK enum err rows_builder_write(const struct rows_builder *builder,
                                       const struct safetensors_note *notes, size_t note_count,
                                       struct bytes *out);

#endif
