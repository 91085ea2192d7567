/* generate.c - feeding tokens through the cache in pieces, and the loop that draws new ones. */
#include "worker/engine/generate/generate.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/generate/sample.h"
#include "worker/engine/nn/transformer.h"

enum { PIECE_TOKENS = 128 }; /* of a prompt at once; never changes a bit */

struct generate {
    const struct model *model;
    struct kernel *kernel;
    const float *values;
    struct transformer *transformer; /* owned */
    struct batch batch;              /* owned */
    float *cache;                    /* owned, of the kernel: (layers, 2, positions_max, G * D) */
    float **cache_keys, **cache_values;  /* owned: (layers) */
    float *logits;                       /* owned: (V) */
    uint8_t *seen;                       /* owned: (V) */
    struct sample_candidate *candidates; /* owned: (V) */
    size_t position, positions_max;
};

static enum err alloc_all(struct generate *g, const struct binding *binding)
{
    const struct model_shape *s = model_shape(g->model);
    size_t piece = MIN(g->positions_max, (size_t)PIECE_TOKENS), one, all;
    struct transformer_plan plan = {
        .mode = TRANSFORMER_INFER, .tokens = piece, .rows = 1, .positions = g->positions_max};
    if (!check_mul(g->positions_max, s->kv_heads * s->head_width, &one) ||
        !check_mul(one, 2 * s->layers, &all) || all > SIZE_MAX / sizeof(float))
        return ERR_OVERFLOW;
    TRY(transformer_create(g->model, g->kernel, binding, &plan, &g->transformer));
    TRY(batch_init(&g->batch, piece, 1));
    g->cache = kernel_alloc(g->kernel, all);
    g->cache_keys = mem_alloc(s->layers, sizeof *g->cache_keys);
    g->cache_values = mem_alloc(s->layers, sizeof *g->cache_values);
    g->logits = mem_alloc(s->vocabulary, sizeof *g->logits);
    g->seen = mem_alloc(s->vocabulary, sizeof *g->seen);
    g->candidates = mem_alloc(s->vocabulary, sizeof *g->candidates);
    if (g->cache == NULL || g->cache_keys == NULL || g->cache_values == NULL || g->logits == NULL ||
        g->seen == NULL || g->candidates == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t l = 0; l < s->layers; l++) {
        g->cache_keys[l] = g->cache + 2 * l * one;
        g->cache_values[l] = g->cache + (2 * l + 1) * one;
    }
    return ERR_OK;
}

enum err generate_create(const struct model *model, struct kernel *kernel,
                         const struct binding *binding, const float *values, size_t positions_max,
                         struct generate **out)
{
    if (positions_max == 0 || positions_max > model_shape(model)->positions)
        return ERR_LIMIT;
    struct generate *g = mem_alloc(1, sizeof *g);
    if (g == NULL)
        return ERR_OUT_OF_MEMORY;
    g->model = model;
    g->kernel = kernel;
    g->values = binding != NULL ? values : NULL;
    g->positions_max = positions_max;
    enum err err = alloc_all(g, binding);
    if (err != ERR_OK) {
        generate_destroy(&g);
        return err;
    }
    *out = g;
    return ERR_OK;
}

void generate_destroy(struct generate **generate)
{
    struct generate *g = *generate;
    if (g == NULL)
        return;
    transformer_destroy(&g->transformer);
    batch_fini(&g->batch);
    kernel_free(g->kernel, g->cache);
    mem_free(g->cache_keys);
    mem_free(g->cache_values);
    mem_free(g->logits);
    mem_free(g->seen);
    mem_free(g->candidates);
    mem_free(g);
    *generate = NULL;
}

void generate_reset(struct generate *generate)
{
    generate->position = 0;
    memset(generate->seen, 0, model_shape(generate->model)->vocabulary);
}

size_t generate_position(const struct generate *generate)
{
    return generate->position;
}

/* One piece, as one segment that goes on where the cache ends. */
static enum err feed_piece(struct generate *g, const uint32_t *tokens, size_t count,
                           struct err_text *et)
{
    struct batch *batch = &g->batch;
    size_t positions_short = model_shape(g->model)->positions_short;
    batch_clear(batch);
    for (size_t i = 0; i < count; i++) {
        batch->tokens[i] = tokens[i];
        batch->positions[i] = (uint32_t)(g->position + i);
        batch->rotations[i] = batch_rotation(positions_short, g->position + i, g->positions_max);
        batch->places[i] = g->position + i;
        g->seen[tokens[i]] = 1;
    }
    batch->rows[0] = (struct batch_row){.count = count};
    batch->segments[0] = (struct attention_segment){.count = count, .past = g->position};
    batch->token_count = count;
    batch->row_count = batch->segment_count = 1;
    struct pass *pass = transformer_pass(g->transformer);
    pass->batch = batch;
    pass->values = g->values;
    pass->cache_keys = g->cache_keys;
    pass->cache_values = g->cache_values;
    TRY(transformer_forward(g->transformer, et));
    g->position += count;
    return ERR_OK;
}

enum err generate_feed(struct generate *generate, const uint32_t *tokens, size_t count,
                       const float **logits, struct err_text *et)
{
    struct generate *g = generate;
    size_t vocabulary = model_shape(g->model)->vocabulary;
    if (count == 0)
        return error_set(et, ERR_DATA, "expected at least one token");
    if (count > g->positions_max - g->position)
        return error_set(et, ERR_LIMIT, "%zu tokens after %zu pass the limit of %zu", count,
                         g->position, g->positions_max);
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] >= vocabulary)
            return error_set(et, ERR_DATA,
                             "token %zu: id %" PRIu32 " is outside the vocabulary of %zu", i,
                             tokens[i], vocabulary);
    }
    size_t piece = 0, before = g->position;
    for (size_t done = 0; done < count; done += piece) {
        piece = MIN(count - done, g->batch.token_capacity);
        enum err err = feed_piece(g, tokens + done, piece, et);
        if (err != ERR_OK) {
            g->position = before;
            return err;
        }
    }
    transformer_logits(g->transformer, piece - 1, 1, g->logits);
    *logits = g->logits;
    return ERR_OK;
}

static bool stops(const struct generate_options *options, uint32_t token)
{
    for (size_t i = 0; i < options->stop_token_count; i++) {
        if (options->stop_tokens[i] == token)
            return true;
    }
    return false;
}

enum err generate_run(struct generate *generate, const uint32_t *prompt, size_t prompt_count,
                      const struct generate_options *options, generate_token_f token, void *context,
                      size_t *new_count, struct err_text *et)
{
    struct generate *g = generate;
    const float *logits;
    size_t count = 0, vocabulary = model_shape(g->model)->vocabulary;
    if (new_count != NULL)
        *new_count = 0;
    TRY(generate_feed(g, prompt, prompt_count, &logits, et));
    while (count < options->token_count_max) {
        uint32_t next =
            sample_token(options, logits, vocabulary, g->seen, g->position, g->candidates);
        if (stops(options, next))
            break;
        count++;
        if (new_count != NULL)
            *new_count = count;
        if (!token(context, next) || g->position == g->positions_max)
            break;
        TRY(generate_feed(g, &next, 1, &logits, et));
    }
    return ERR_OK;
}
