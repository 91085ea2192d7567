/* quality.h - what quantizing and merging cost, in two lines: from the quantization.json and the
 * merge.json of a result. */
#ifndef CLI_COMMAND_QUALITY_H
#define CLI_COMMAND_QUALITY_H

#include "common/mem/bytes.h"

/* Appends
 *
 *   perplexity 22.2774 to 22.3381, KL divergence 0.001255, same top token 96.98 %, 22.0M to 3.6M
 *   (windows of 256 tokens, BOS each, all scored, per token, tokenizer ...)
 *
 * or, where nothing was compared, the number of tensors and their bits per weight; with an end of
 * line. Errors of json_read_open, ERR_FORMAT with the key, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err quality_print(const char *path, struct bytes *out, struct err_text *et);

/* The same of merge.json, whose job may have measured nothing:
 *
 *   perplexity 40.2731 as trained, 40.2729 merged, 38.8058 in the full base (merge: full is better)
 *   (rows as trained, supervised tokens scored, per token)
 */
MUST_CHECK enum err quality_print_merge(const char *path, struct bytes *out, struct err_text *et);

#endif
