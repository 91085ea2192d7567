/* dataset_sample.h - a row's parts become one run of token ids with a loss mask, before any cut. */
#ifndef COMMON_FORMATS_DATASET_DATASET_SAMPLE_H
#define COMMON_FORMATS_DATASET_DATASET_SAMPLE_H

#include "common/formats/dataset/dataset_row.h"
#include "common/formats/tokenizer/tokenizer.h"

struct dataset_sample {
    struct token_list tokens;
    struct bytes loss; /* one byte a token; the first, and that at `split`, is 0 */
    bool is_pair;
    size_t split;              /* of a pair: where the rejected answer's prompt starts; else 0 */
    struct token_list partial; /* working memory, as `ends` */
    struct bytes ends;         /* size_t each */
};

void dataset_sample_init(struct dataset_sample *sample);
void dataset_sample_fini(struct dataset_sample *sample);

/* Overwrites *sample. `closed`: EOS may follow (false for text that goes on in the next shard). */
MUST_CHECK enum err dataset_sample_make(struct dataset_sample *sample,
                                        const struct dataset_row *row,
                                        const struct dataset_options *options, bool closed,
                                        const struct tokenizer *tokenizer,
                                        struct tokenizer_scratch *scratch);

/* Cuts the sample at `length` tokens, a pair's two sequences at `length` each, and returns how many
 * are gone. */
size_t dataset_sample_cut(struct dataset_sample *sample, size_t length);

/* Whether nothing is to be learned from it: no prediction counts, of a pair in either answer. */
bool dataset_sample_is_empty(const struct dataset_sample *sample);

/* Tokens of loss[0..count) whose prediction counts. */
uint64_t dataset_sample_supervised(const uint8_t *loss, size_t count);

#endif
