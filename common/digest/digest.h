/* digest.h - content hashes and the tree hash that names artifacts.
 *
 * digest_of is BLAKE2b-256 (RFC 7693) of the bytes. The digest of an artifact is the root of a tree
 * over fixed chunks of DIGEST_CHUNK_BYTES (1 MiB) of its uncompressed content, so that parts can be
 * fetched, verified and resumed alone:
 *
 *   leaf(i)  = BLAKE2b-256(0x00 || chunk i)
 *   root     = BLAKE2b-256(0x01 || size as u64 little-endian || leaf(0) || leaf(1) || ...)
 *
 * An empty artifact has no leaves. Leaves and root are separated by their first byte.
 */
#ifndef COMMON_DIGEST_DIGEST_H
#define COMMON_DIGEST_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 65, DIGEST_CHUNK_BYTES = 1 << 20 };

struct digest {
    uint8_t v[DIGEST_BYTES];
};

/* BLAKE2b-256 of `content`. */
struct digest digest_of(struct span content);

/* BLAKE2b-256 of `a || b`: the link of a hash chain. */
struct digest digest_link(struct digest previous, struct span content);

bool digest_equal(struct digest a, struct digest b);
bool digest_is_zero(struct digest d);

/* 64 lower-case hexadecimal characters and a terminator. */
void digest_hex(struct digest d, char out[DIGEST_HEX_BYTES]);

/* ERR_FORMAT unless `hex` is 64 hexadecimal characters. */
MUST_CHECK enum err digest_parse(struct text hex, struct digest *out);

/* Tree hash of content that arrives in pieces of any size. */
struct digest_tree {
    uint8_t *leaves; /* owned: DIGEST_BYTES each */
    size_t leaf_count;
    size_t leaf_capacity;
    uint64_t size_bytes;
    size_t chunk_used;
    _Alignas(64) uint8_t chunk_state[512]; /* hash of the chunk in progress */
    enum err err;
};

void digest_tree_init(struct digest_tree *tree);
void digest_tree_fini(struct digest_tree *tree);
void digest_tree_update(struct digest_tree *tree, struct span piece);

/* Ends the content. ERR_OUT_OF_MEMORY when a leaf could not be kept. After it only fini is valid,
 * except that leaves and leaf_count may be read. */
MUST_CHECK enum err digest_tree_finish(struct digest_tree *tree, struct digest *root);

/* Tree hash of content in memory. */
MUST_CHECK enum err digest_of_artifact(struct span content, struct digest *root);

/* leaf(i) of a chunk, and the root over `leaf_count` leaves of an artifact of `size_bytes`. */
struct digest digest_leaf(struct span chunk);
struct digest digest_root(uint64_t size_bytes, const uint8_t *leaves, size_t leaf_count);

#endif
