/* samples.h - the samples blob: what one shard's rows became, on the way to packing.
 *
 * A safetensors file:
 *
 *   offsets  U64 [N+1]  sample i is tokens[offsets[i] .. offsets[i+1])
 *   tokens   U32 [T]
 *   loss     U8  [T]    1 where the prediction of this token counts; 0 for a sample's first token
 *   splits   U32 [N]    of pairs alone: where in sample i the rejected answer's prompt starts
 *
 * with the fields of struct dataset_counts as decimal notes.
 */
#ifndef COMMON_FORMATS_DATASET_SAMPLES_H
#define COMMON_FORMATS_DATASET_SAMPLES_H

#include "common/formats/dataset/dataset.h"
#include "common/mem/bytes.h"

#define SAMPLES_BLOB_BYTES_MAX ((size_t)1 << 40)

struct samples_builder {
    struct bytes tokens; /* u32 each */
    struct bytes loss;
    struct bytes offsets; /* u64 each */
    struct bytes splits;  /* u32 each; empty where samples are no pairs */
};

MUST_CHECK enum err samples_builder_init(struct samples_builder *builder);
void samples_builder_fini(struct samples_builder *builder);

/* Adds a sample of `count` > 0 tokens; a pair when `split` > 0, and then all others are too. */
MUST_CHECK enum err samples_builder_add(struct samples_builder *builder, const uint32_t *tokens,
                                        const uint8_t *loss, size_t count, size_t split);

/* Appends the blob to *out. */
MUST_CHECK enum err samples_builder_write(const struct samples_builder *builder,
                                          const struct dataset_counts *counts, struct bytes *out);

struct samples {
    const uint64_t *offsets; /* borrowed from the blob, as the two below */
    const uint32_t *tokens;
    const uint8_t *loss;
    const uint32_t *splits; /* NULL where samples are no pairs */
    uint64_t count;
    struct dataset_counts counts;
};

/* Checks all that the fields promise. `blob` is aligned to 8 and outlives *out. */
MUST_CHECK enum err samples_open(struct span blob, struct samples *out, struct err_text *et);

/* Adds every field of `b` to `*a`. */
void samples_counts_add(struct dataset_counts *a, const struct dataset_counts *b);

#endif
