/* attention.c - blocked causal attention, forward beside backward (attention.h says in which
 * order).
 *
 * Tasks of the pool are independent outputs: (segment, head) forward; (segment, kv head) backward,
 * since the heads of a group add to the same keys. Tiles live on the task's stack.
 *
 * Many queries at once go through lanes->product with the block of keys transposed once; a few (a
 * token being generated) through kernel_gemm_on, which needs no transposed copy. Both are the same
 * chains.
 */
#include "worker/engine/kernel/attention.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/numeric/scalar.h"
#include "worker/engine/kernel/lanes.h"

enum {
    KEY_BLOCK = ATTENTION_KEY_BLOCK,
    QUERY_BLOCK = 48, /* never changes a bit */
    TILE = QUERY_BLOCK * KEY_BLOCK,
    TURNED = ATTENTION_HEAD_WIDTH_MAX * KEY_BLOCK,
    QUERIES = ATTENTION_HEAD_WIDTH_MAX * QUERY_BLOCK,
    FEW_QUERIES = 8,
};

/* What a task of the pool sees. */
struct pass {
    struct kernel *kernel;
    const struct lanes *lanes;
    const struct attention *a;
    float *out, *stats; /* forward */
    const float *saved_out, *saved_stats, *dout;
    float *delta, *dq, *dk, *dv; /* backward */
};

/* One block of queries against one block of keys, in positions of the segment. */
struct tile {
    size_t query, queries; /* index of the first query in the segment; how many */
    size_t key, keys;
};

/* The keys of the tile that query `i` of it sees: [*low, *high), empty when high <= low. */
static void visible_keys(const struct attention *a, const struct attention_segment *segment,
                         const struct tile *tile, size_t i, size_t *low, size_t *high)
{
    size_t end = segment->past + tile->query + i + 1;
    size_t begin = a->window != 0 && end > a->window ? end - a->window : 0;
    *high = end > tile->key ? MIN(end - tile->key, tile->keys) : 0;
    *low = begin > tile->key ? MIN(begin - tile->key, tile->keys) : 0;
}

/* The next tile of queries from `query` on that see a key of [key, key + keys). */
static struct tile tile_at(const struct attention_segment *segment, size_t query, size_t key,
                           size_t keys)
{
    size_t first = key > segment->past ? key - segment->past : 0;
    size_t begin = MAX(query, first);
    size_t queries = begin < segment->count ? MIN(segment->count - begin, (size_t)QUERY_BLOCK) : 0;
    return (struct tile){.query = begin, .queries = queries, .key = key, .keys = keys};
}

/* turned (D, KEY_BLOCK) = the transposed block of rows y (keys, D), missing keys +0. */
static void turn(const struct pass *p, size_t keys, const float *y, float *turned)
{
    size_t D = p->a->head_width, stride = p->a->kv_heads * D;
    for (size_t d = 0; d < D; d++) {
        for (size_t j = 0; j < KEY_BLOCK; j++)
            turned[d * KEY_BLOCK + j] = j < keys ? y[j * stride + d] : 0;
    }
}

/* block (count, D) = rows of a head, `stride` apart: rows a power of two apart share cache sets,
 * and a block is walked several times. */
static void gather_rows(size_t D, size_t count, const float *rows, size_t stride, float *block)
{
    for (size_t i = 0; i < count; i++)
        memcpy(block + i * D, rows + i * stride, D * sizeof(float));
}

/* scores (queries, KEY_BLOCK) = x y^T for rows x and y of a head; `turned` is y transposed, NULL
 * for few queries. */
static void product_scores(const struct pass *p, unsigned thread, const struct tile *tile,
                           const float *x, size_t x_stride, const float *y, const float *turned,
                           float *scores)
{
    size_t D = p->a->head_width, y_stride = p->a->kv_heads * D;
    if (turned != NULL) {
        p->lanes->product(&(struct lanes_product){.m = tile->queries,
                                                  .n = KEY_BLOCK,
                                                  .k = D,
                                                  .a = x,
                                                  .a_row = x_stride,
                                                  .a_column = 1,
                                                  .b = turned,
                                                  .b_row = KEY_BLOCK,
                                                  .c = scores,
                                                  .c_row = KEY_BLOCK});
        return;
    }
    struct kernel_gemm gemm = {.m = tile->queries,
                               .n = tile->keys,
                               .k = D,
                               .a = x,
                               .a_row_stride = x_stride,
                               .a_col_stride = 1,
                               .b = y,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = 1,
                               .b_col_stride = y_stride,
                               .c = scores,
                               .c_row_stride = KEY_BLOCK};
    kernel_gemm_on(p->kernel, thread, &gemm);
}

