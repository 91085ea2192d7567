/* compare.c - both models over a row, then block after block of positions through both heads. */
#include "worker/engine/compare/compare.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/cross_entropy.h"
#include "worker/engine/kernel/divergence.h"
#include "worker/engine/nn/head.h"
#include "worker/engine/nn/transformer.h"

/* One of the two models, planned for the longest row so far. */
struct side {
    const char *name; /* for messages */
    const struct model *model;
    struct transformer *transformer; /* owned */
    struct batch batch;              /* owned */
    float *logits;                   /* owned, of the kernel: (block, V) */
    double *losses;                  /* owned: (block) */
};

struct compare {
    struct kernel *kernel;
    struct side base, result;
    struct divergence *divergences; /* owned: (block) */
    size_t tokens;                  /* planned; 0: nothing is */
    size_t block;
    size_t peak_bytes;
};

static void side_clear(struct side *side, struct kernel *kernel)
{
    transformer_destroy(&side->transformer);
    batch_fini(&side->batch);
    kernel_free(kernel, side->logits);
    mem_free(side->losses);
    *side = (struct side){.name = side->name, .model = side->model};
}

static void clear(struct compare *c)
{
    side_clear(&c->base, c->kernel);
    side_clear(&c->result, c->kernel);
    mem_free(c->divergences);
    c->divergences = NULL;
    c->tokens = 0;
}

enum err compare_create(const struct model *base, const struct model *result, struct kernel *kernel,
                        struct compare **out, struct err_text *et)
{
    size_t V = model_shape(base)->vocabulary, other = model_shape(result)->vocabulary;
    if (V != other)
        return error_set(et, ERR_SHAPE,
                         "a base of %zu and a result of %zu tokens cannot be compared", V, other);
    struct compare *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return ERR_OUT_OF_MEMORY;
    c->kernel = kernel;
    c->base = (struct side){.name = "base", .model = base};
    c->result = (struct side){.name = "result", .model = result};
    *out = c;
    return ERR_OK;
}

void compare_destroy(struct compare **compare)
{
    if (*compare == NULL)
        return;
    clear(*compare);
    mem_free(*compare);
    *compare = NULL;
}

size_t compare_peak_bytes(const struct compare *compare)
{
    return compare->peak_bytes;
}

/* ---- planning ---- */

