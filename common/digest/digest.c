/* digest.c - BLAKE2b-256 by libsodium, and the chunk tree over it. */
#include "common/digest/digest.h"

#include <sodium/crypto_generichash.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(((struct digest_tree *)0)->chunk_state),
               "the tree holds the hash state in place");

enum { PREFIX_LEAF = 0x00, PREFIX_ROOT = 0x01 };

static void hash_start(crypto_generichash_state *state)
{
    int rc = crypto_generichash_init(state, NULL, 0, DIGEST_BYTES);
    ASSERT(rc == 0);
}

static void hash_add(crypto_generichash_state *state, const void *data, size_t size)
{
    int rc = size > 0 ? crypto_generichash_update(state, data, size) : 0;
    ASSERT(rc == 0);
}

static struct digest hash_end(crypto_generichash_state *state)
{
    struct digest d;
    int rc = crypto_generichash_final(state, d.v, sizeof d.v);
    ASSERT(rc == 0);
    return d;
}

struct digest digest_of(struct span content)
{
    crypto_generichash_state state;
    hash_start(&state);
    hash_add(&state, content.data, content.size);
    return hash_end(&state);
}

struct digest digest_link(struct digest previous, struct span content)
{
    crypto_generichash_state state;
    hash_start(&state);
    hash_add(&state, previous.v, sizeof previous.v);
    hash_add(&state, content.data, content.size);
    return hash_end(&state);
}

bool digest_equal(struct digest a, struct digest b)
{
    return memcmp(a.v, b.v, sizeof a.v) == 0;
}

bool digest_is_zero(struct digest d)
{
    return digest_equal(d, (struct digest){{0}});
}

void digest_hex(struct digest d, char out[DIGEST_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        out[2 * i] = digits[d.v[i] >> 4];
        out[2 * i + 1] = digits[d.v[i] & 15];
    }
    out[2 * DIGEST_BYTES] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

enum err digest_parse(struct text hex, struct digest *out)
{
    struct digest d;
    if (hex.size != 2 * DIGEST_BYTES)
        return ERR_FORMAT;
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = nibble(hex.data[2 * i]);
        int low = nibble(hex.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_FORMAT;
        d.v[i] = (uint8_t)(high << 4 | low);
    }
    *out = d;
    return ERR_OK;
}

struct digest digest_leaf(struct span chunk)
{
    crypto_generichash_state state;
    hash_start(&state);
    hash_add(&state, &(uint8_t){PREFIX_LEAF}, 1);
    hash_add(&state, chunk.data, chunk.size);
    return hash_end(&state);
}

struct digest digest_root(uint64_t size_bytes, const uint8_t *leaves, size_t leaf_count)
{
    uint8_t head[9] = {PREFIX_ROOT};
    for (size_t i = 0; i < 8; i++)
        head[1 + i] = (uint8_t)(size_bytes >> (8 * i));
    crypto_generichash_state state;
    hash_start(&state);
    hash_add(&state, head, sizeof head);
    hash_add(&state, leaves, leaf_count * DIGEST_BYTES);
    return hash_end(&state);
}

static crypto_generichash_state *chunk_state(struct digest_tree *tree)
{
    return (crypto_generichash_state *)(void *)tree->chunk_state;
}

static void chunk_start(struct digest_tree *tree)
{
    tree->chunk_used = 0;
    hash_start(chunk_state(tree));
    hash_add(chunk_state(tree), &(uint8_t){PREFIX_LEAF}, 1);
}

static void chunk_end(struct digest_tree *tree)
{
    struct digest leaf = hash_end(chunk_state(tree));
    if (tree->leaf_count == tree->leaf_capacity) {
        size_t capacity = MAX(tree->leaf_capacity * 2, 16u);
        uint8_t *leaves = mem_resize(tree->leaves, capacity, DIGEST_BYTES);
        if (leaves == NULL) {
            tree->err = ERR_OUT_OF_MEMORY;
            return;
        }
        tree->leaves = leaves;
        tree->leaf_capacity = capacity;
    }
    memcpy(tree->leaves + tree->leaf_count * DIGEST_BYTES, leaf.v, DIGEST_BYTES);
    tree->leaf_count++;
}

void digest_tree_init(struct digest_tree *tree)
{
    *tree = (struct digest_tree){0};
    chunk_start(tree);
}

void digest_tree_fini(struct digest_tree *tree)
{
    mem_free(tree->leaves);
    *tree = (struct digest_tree){0};
}

void digest_tree_update(struct digest_tree *tree, struct span piece)
{
    tree->size_bytes += piece.size;
    while (piece.size > 0 && tree->err == ERR_OK) {
        size_t part = MIN(piece.size, (size_t)DIGEST_CHUNK_BYTES - tree->chunk_used);
        hash_add(chunk_state(tree), piece.data, part);
        tree->chunk_used += part;
        piece.data += part;
        piece.size -= part;
        if (tree->chunk_used == DIGEST_CHUNK_BYTES) {
            chunk_end(tree);
            chunk_start(tree);
        }
    }
}

enum err digest_tree_finish(struct digest_tree *tree, struct digest *root)
{
    if (tree->err == ERR_OK && tree->chunk_used > 0)
        chunk_end(tree);
    if (tree->err != ERR_OK)
        return tree->err;
    *root = digest_root(tree->size_bytes, tree->leaves, tree->leaf_count);
    return ERR_OK;
}

enum err digest_of_artifact(struct span content, struct digest *root)
{
    struct digest_tree tree;
    digest_tree_init(&tree);
    digest_tree_update(&tree, content);
    enum err err = digest_tree_finish(&tree, root);
    digest_tree_fini(&tree);
    return err;
}
