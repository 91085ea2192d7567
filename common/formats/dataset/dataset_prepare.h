/* dataset_prepare.h - one shard of one file becomes samples: tokens and a loss mask each. */
#ifndef COMMON_FORMATS_DATASET_DATASET_PREPARE_H
#define COMMON_FORMATS_DATASET_DATASET_PREPARE_H

#include "common/formats/dataset/dataset.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/bytes.h"

/* Reads the rows of `file` (whole, as mapped) that *start* in [begin, end), tokenizes them and
 * appends a samples blob (samples.h) to *out. Options must be settled (dataset_detect).
 *
 *   completion          BOS text EOS; every token counts. Longer than sequence_len: cut into
 * windows plain text          one completion a shard; EOS only where the file ends
 *   prompt_completion   BOS prompt completion EOS, tokenized apart; completion and EOS count
 *   alpaca, chat        rendered as one text and tokenized whole; what the assistant says, with the
 *                       end of its turn, counts
 *   input_output        segments tokenized apart; those labelled true count
 *   preference          a sample is prompt and chosen answer, then prompt and rejected answer, each
 *                       as the type above that its texts or messages are like; answers count
 *
 * BOS and EOS: what the tokenizer puts before a text; its EOS where it has one. With
 * train_on_inputs every token counts. Other types than completion are cut at sequence_len (of a
 * pair each sequence), and counted; a pair without an answer is left out. The bytes are a function
 * of the arguments alone. ERR_DATA: a bad row, "file:line: ..." with what was seen and expected. On
 * an error *out is as it was. */
MUST_CHECK enum err dataset_prepare_shard(struct span file, uint64_t begin, uint64_t end,
                                          const struct dataset_options *options,
                                          const struct tokenizer *tokenizer, struct bytes *out,
                                          struct dataset_counts *counts, struct err_text *et);

#endif
