/* bpe.h - byte-pair encoding of a piece of text: which neighbours merge, in which order.
 *
 * Starts from characters (or their bytes, or the unknown token) and merges the neighbouring pair of
 * least rank, leftmost first, until none is left (Sennrich et al. 2016, algorithm 1). Long pieces
 * use a heap over linked symbols, O(n log n): a tokenizer without a pre-tokenizer sees a whole file
 * as one piece.
 *
 * Two shortcuts, neither of which changes a result: a piece is cut where no merge can ever join the
 * characters left and right (a *seam*), and short cuts are remembered in the scratch.
 */
#ifndef COMMON_FORMATS_TOKENIZER_BPE_H
#define COMMON_FORMATS_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/token_list.h"
#include "common/formats/tokenizer/vocab.h"
#include "common/mem/arena.h"

enum { BPE_SEAM_BITS = 1 << 18, BPE_NEAR_CHARS = 0x800 };

struct bpe_merge {
    uint64_t key;  /* (left id << 32 | right id) + 1; 0: an empty slot */
    uint32_t rank; /* equal ranks: the leftmost pair goes first */
    uint32_t result;
};

static inline uint32_t bpe_merge_left(const struct bpe_merge *merge)
{
    return (uint32_t)((merge->key - 1) >> 32);
}

static inline uint32_t bpe_merge_right(const struct bpe_merge *merge)
{
    return (uint32_t)(merge->key - 1);
}

struct bpe {
    const struct vocab *vocab; /* borrowed */
    struct bpe_merge *merges;  /* hash table, in the arena */
    uint64_t merge_mask;
    uint64_t merge_count;
    uint64_t *seams;        /* bit per hashed pair of first symbols that some merge may join */
    uint32_t *near_ids;     /* ids of the characters below BPE_NEAR_CHARS */
    uint32_t byte_ids[256]; /* pieces "<0x00>".. when byte_fallback and all are there */
    uint32_t unk;           /* UINT32_MAX: none */
    bool byte_fallback;
    bool fuse_unk;
    bool ignore_merges; /* a piece that is a token is that token */
    bool seams_usable;
};

struct bpe_scratch;

/* Sets up an encoder over `vocab` with room for `merge_count` merges, none in it yet. The fields
 * unk, byte_fallback, fuse_unk, ignore_merges are the caller's, set before bpe_finish. */
MUST_CHECK enum err bpe_init(struct bpe *bpe, struct arena *arena, const struct vocab *vocab,
                             uint64_t merge_count);

/* Pairs are added once each; a later one of the same pair replaces the earlier (as the format's
 * first reader does). */
void bpe_add_merge(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t result);

/* After the last merge: character table, byte pieces, seams. */
void bpe_finish(struct bpe *bpe);

MUST_CHECK enum err bpe_scratch_create(struct bpe_scratch **out);
void bpe_scratch_destroy(struct bpe_scratch **scratch);

/* Appends the ids of `piece` (valid UTF-8) to *out. */
MUST_CHECK enum err bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch,
                               struct text piece, struct token_list *out);

#endif
