/* generate.c - feeding tokens through the cache in pieces, and the loop that draws new ones. */
#include "worker/engine/generate/generate.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/generate/sample.h"
#include "worker/engine/nn/adapter_norm.h"
#include "worker/engine/nn/transformer.h"

/* Neither changes a bit. */
enum {
    PIECE_TOKENS = 128,      /* of a prompt at once */
    POSITIONS_AT_FIRST = 512 /* that there is room for; it doubles as tokens come */
};

struct generate {
    const struct model *model;
    struct kernel *kernel;
    const struct binding *binding;
    const float *values;
    float *norms;                        /* owned, of the kernel: of nn/adapter_norm.h; or NULL */
    struct transformer *transformer;     /* owned */
    struct batch batch;                  /* owned */
    float *cache;                        /* owned, of the kernel: (layers, 2, capacity, G * D) */
    float **cache_keys, **cache_values;  /* owned: (layers) */
    float *logits;                       /* owned: (V) */
    uint8_t *seen;                       /* owned: (V) */
    struct sample_candidate *candidates; /* owned: (V) */
    uint32_t *history;                   /* owned: (capacity) tokens fed; 0 for the prompt's */
    size_t prompt_count;                 /* vectors of the binding's before the first token */
    size_t position, capacity, positions_max; /* all count the prompt */
    bool is_long;                             /* rotated by the frequencies of long samples */
};

/* ---- room ---- */

static size_t key_width(const struct generate *g)
{
    const struct model_shape *s = model_shape(g->model);
    return s->kv_heads * s->head_width;
}

/* Where keys or, with `part` 1, values of a layer lie in a cache of `capacity` positions. */
static float *cache_part(const struct generate *g, float *cache, size_t capacity, size_t layer,
                         size_t part)
{
    return cache + (2 * layer + part) * capacity * key_width(g);
}

/* What there is so far moves to the new cache. */
static void move_cache(struct generate *g, float *cache, size_t capacity)
{
    size_t count = g->position * key_width(g);
    for (size_t l = 0; l < model_shape(g->model)->layers; l++) {
        for (size_t part = 0; part < 2 && g->cache != NULL; part++)
            kernel_copy(g->kernel, count, cache_part(g, g->cache, g->capacity, l, part),
                        cache_part(g, cache, capacity, l, part));
        g->cache_keys[l] = cache_part(g, cache, capacity, l, 0);
        g->cache_values[l] = cache_part(g, cache, capacity, l, 1);
    }
    kernel_free(g->kernel, g->cache);
    g->cache = cache;
}

/* Room for `needed` positions, at most positions_max. */
static enum err make_room(struct generate *g, size_t needed)
{
    if (needed <= g->capacity)
        return ERR_OK;
    size_t capacity = MAX(MAX(needed, 2 * g->capacity), (size_t)POSITIONS_AT_FIRST), all;
    capacity = MIN(capacity, g->positions_max);
    struct transformer_plan plan = {.mode = TRANSFORMER_INFER,
                                    .tokens = g->batch.token_capacity,
                                    .rows = 1,
                                    .positions = capacity};
    if (!check_mul(capacity, 2 * model_shape(g->model)->layers * key_width(g), &all) ||
        all > SIZE_MAX / sizeof(float))
        return ERR_OVERFLOW;
    struct transformer *transformer = NULL;
    TRY(transformer_create(g->model, g->kernel, g->binding, &plan, &transformer));
    float *cache = kernel_alloc(g->kernel, all);
    uint32_t *history = mem_alloc(capacity, sizeof *history);
    if (cache == NULL || history == NULL) {
        transformer_destroy(&transformer);
        kernel_free(g->kernel, cache);
        mem_free(history);
        return ERR_OUT_OF_MEMORY;
    }
    if (g->position != 0)
        memcpy(history, g->history, g->position * sizeof *history);
    move_cache(g, cache, capacity);
    transformer_destroy(&g->transformer);
    mem_free(g->history);
    g->transformer = transformer;
    g->history = history;
    g->capacity = capacity;
    return ERR_OK;
}

static enum err alloc_all(struct generate *g)
{
    const struct model_shape *s = model_shape(g->model);
    size_t piece = MAX(g->prompt_count, (size_t)PIECE_TOKENS);
    TRY(batch_init(&g->batch, MIN(g->positions_max, piece), 1));
    g->cache_keys = mem_alloc(s->layers, sizeof *g->cache_keys);
    g->cache_values = mem_alloc(s->layers, sizeof *g->cache_values);
    g->logits = mem_alloc(s->vocabulary, sizeof *g->logits);
    g->seen = mem_alloc(s->vocabulary, sizeof *g->seen);
    g->candidates = mem_alloc(s->vocabulary, sizeof *g->candidates);
    if (g->cache_keys == NULL || g->cache_values == NULL || g->logits == NULL || g->seen == NULL ||
        g->candidates == NULL)
        return ERR_OUT_OF_MEMORY;
    return make_room(g, 1);
}

/* The norms that magnitudes of adapters are divided by; trainables do not change here. */
static enum err measure(struct generate *g)
{
    if (g->values == NULL || g->binding->norm_count == 0)
        return ERR_OK;
    g->norms = kernel_alloc(g->kernel, adapter_norm_count(g->binding));
    if (g->norms == NULL)
        return ERR_OUT_OF_MEMORY;
    return adapter_norm_measure(g->kernel, g->model, g->binding, g->values, NULL, g->norms);
}

