/* unigram.h - a piece of text as the sequence of tokens whose scores add up to the most.
 *
 * Scores are log-probabilities of independent tokens (Kudo 2018, "Subword regularization"); the
 * best sequence is found left to right, one best way to every place (Viterbi). A character that is
 * no token by itself may be an unknown one, at the least score of all minus 10. Unknown characters
 * in a row become their bytes when there is a token for each byte, and one unknown token otherwise.
 *
 * Equal sums happen, so the order of additions and their rounding is part of the result, and the
 * two libraries that write such models differ in it: SentencePiece adds in single precision.
 */
#ifndef COMMON_FORMATS_TOKENIZER_UNIGRAM_H
#define COMMON_FORMATS_TOKENIZER_UNIGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/token_list.h"
#include "common/formats/tokenizer/vocab.h"
#include "common/mem/arena.h"

enum { UNIGRAM_NODES_MAX = 1 << 24, UNIGRAM_SEAM_BITS = 1 << 18 };

/* A step in the trie of tokens: from a node by a byte to a node. */
struct unigram_edge {
    uint32_t key; /* (node << 8 | byte) + 1; 0: an empty slot */
    uint32_t child;
};

struct unigram {
    const struct vocab *vocab;  /* borrowed */
    struct unigram_edge *edges; /* hash table, in the arena as all below */
    uint32_t edge_mask;
    uint32_t node_count;
    uint32_t node_limit;
    size_t token_bytes_max;
    uint32_t *node_ids; /* [node_limit] token that ends there, UINT32_MAX: none */
    double *scores;     /* [vocab->capacity] */
    uint64_t *seams;    /* bit per hashed pair of characters that stand side by side in a token */
    uint32_t byte_ids[256];
    double unk_score;
    uint32_t unk; /* UINT32_MAX: none, and an unknown character is an error */
    bool byte_fallback;
    bool single; /* sums in single precision */
};

struct unigram_scratch;

/* Sets up an encoder without tokens, with room for tokens of `token_bytes` in all. The fields unk,
 * byte_fallback, single are the caller's. ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err unigram_init(struct unigram *unigram, struct arena *arena,
                                 const struct vocab *vocab, size_t token_bytes);

/* Makes token `id` of the vocabulary findable; an empty one is not. Of two with one spelling the
 * later counts. */
void unigram_add(struct unigram *unigram, uint32_t id, double score);

/* After the last token; `least` is the score from which that of unknown characters is taken. */
void unigram_finish(struct unigram *unigram, double least);

MUST_CHECK enum err unigram_scratch_create(struct unigram_scratch **out);
void unigram_scratch_destroy(struct unigram_scratch **scratch);

/* Appends the ids of `piece` (valid UTF-8) to *out. ERR_DATA: an unknown character and no token for
 * such; then ids may have been appended. */
MUST_CHECK enum err unigram_encode(const struct unigram *unigram, struct unigram_scratch *scratch,
                                   struct text piece, struct token_list *out);

#endif
