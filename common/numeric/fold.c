/* fold.c - a stack of nodes, each larger than the next; siblings merge as soon as they meet. */
#include "common/numeric/fold.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

uint64_t fold_split(uint64_t n)
{
    ASSERT(n > 1);
    return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

/* End of the node at `begin` with room for 2^level leaves, cut at n. */
static uint64_t node_end(uint64_t n, uint64_t begin, unsigned level)
{
    return level >= 64 || n - begin < (uint64_t)1 << level ? n : begin + ((uint64_t)1 << level);
}

/* The level of a node that begins at `begin` can be at most this. */
static unsigned level_max(uint64_t begin)
{
    return begin == 0 ? 64 : (unsigned)__builtin_ctzll(begin);
}

bool fold_is_node(uint64_t n, struct fold_node node)
{
    if (node.begin >= node.end || node.end > n)
        return false;
    for (unsigned level = 0; level <= level_max(node.begin); level++)
        if (node_end(n, node.begin, level) >= node.end)
            return node_end(n, node.begin, level) == node.end;
    return false;
}

size_t fold_cover(uint64_t n, uint64_t begin, uint64_t end, struct fold_node out[FOLD_COVER_MAX])
{
    ASSERT(begin <= end && end <= n);
    size_t count = 0;
    while (begin < end) {
        unsigned level = level_max(begin);
        while (node_end(n, begin, level) > end)
            level--;
        ASSERT(count < FOLD_COVER_MAX);
        out[count] = (struct fold_node){begin, node_end(n, begin, level)};
        begin = out[count++].end;
    }
    return count;
}

/* Whether two neighbours are the children of one node: the left one is full and its size divides
 * its begin twice over, and the right one is all that lies beside it. */
static bool are_siblings(uint64_t n, struct fold_node left, struct fold_node right)
{
    uint64_t size = left.end - left.begin;
    if ((size & (size - 1)) != 0)
        return false;
    unsigned level = (unsigned)__builtin_ctzll(size);
    return level < level_max(left.begin) && right.end == node_end(n, left.end, level);
}

void fold_init(struct fold *fold, uint64_t leaf_count, size_t width)
{
    *fold = (struct fold){.leaf_count = leaf_count, .width = width};
}

void fold_fini(struct fold *fold)
{
    for (size_t i = 0; i < FOLD_DEPTH_MAX; i++)
        mem_free(fold->stack[i].vector);
    *fold = (struct fold){0};
}

void fold_reset(struct fold *fold)
{
    fold->depth = 0;
}

static struct fold_entry *top(struct fold *fold)
{
    return &fold->stack[fold->depth - 1];
}

static void add_sums(double left[FOLD_SUMS], const double right[FOLD_SUMS])
{
    for (size_t i = 0; i < FOLD_SUMS; i++)
        left[i] += right[i];
}

/* Merges the two topmost nodes for as long as they are siblings. */
static void merge(struct fold *fold)
{
    while (fold->depth > 1) {
        struct fold_entry *right = top(fold), *left = right - 1;
        if (!are_siblings(fold->leaf_count, left->node, right->node))
            return;
        fold_add(fold->width, left->vector, right->vector);
        add_sums(left->sums, right->sums);
        left->node.end = right->node.end;
        fold->depth--;
    }
}

enum err fold_push(struct fold *fold, struct fold_node node, const float *vector,
                   const double sums[FOLD_SUMS])
{
    if (!fold_is_node(fold->leaf_count, node))
        return ERR_STATE;
    if (fold->depth > 0 && top(fold)->node.end != node.begin)
        return ERR_STATE;
    if (fold->depth > 0 && are_siblings(fold->leaf_count, top(fold)->node, node)) {
        fold_add(fold->width, top(fold)->vector, vector); /* spares the copy */
        add_sums(top(fold)->sums, sums);
        top(fold)->node.end = node.end;
        merge(fold);
        return ERR_OK;
    }
    ASSERT(fold->depth < FOLD_DEPTH_MAX);
    struct fold_entry *entry = &fold->stack[fold->depth];
    if (entry->vector == NULL && fold->width > 0) {
        entry->vector = mem_alloc_aligned(fold->width, sizeof(float));
        if (entry->vector == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    entry->node = node;
    memcpy(entry->sums, sums, sizeof(entry->sums));
    if (fold->width > 0)
        memcpy(entry->vector, vector, fold->width * sizeof(float));
    fold->depth++;
    return ERR_OK;
}

const struct fold_entry *fold_at(const struct fold *fold, size_t index)
{
    ASSERT(index < fold->depth);
    return &fold->stack[index];
}

const struct fold_entry *fold_root(const struct fold *fold)
{
    const struct fold_entry *entry = &fold->stack[0];
    bool whole = fold->depth == 1 && entry->node.begin == 0 && entry->node.end == fold->leaf_count;
    return whole ? entry : NULL;
}

void fold_sum_init(struct fold_sum *sum)
{
    *sum = (struct fold_sum){0};
}

void fold_sum_push(struct fold_sum *sum, double leaf)
{
    unsigned level = 0;
    for (; (sum->count >> level & 1) != 0; level++)
        leaf = sum->level[level] + leaf;
    sum->level[level] = leaf;
    sum->count++;
}

double fold_sum_finish(const struct fold_sum *sum)
{
    double value = 0.0;
    bool any = false;
    for (unsigned level = 0; level < FOLD_DEPTH_MAX; level++)
        if ((sum->count >> level & 1) != 0) {
            value = any ? sum->level[level] + value : sum->level[level];
            any = true;
        }
    return value;
}

void fold_add(size_t count, float *left, const float *right)
{
    for (size_t i = 0; i < count; i++)
        left[i] += right[i];
}
