/* dataset_pack.h - samples become rows: held-out split, order and packing, all from one seed. */
#ifndef COMMON_FORMATS_DATASET_DATASET_PACK_H
#define COMMON_FORMATS_DATASET_DATASET_PACK_H

#include "common/formats/dataset/dataset.h"
#include "common/mem/bytes.h"

struct dataset_pack_options {
    uint32_t sequence_len;
    bool sample_packing;
    uint64_t seed;
    double val_set_size; /* below 1: a fraction of the samples; from 1 on: a count; 0: none */
    bool pairs; /* samples are pairs: one a row, of two segments, sequence_len tokens each */
};

struct dataset_pack_stats {
    uint64_t samples;
    uint64_t train_samples, test_samples;
    uint64_t train_rows, test_rows;
    uint64_t train_tokens, test_tokens;
    uint64_t train_supervised_tokens, test_supervised_tokens;
    struct dataset_counts counts; /* of preparing, summed over the shards */
};

/* Makes the rows blobs (rows.h) of training and of held-out data from samples blobs in shard order,
 * appended to *train and *test. `test` may be NULL when val_set_size is 0 (for `test_datasets` call
 * once more without packing). With packing, samples are taken in a seeded order in groups of
 * DATASET_PACK_GROUP and laid best-fit decreasing; without, one sample is one row, in shard order.
 * Held-out rows are never packed and keep shard order.
 * ERR_DATA: no samples, none left to train on, or samples that are no pairs where pairs are asked
 * for (or the other way round). ERR_FORMAT: a blob is not one of ours. */
MUST_CHECK enum err dataset_pack(const struct span *shards, size_t shard_count,
                                 const struct dataset_pack_options *options, struct bytes *train,
                                 struct bytes *test, struct dataset_pack_stats *stats,
                                 struct err_text *et);

enum { DATASET_PACK_GROUP = 4096 };

#endif