/* c (m, D) += w y: w is (m, k) with the given strides, y and c have rows of the given strides. */
static void product_add(const struct pass *p, size_t m, size_t k, const float *w, size_t w_row,
                        size_t w_column, const float *y, size_t y_row, float *c, size_t c_row)
{
    p->lanes->product(&(struct lanes_product){.m = m,
                                              .n = p->a->head_width,
                                              .k = k,
                                              .a = w,
                                              .a_row = w_row,
                                              .a_column = w_column,
                                              .b = y,
                                              .b_row = y_row,
                                              .c = c,
                                              .c_row = c_row,
                                              .accumulate = true});
}

/* Products of one query and `count` keys become scores. */
static void scale_scores(const struct pass *p, size_t count, float *score)
{
    p->lanes->scale(count, p->a->scale, score);
    if (p->a->soft_cap > 0)
        p->lanes->soft_cap(count, p->a->soft_cap, score, score);
}

/* Scores of one query become probabilities under the new maximum; o and stats follow. */
static void soften_row(const struct pass *p, float *score, size_t keys, size_t low, size_t high,
                       float *o, float stats[2])
{
    const struct attention *a = p->a;
    if (high <= low) {
        memset(score, 0, keys * sizeof *score);
        return;
    }
    scale_scores(p, high, score);
    for (size_t j = 0; j < low; j++)
        score[j] = -INFINITY;
    float old_max = stats[0];
    float block_max = p->lanes->max(high, score);
    float new_max = block_max > old_max ? block_max : old_max;
    float sum = p->lanes->exp_sum(high, score, new_max, score);
    for (size_t j = high; j < keys; j++)
        score[j] = 0;
    float shrink = scalar_exp_f32(old_max - new_max);
    if (new_max > old_max && old_max > -INFINITY)
        p->lanes->scale(a->head_width, shrink, o);
    stats[0] = new_max;
    stats[1] = fmaf(stats[1], shrink, sum);
}

/* A block of keys and values as many queries want it: forward k_turned and v, backward all. */
struct key_block {
    float k_turned[TURNED], v[TURNED], v_turned[TURNED], k[TURNED];
};

static void forward_tile(const struct pass *p, unsigned thread,
                         const struct attention_segment *segment, size_t head,
                         const struct tile *tile, const struct key_block *block)
{
    const struct attention *a = p->a;
    size_t D = a->head_width, q_stride = a->heads * D, k_stride = a->kv_heads * D;
    size_t kv_head = head / (a->heads / a->kv_heads);
    size_t row = segment->query_row + tile->query;
    size_t key_row = segment->key_row + tile->key;
    float scores[TILE];
    const float *v = a->v + key_row * k_stride + kv_head * D;
    product_scores(p, thread, tile, a->q + row * q_stride + head * D, q_stride,
                   a->k + key_row * k_stride + kv_head * D, block != NULL ? block->k_turned : NULL,
                   scores);
    float *o = p->out + row * q_stride + head * D;
    for (size_t i = 0; i < tile->queries; i++) {
        size_t low, high;
        visible_keys(a, segment, tile, i, &low, &high);
        soften_row(p, scores + i * KEY_BLOCK, tile->keys, low, high, o + i * q_stride,
                   p->stats + ((row + i) * a->heads + head) * 2);
    }
    product_add(p, tile->queries, tile->keys, scores, KEY_BLOCK, 1, block != NULL ? block->v : v,
                block != NULL ? D : k_stride, o, q_stride);
}