enum err generate_create(const struct model *model, struct kernel *kernel,
                         const struct binding *binding, const float *values, size_t positions_max,
                         struct generate **out)
{
    size_t prompt = binding != NULL && values != NULL ? binding->prompt_count : 0;
    if (positions_max == 0 || positions_max > model_shape(model)->positions ||
        prompt > model_shape(model)->positions - positions_max)
        return ERR_LIMIT;
    struct generate *g = mem_alloc(1, sizeof *g);
    if (g == NULL)
        return ERR_OUT_OF_MEMORY;
    g->model = model;
    g->kernel = kernel;
    g->binding = binding;
    g->values = binding != NULL ? values : NULL;
    g->prompt_count = prompt;
    g->positions_max = positions_max + prompt;
    enum err err = measure(g);
    if (err == ERR_OK)
        err = alloc_all(g);
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
    kernel_free(g->kernel, g->norms);
    mem_free(g->cache_keys);
    mem_free(g->cache_values);
    mem_free(g->logits);
    mem_free(g->seen);
    mem_free(g->candidates);
    mem_free(g->history);
    mem_free(g);
    *generate = NULL;
}

void generate_reset(struct generate *generate)
{
    generate->position = 0;
    generate->is_long = false;
    memset(generate->seen, 0, model_shape(generate->model)->vocabulary);
}

size_t generate_position(const struct generate *generate)
{
    return generate->position - MIN(generate->position, generate->prompt_count);
}

/* ---- feeding ---- */

/* One piece, as one segment that goes on where the cache ends; `tokens` NULL: the prompt. */
static enum err feed_piece(struct generate *g, const uint32_t *tokens, size_t count,
                           struct err_text *et)
{
    struct batch *batch = &g->batch;
    size_t positions_short = model_shape(g->model)->positions_short;
    batch_clear(batch);
    for (size_t i = 0; i < count; i++) {
        size_t position = g->position + i;
        batch->tokens[i] = g->history[position] = tokens != NULL ? tokens[i] : 0;
        batch->positions[i] = (uint32_t)position;
        batch->rotations[i] = batch_rotation(positions_short, position, g->is_long ? SIZE_MAX : 0);
        batch->places[i] = position;
        if (tokens != NULL)
            g->seen[tokens[i]] = 1;
    }
    batch->rows[0] = (struct batch_row){.count = count};
    batch->segments[0] = (struct attention_segment){.count = count, .past = g->position};
    batch->token_count = count;
    batch->prompt_count = tokens == NULL ? count : 0;
    batch->row_count = batch->segment_count = 1;
    struct pass *pass = transformer_pass(g->transformer);
    pass->batch = batch;
    pass->values = g->values;
    pass->norms = g->norms;
    pass->cache_keys = g->cache_keys;
    pass->cache_values = g->cache_values;
    TRY(transformer_forward(g->transformer, et));
    g->position += count;
    return ERR_OK;
}

/* The prompt is one piece, before all others. */
static enum err feed_prompt(struct generate *g, struct err_text *et)
{
    if (g->prompt_count == 0 || g->position != 0)
        return ERR_OK;
    return feed_piece(g, NULL, g->prompt_count, et);
}

/* All pieces; *last receives the size of the last. On error the position is as it was. */
static enum err feed_pieces(struct generate *g, const uint32_t *tokens, size_t count, size_t *last,
                            struct err_text *et)
{
    size_t before = g->position;
    for (size_t done = 0; done < count; done += *last) {
        *last = MIN(count - done, g->batch.token_capacity);
        enum err err = feed_piece(g, tokens + done, *last, et);
        if (err != ERR_OK) {
            g->position = before;
            return err;
        }
    }
    return ERR_OK;
}

/* A sample that grows past positions_short is another one: what was fed is fed again, rotated by
 * the frequencies of long samples. */
static enum err become_long(struct generate *g, struct err_text *et)
{
    size_t fed = g->position, last;
    g->is_long = true;
    g->position = 0;
    enum err err = feed_prompt(g, et);
    if (err == ERR_OK && fed > g->position)
        err = feed_pieces(g, g->history + g->position, fed - g->position, &last, et);
    if (err != ERR_OK)
        generate_reset(g);
    return err;
}

enum err generate_feed(struct generate *generate, const uint32_t *tokens, size_t count,
                       const float **logits, struct err_text *et)
{
    struct generate *g = generate;
    size_t vocabulary = model_shape(g->model)->vocabulary;
    if (count == 0)
        return error_set(et, ERR_DATA, "expected at least one token");
    size_t before = MAX(g->position, g->prompt_count);
    if (count > g->positions_max - before)
        return error_set(et, ERR_LIMIT, "%zu tokens after %zu pass the limit of %zu", count, before,
                         g->positions_max);
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] >= vocabulary)
            return error_set(et, ERR_DATA,
                             "token %zu: id %" PRIu32 " is outside the vocabulary of %zu", i,
                             tokens[i], vocabulary);
    }
    size_t positions_short = model_shape(g->model)->positions_short, last = 0;
    TRY(make_room(g, before + count));
    if (positions_short != 0 && !g->is_long && before + count > positions_short)
        TRY(become_long(g, et));
    TRY(feed_prompt(g, et));
    TRY(feed_pieces(g, tokens, count, &last, et));
    transformer_logits(g->transformer, last - 1, 1, g->logits);
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