static enum err side_plan(struct side *side, struct kernel *kernel, size_t tokens, size_t block)
{
    const struct model_shape *shape = model_shape(side->model);
    size_t floats;
    struct transformer_plan plan = {.mode = TRANSFORMER_INFER,
                                    .tokens = tokens,
                                    .rows = 1,
                                    .positions = MIN(tokens, shape->positions)};
    if (!check_mul(block, shape->vocabulary, &floats))
        return ERR_OVERFLOW;
    TRY(batch_init(&side->batch, tokens, 1));
    TRY(transformer_create(side->model, kernel, NULL, &plan, &side->transformer));
    side->logits = kernel_alloc(kernel, floats);
    side->losses = mem_alloc(block, sizeof *side->losses);
    return side->logits != NULL && side->losses != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static size_t side_bytes(const struct side *side, size_t tokens, size_t block)
{
    const struct model_shape *shape = model_shape(side->model);
    struct transformer_plan plan = {.mode = TRANSFORMER_INFER,
                                    .tokens = tokens,
                                    .rows = 1,
                                    .positions = MIN(tokens, shape->positions)};
    return transformer_size_bytes(side->model, NULL, &plan) +
           block * shape->vocabulary * sizeof(float);
}

static enum err prepare(struct compare *c, size_t tokens)
{
    if (tokens <= c->tokens)
        return ERR_OK;
    clear(c);
    size_t block = head_block(model_shape(c->base.model)->vocabulary, tokens);
    enum err err;
    TRY_OUT(side_plan(&c->base, c->kernel, tokens, block));
    TRY_OUT(side_plan(&c->result, c->kernel, tokens, block));
    c->divergences = mem_alloc(block, sizeof *c->divergences);
    if (c->divergences == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    c->tokens = tokens;
    c->block = block;
    size_t bytes = side_bytes(&c->base, tokens, block) + side_bytes(&c->result, tokens, block);
    c->peak_bytes = MAX(c->peak_bytes, bytes);
out:
    if (err != ERR_OK)
        clear(c);
    return err;
}

/* ---- running ---- */

static enum err side_forward(struct side *side, const struct train_row *row, struct err_text *et)
{
    const struct model_shape *shape = model_shape(side->model);
    const struct batch_limits limits = {.vocabulary = shape->vocabulary,
                                        .positions = shape->positions,
                                        .positions_short = shape->positions_short};
    const struct batch_input input = {.index = row->index,
                                      .tokens = row->tokens,
                                      .loss = row->loss,
                                      .token_count = row->token_count,
                                      .segment_starts = row->segment_starts,
                                      .segment_count = row->segment_count};
    batch_clear(&side->batch);
    enum err err = batch_add(&side->batch, &input, &limits, et);
    if (err == ERR_OK) {
        transformer_pass(side->transformer)->batch = &side->batch;
        err = transformer_forward(side->transformer, et);
    }
    return err == ERR_OK ? ERR_OK : error_prefix(et, err, "%s model", side->name);
}

/* Losses of `count` targets from `first` on; the logits are gone after it. */
static enum err side_losses(struct side *side, struct kernel *kernel, size_t first, size_t count,
                            uint64_t row, struct err_text *et)
{
    size_t V = model_shape(side->model)->vocabulary;
    cross_entropy(kernel, count, V, side->logits, side->batch.labels + first, side->losses, false);
    for (size_t i = 0; i < count; i++)
        if (!(side->losses[i] - side->losses[i] == 0))
            return error_set(et, ERR_NOT_FINITE,
                             "%s model: row %llu, token %u: the loss is not finite", side->name,
                             (unsigned long long)row, side->batch.targets[first + i]);
    return ERR_OK;
}

/* Targets from `first` on that follow each other, at most a block. */
static size_t run_length(const struct batch *batch, size_t first, size_t most)
{
    size_t count = 1;
    while (count < most && first + count < batch->target_count &&
           batch->targets[first + count] == batch->targets[first] + count)
        count++;
    return count;
}

static enum err compare_block(struct compare *c, size_t first, size_t count, uint64_t row,
                              struct compare_sums *sums, struct err_text *et)
{
    size_t V = model_shape(c->base.model)->vocabulary;
    size_t token = c->base.batch.targets[first];
    transformer_logits(c->base.transformer, token, count, c->base.logits);
    transformer_logits(c->result.transformer, token, count, c->result.logits);
    divergence(c->kernel, count, V, c->base.logits, c->result.logits, c->divergences);
    TRY(side_losses(&c->base, c->kernel, first, count, row, et));
    TRY(side_losses(&c->result, c->kernel, first, count, row, et));
    for (size_t i = 0; i < count; i++) {
        struct compare_sums one = {.positions = 1,
                                   .agreements = c->divergences[i].agree,
                                   .base_loss = c->base.losses[i],
                                   .result_loss = c->result.losses[i],
                                   .kl = c->divergences[i].kl,
                                   .kl_max = c->divergences[i].kl};
        compare_add(sums, &one);
    }
    return ERR_OK;
}

enum err compare_row(struct compare *compare, const struct train_row *row,
                     struct compare_sums *sums, struct err_text *et)
{
    struct compare *c = compare;
    struct compare_sums made = {0};
    TRY(prepare(c, row->token_count));
    TRY(side_forward(&c->base, row, et));
    TRY(side_forward(&c->result, row, et));
    for (size_t first = 0; first < c->base.batch.target_count;) {
        size_t count = run_length(&c->base.batch, first, c->block);
        TRY(compare_block(c, first, count, row->index, &made, et));
        first += count;
    }
    *sums = made;
    return ERR_OK;
}

void compare_add(struct compare_sums *left, const struct compare_sums *right)
{
    left->positions += right->positions;
    left->agreements += right->agreements;
    left->base_loss += right->base_loss;
    left->result_loss += right->result_loss;
    left->kl += right->kl;
    left->kl_max = MAX(left->kl_max, right->kl_max);
}