/* All blocks of keys that the segment's queries see, ascending. */
static void forward_blocks(const struct pass *p, unsigned thread,
                           const struct attention_segment *segment, size_t head)
{
    const struct attention *a = p->a;
    size_t D = a->head_width, kv_head = head / (a->heads / a->kv_heads);
    size_t total = segment->past + segment->count, first = segment->past + 1;
    size_t oldest = a->window != 0 && first > a->window ? first - a->window : 0;
    bool many = segment->count >= FEW_QUERIES;
    struct key_block block;
    for (size_t key = oldest / KEY_BLOCK * KEY_BLOCK; key < total; key += KEY_BLOCK) {
        size_t keys = MIN((size_t)KEY_BLOCK, total - key);
        size_t at = ((segment->key_row + key) * a->kv_heads + kv_head) * D;
        if (many) {
            turn(p, keys, a->k + at, block.k_turned);
            gather_rows(D, keys, a->v + at, a->kv_heads * D, block.v);
        }
        struct tile tile = tile_at(segment, 0, key, keys);
        for (; tile.queries != 0; tile = tile_at(segment, tile.query + tile.queries, key, keys))
            forward_tile(p, thread, segment, head, &tile, many ? &block : NULL);
    }
}

static void forward_task(void *context, size_t index, unsigned thread)
{
    const struct pass *p = context;
    const struct attention *a = p->a;
    const struct attention_segment *segment = &a->segments[index / a->heads];
    size_t head = index % a->heads, D = a->head_width, q_stride = a->heads * D;
    for (size_t i = 0; i < segment->count; i++) {
        size_t row = segment->query_row + i;
        memset(p->out + row * q_stride + head * D, 0, D * sizeof(float));
        p->stats[(row * a->heads + head) * 2] = -INFINITY;
        p->stats[(row * a->heads + head) * 2 + 1] = 0;
    }
    forward_blocks(p, thread, segment, head);
    for (size_t i = 0; i < segment->count; i++) {
        size_t row = segment->query_row + i;
        float *stats = p->stats + (row * a->heads + head) * 2;
        float *o = p->out + row * q_stride + head * D;
        stats[1] = 1 / stats[1];
        for (size_t d = 0; d < D; d++)
            o[d] = o[d] * stats[1] + 0.0f; /* +0: a masked key may not flip the sign of a zero */
    }
}

void attention_forward(struct kernel *kernel, const struct attention *attention, float *out,
                       float *stats)
{
    ASSERT(attention->kv_heads > 0 && attention->heads % attention->kv_heads == 0);
    ASSERT(attention->head_width <= ATTENTION_HEAD_WIDTH_MAX);
    struct pass pass = {.kernel = kernel,
                        .lanes = kernel_lanes(kernel),
                        .a = attention,
                        .out = out,
                        .stats = stats};
    kernel_parallel(kernel, attention->segment_count * attention->heads, forward_task, &pass);
}

/* ---- backward ---- */

/* p (queries, KEY_BLOCK) from scores, ds from dp: the backward pass of the softmax. */
static void backward_rows(const struct pass *p, const struct attention_segment *segment,
                          size_t head, const struct tile *tile, float *prob, float *ds)
{
    const struct attention *a = p->a;
    for (size_t i = 0; i < tile->queries; i++) {
        size_t row = segment->query_row + tile->query + i, low, high;
        visible_keys(a, segment, tile, i, &low, &high);
        float *prob_row = prob + i * KEY_BLOCK, *ds_row = ds + i * KEY_BLOCK;
        if (high <= low) {
            memset(prob_row, 0, tile->keys * sizeof *prob_row);
            memset(ds_row, 0, tile->keys * sizeof *ds_row);
            continue;
        }
        const float *stats = p->saved_stats + (row * a->heads + head) * 2;
        float capped[KEY_BLOCK];
        scale_scores(p, high, prob_row);
        memcpy(capped, prob_row, high * sizeof *capped);
        (void)p->lanes->exp_sum(high, prob_row, stats[0], prob_row);
        p->lanes->scale(high, stats[1], prob_row);
        p->lanes->mul_shifted(high, prob_row, ds_row, p->delta[row * a->heads + head], ds_row);
        if (a->soft_cap > 0)
            p->lanes->soft_cap_backward(high, a->soft_cap, capped, ds_row, ds_row);
        p->lanes->scale(high, a->scale, ds_row);
        memset(prob_row, 0, low * sizeof *prob_row);
        memset(ds_row, 0, low * sizeof *ds_row);
        memset(prob_row + high, 0, (tile->keys - high) * sizeof *prob_row);
        memset(ds_row + high, 0, (tile->keys - high) * sizeof *ds_row);
    }
}

