/* charsmap.h - SentencePiece's precompiled normalizer: a trie from characters to their replacement.
 *
 *   u32 size of the trie in bytes | trie: u32 units | replacements, each ended by a NUL
 *
 * The trie is a double array (darts-clone). A unit holds the label of the step into it (bits 0..7;
 * bit 31 set in a leaf, whose other bits are the replacement's offset), whether a leaf hangs below
 * (bit 8), and the way to its children (bits 10..30, shifted by 8 when bit 9 is set). Everything is
 * little-endian. (sentencepiece: src/normalizer.cc, third_party/darts_clone/darts.h.)
 *
 * The trie is not walked when it is opened; an entry that leads outside of it, or to something that
 * is not a text, counts as absent.
 */
#ifndef COMMON_FORMATS_TOKENIZER_CHARSMAP_H
#define COMMON_FORMATS_TOKENIZER_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"

struct charsmap {
    struct span blob;  /* all of it, in the arena */
    struct text texts; /* the replacements */
    uint32_t unit_count;
};

/* A copy of `blob` in the arena. ERR_FORMAT: sizes that do not fit, replacements that are not UTF-8
 * or not ended; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err charsmap_init(struct charsmap *map, struct span blob, struct arena *arena,
                                  struct err_text *et);

/* The longest start of `text` (valid UTF-8, not empty) that the map knows: *size bytes of it become
 * *replacement (may be empty; borrowed from the map). False when there is none. */
bool charsmap_longest(const struct charsmap *map, struct text text, size_t *size,
                      struct text *replacement);

/* The same for the shortest, without its size. */
bool charsmap_shortest(const struct charsmap *map, struct text text, struct text *replacement);

#endif
