/* vocab.c - an array and an open-addressing table; filled once, then only read. */
#include "common/formats/tokenizer/vocab.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/text_hash.h"

enum err vocab_init(struct vocab *vocab, struct arena *arena, uint32_t capacity)
{
    if (capacity > (uint32_t)VOCAB_ID_MAX + 1)
        return ERR_LIMIT;
    uint32_t slots = 64;
    while (slots < capacity * 2)
        slots *= 2;
    struct vocab made = {.slot_mask = slots - 1, .capacity = capacity};
    made.tokens = arena_alloc(arena, MAX(capacity, 1u), sizeof(*made.tokens));
    made.slots = arena_alloc(arena, slots, sizeof(*made.slots));
    if (made.tokens == NULL || made.slots == NULL)
        return ERR_OUT_OF_MEMORY;
    *vocab = made;
    return ERR_OK;
}

/* The slot where `token` is or would be. */
static uint32_t slot_of(const struct vocab *vocab, struct text token)
{
    uint32_t slot = (uint32_t)text_hash(token) & vocab->slot_mask;
    while (vocab->slots[slot] != 0 && !text_equal(vocab->tokens[vocab->slots[slot] - 1], token))
        slot = (slot + 1) & vocab->slot_mask;
    return slot;
}

enum err vocab_add(struct vocab *vocab, struct arena *arena, uint32_t id, struct text token)
{
    if (id >= vocab->capacity || token.size > VOCAB_TOKEN_BYTES_MAX)
        return ERR_LIMIT;
    if (vocab->tokens[id].data != NULL)
        return text_equal(vocab->tokens[id], token) ? ERR_OK : ERR_EXISTS;
    char *copy = arena_copy_text(arena, token);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    uint32_t slot = slot_of(vocab, token);
    vocab->tokens[id] = (struct text){copy, token.size};
    if (vocab->slots[slot] == 0)
        vocab->slots[slot] = id + 1;
    vocab->size = MAX(vocab->size, id + 1);
    return ERR_OK;
}

uint32_t vocab_find(const struct vocab *vocab, struct text token)
{
    uint32_t found = vocab->slots[slot_of(vocab, token)];
    return found == 0 ? UINT32_MAX : found - 1;
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int vocab_byte_of(struct text token)
{
    if (token.size != 6 || memcmp(token.data, "<0x", 3) != 0 || token.data[5] != '>')
        return -1;
    int high = hex_of(token.data[3]);
    int low = hex_of(token.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool vocab_byte_ids(const struct vocab *vocab, uint32_t out[256])
{
    static const char digits[] = "0123456789ABCDEF";
    bool whole = true;
    for (uint32_t byte = 0; byte < 256; byte++) {
        char token[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        out[byte] = vocab_find(vocab, (struct text){token, sizeof(token)});
        whole &= out[byte] != UINT32_MAX;
    }
    return whole;
}