static void backward_tile(const struct pass *p, const struct attention_segment *segment,
                          size_t head, const struct tile *tile, const struct key_block *block)
{
    const struct attention *a = p->a;
    size_t D = a->head_width, q_stride = a->heads * D, k_stride = a->kv_heads * D;
    size_t kv_head = head / (a->heads / a->kv_heads);
    size_t q_at = (segment->query_row + tile->query) * q_stride + head * D;
    size_t k_at = (segment->key_row + tile->key) * k_stride + kv_head * D;
    float prob[TILE], ds[TILE], q[QUERIES], dout[QUERIES];
    gather_rows(D, tile->queries, a->q + q_at, q_stride, q);
    gather_rows(D, tile->queries, p->dout + q_at, q_stride, dout);
    product_scores(p, 0, tile, q, D, NULL, block->k_turned, prob);
    product_scores(p, 0, tile, dout, D, NULL, block->v_turned, ds);
    backward_rows(p, segment, head, tile, prob, ds);
    product_add(p, tile->keys, tile->queries, prob, 1, KEY_BLOCK, dout, D, p->dv + k_at, k_stride);
    product_add(p, tile->keys, tile->queries, ds, 1, KEY_BLOCK, q, D, p->dk + k_at, k_stride);
    product_add(p, tile->queries, tile->keys, ds, KEY_BLOCK, 1, block->k, D, p->dq + q_at,
                q_stride);
}

/* Zeroes what the task adds to, and delta(t, h) = sum of dO * O. */
static void backward_prepare(const struct pass *p, const struct attention_segment *segment,
                             size_t kv_head)
{
    const struct attention *a = p->a;
    size_t D = a->head_width, group = a->heads / a->kv_heads;
    size_t q_stride = a->heads * D, k_stride = a->kv_heads * D;
    for (size_t i = 0; i < segment->count; i++) {
        size_t row = segment->query_row + i;
        size_t k_at = (segment->key_row + i) * k_stride + kv_head * D;
        memset(p->dk + k_at, 0, D * sizeof(float));
        memset(p->dv + k_at, 0, D * sizeof(float));
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            size_t q_at = row * q_stride + head * D;
            memset(p->dq + q_at, 0, D * sizeof(float));
            p->delta[row * a->heads + head] = p->lanes->dot(D, p->dout + q_at, p->saved_out + q_at);
        }
    }
}

static void backward_task(void *context, size_t index, unsigned thread)
{
    (void)thread;
    struct key_block block;
    const struct pass *p = context;
    const struct attention *a = p->a;
    const struct attention_segment *segment = &a->segments[index / a->kv_heads];
    size_t kv_head = index % a->kv_heads, group = a->heads / a->kv_heads;
    backward_prepare(p, segment, kv_head);
    for (size_t key = 0; key < segment->count; key += KEY_BLOCK) {
        size_t keys = MIN((size_t)KEY_BLOCK, segment->count - key);
        size_t last = a->window != 0 ? MIN(key + keys - 1 + a->window, segment->count)
                                     : segment->count; /* past the last query that sees the block */
        size_t at = ((segment->key_row + key) * a->kv_heads + kv_head) * a->head_width;
        turn(p, keys, a->k + at, block.k_turned);
        turn(p, keys, a->v + at, block.v_turned);
        gather_rows(a->head_width, keys, a->k + at, a->kv_heads * a->head_width, block.k);
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            struct tile tile = tile_at(segment, 0, key, keys);
            while (tile.queries != 0 && tile.query < last) {
                backward_tile(p, segment, head, &tile, &block);
                tile = tile_at(segment, tile.query + tile.queries, key, keys);
            }
        }
    }
}

void attention_backward(struct kernel *kernel, const struct attention *attention, const float *out,
                        const float *stats, const float *dout, float *delta, float *dq, float *dk,
                        float *dv)
{
    for (size_t i = 0; i < attention->segment_count; i++)
        ASSERT(attention->segments[i].past == 0);
    struct pass pass = {.kernel = kernel,
                        .lanes = kernel_lanes(kernel),
                        .a = attention,
                        .saved_out = out,
                        .saved_stats = stats,
                        .dout = dout,
                        .delta = delta,
                        .dq = dq,
                        .dk = dk,
                        .dv = dv};
    kernel_parallel(kernel, attention->segment_count * attention->kv_heads, backward_task, &pass);
}
