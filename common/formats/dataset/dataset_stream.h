/* dataset_stream.h - one whole file becomes a stream of token ids, for windows to be cut from. */
#ifndef COMMON_FORMATS_DATASET_DATASET_STREAM_H
#define COMMON_FORMATS_DATASET_DATASET_STREAM_H

#include "common/formats/dataset/dataset.h"
#include "common/formats/dataset/perplexity.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/bytes.h"

/* Appends a stream blob (text_stream.h) of `file`. Options must be settled (dataset_detect).
 * What a document is:
 *
 *   plain text     the file
 *   completion     all rows, a blank line between two, tokenized as one text (the way in which
 *                  WikiText's lines are put together again); under PERPLEXITY_WORDS each row apart
 *   other types    each row, as training renders it, with its EOS
 *
 * No BOS stands before a document and no EOS behind plain text or a completion: windows bring their
 * BOS along. The spelling of a special token ("</s>") in plain text or a completion is that token,
 * as Hugging Face's tokenizers have it; under PERPLEXITY_LLAMA_CPP it is text, and one line feed at
 * the end of a plain file is dropped, as llama-perplexity does.
 * counts->truncated_* and empty_rows stay 0: nothing is cut. Errors as dataset_prepare_shard; also
 * ERR_DATA: the file gave no token. On an error *out is as it was. */
MUST_CHECK enum err dataset_stream_prepare(struct span file, const struct dataset_options *options,
                                           enum perplexity_protocol protocol,
                                           const struct tokenizer *tokenizer, struct bytes *out,
                                           struct dataset_counts *counts, struct err_text *et);

#endif
