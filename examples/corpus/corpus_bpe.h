/* corpus_bpe.h - learns a byte-level BPE from a text and writes it as tokenizer.json.
 *
 * Sennrich et al. 2016: the most frequent pair of neighbours inside words becomes a token, again
 * and again. Words are counted first, so a text of any size costs little. Ties go to the pair with
 * the smaller numbers.
 */
#ifndef EXAMPLES_CORPUS_CORPUS_BPE_H
#define EXAMPLES_CORPUS_CORPUS_BPE_H

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

enum {
    CORPUS_BPE_SPECIALS = 2, /* <s> and </s>: tokens 0 and 1 */
    CORPUS_BPE_VOCABULARY = 512,
    CORPUS_BPE_MERGES = CORPUS_BPE_VOCABULARY - CORPUS_BPE_SPECIALS - 256,
};

/* Appends tokenizer.json of a vocabulary learned from `text`: fewer tokens than
 * CORPUS_BPE_VOCABULARY when the text has no more pairs. ERR_LIMIT: too many different words. */
MUST_CHECK enum err corpus_bpe_print(struct text text, struct bytes *out);

#endif
