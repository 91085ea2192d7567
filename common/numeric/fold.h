/* fold.h - the one tree in which sums over rows are taken, whoever computed which part.
 *
 * The tree over leaves [0, n) splits at the largest power of two below n, and so on down. Its nodes
 * are exactly the ranges [i * 2^k, min((i + 1) * 2^k, n)). A node's value is left + right, so a sum
 * depends on the leaves alone: any worker may fold any node, and the root comes out with the same
 * bits.
 *
 *   n = 5:   ((0 1) (2 3)) 4        n = 7:   ((0 1) (2 3)) ((4 5) 6)
 */
#ifndef COMMON_NUMERIC_FOLD_H
#define COMMON_NUMERIC_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* A node, as its range of leaves. */
struct fold_node {
    uint64_t begin, end;
};

enum { FOLD_DEPTH_MAX = 64, FOLD_COVER_MAX = 128 };

/* What the f64 numbers of a leaf are. The last four are 0 where the data are no pairs of answers.
 */
enum fold_sum_name {
    FOLD_LOSS,
    FOLD_WEIGHT, /* what the loss is divided by: supervised tokens, or pairs */
    FOLD_PAIRS,
    FOLD_REWARD_CHOSEN,
    FOLD_REWARD_REJECTED,
    FOLD_CORRECT, /* pairs whose chosen answer has the higher reward */
    FOLD_SUMS,
};

/* Largest power of two below n; n > 1. */
uint64_t fold_split(uint64_t n);

/* Whether [begin, end) is a node of the tree over [0, n). */
bool fold_is_node(uint64_t n, struct fold_node node);

/* The fewest nodes that cover [begin, end) of the tree over [0, n), in order. Returns their number;
 * 0 for an empty range. end <= n. */
size_t fold_cover(uint64_t n, uint64_t begin, uint64_t end, struct fold_node out[FOLD_COVER_MAX]);

/* Folds nodes as they come, in ascending order without gaps: a vector of `width` f32 and FOLD_SUMS
 * f64 numbers a node. Holds at most one vector a level. */
struct fold {
    uint64_t leaf_count;
    size_t width;
    size_t depth; /* nodes on the stack */
    struct fold_entry {
        struct fold_node node;
        double sums[FOLD_SUMS];
        float *vector; /* owned; kept for reuse above `depth` */
    } stack[FOLD_DEPTH_MAX];
};

void fold_init(struct fold *fold, uint64_t leaf_count, size_t width);
void fold_fini(struct fold *fold);

/* Forgets what was folded, keeps the memory; the next push may start anywhere. */
void fold_reset(struct fold *fold);

/* Adds the next node. `vector`: (width), read before return; NULL when width is 0. ERR_STATE: not a
 * node of the tree, or not where the last one ended. ERR_OUT_OF_MEMORY. On error the fold is as it
 * was. */
MUST_CHECK enum err fold_push(struct fold *fold, struct fold_node node, const float *vector,
                              const double sums[FOLD_SUMS]);

/* What is folded so far, as the fewest nodes: index < depth. Borrowed until the next call. */
const struct fold_entry *fold_at(const struct fold *fold, size_t index);

/* The root's entry, NULL while leaves are missing. Borrowed until the next call. */
const struct fold_entry *fold_root(const struct fold *fold);

/* The same tree over f64 numbers alone, one leaf after the other, the number of leaves open. */
struct fold_sum {
    uint64_t count;
    double
        level[FOLD_DEPTH_MAX]; /* level[k]: a full node of 2^k leaves where bit k of count is set */
};

void fold_sum_init(struct fold_sum *sum);
void fold_sum_push(struct fold_sum *sum, double leaf);

/* The root's value; +0 without leaves. */
double fold_sum_finish(const struct fold_sum *sum);

/* left[i] += right[i]: the one operation of the tree. */
void fold_add(size_t count, float *left, const float *right);

#endif
