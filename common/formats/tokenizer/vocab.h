/* vocab.h - token spellings by id and ids by spelling. */
#ifndef COMMON_FORMATS_TOKENIZER_VOCAB_H
#define COMMON_FORMATS_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"

enum {
    VOCAB_ID_MAX = (1 << 22) - 1,
    VOCAB_TOKEN_BYTES_MAX = 4096,
};

struct vocab {
    struct text *tokens; /* [capacity], in the arena; data is NULL for an id without a token */
    uint32_t *slots;     /* hash table of ids plus one, in the arena */
    uint32_t slot_mask;
    uint32_t capacity;
    uint32_t size; /* largest id plus one */
};

/* Room for ids below `capacity` (at most VOCAB_ID_MAX + 1). */
MUST_CHECK enum err vocab_init(struct vocab *vocab, struct arena *arena, uint32_t capacity);

/* Adds a copy of `token`. A spelling that is known under another id keeps its first id for
 * vocab_find. ERR_EXISTS: the id has another spelling. ERR_LIMIT: id or size beyond the limits. */
MUST_CHECK enum err vocab_add(struct vocab *vocab, struct arena *arena, uint32_t id,
                              struct text token);

/* UINT32_MAX when there is none. */
uint32_t vocab_find(const struct vocab *vocab, struct text token);

/* Byte of a spelling "<0x0A>", or -1. */
int vocab_byte_of(struct text token);

/* The ids of "<0x00>" to "<0xFF>", UINT32_MAX for those that are missing; true when none is. */
bool vocab_byte_ids(const struct vocab *vocab, uint32_t out[256]);

#endif
