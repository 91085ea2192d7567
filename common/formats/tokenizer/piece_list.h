/* piece_list.h - a vocabulary in which scores decide: SentencePiece's, in its own file or in GGUF.
 *
 * In BPE, whatever two neighbours form a piece merge, best score first; so every way to cut a piece
 * into two pieces is a merge, and the order of scores its rank. In Unigram the scores add up
 * (unigram.h).
 */
#ifndef COMMON_FORMATS_TOKENIZER_PIECE_LIST_H
#define COMMON_FORMATS_TOKENIZER_PIECE_LIST_H

#include "common/formats/tokenizer/tokenizer_export.h"
#include "common/formats/tokenizer/tokenizer_model.h"

struct scored_piece {
    struct text text; /* borrowed from the file */
    float score;
    uint32_t type; /* of enum tokenizer_type */
    uint32_t id;
};

struct piece_list {
    struct scored_piece *items; /* owned: [count] by id */
    uint32_t count;
    bool unigram; /* else BPE */
    bool byte_fallback;
    bool dummy_prefix; /* as spm_normalizer.h, with squeeze and charsmap */
    bool squeeze;
    struct span charsmap; /* borrowed, empty when none */
};

/* Room for `count` pieces. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err piece_list_init(struct piece_list *list, uint32_t count);
void piece_list_fini(struct piece_list *list);

/* Fills vocabulary, model, added tokens, normalizer and decoder; the order of the list is lost.
 * ERR_FORMAT names the piece; ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err piece_list_build(struct piece_list *list, struct tokenizer *tokenizer,
                                     struct err_text *et);

/* The merges alone, over tokenizer->vocab, which holds the pieces already; sorts the list by score.
 */
MUST_CHECK enum err piece_list_merges(struct piece_list *list, struct tokenizer *tokenizer);

#endif
