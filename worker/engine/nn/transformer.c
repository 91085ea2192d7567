/* transformer.c - making a transformer and walking its layers up and down. */
#include "worker/engine/nn/transformer.h"

#include <inttypes.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/lookup.h"
#include "worker/engine/nn/transformer_memory.h"

size_t transformer_size_bytes(const struct model *model, const struct binding *binding,
                              const struct transformer_plan *plan)
{
    struct transformer t = {.pass = {.model = model, .binding = binding}, .mode = plan->mode};
    size_t floats = transformer_memory_plan(&t, plan, NULL);
    if (floats == SIZE_MAX)
        return SIZE_MAX;
    return floats * sizeof(float) + plan->tokens * (sizeof(double) + sizeof(uint64_t));
}

enum err transformer_create(const struct model *model, struct kernel *kernel,
                            const struct binding *binding, const struct transformer_plan *plan,
                            struct transformer **out)
{
    const struct model_shape *s = model_shape(model);
    struct transformer *t = mem_alloc(1, sizeof *t);
    if (t == NULL)
        return ERR_OUT_OF_MEMORY;
    t->mode = plan->mode;
    t->pass.model = model;
    t->pass.kernel = kernel;
    t->pass.binding = binding;
    t->memory = kernel_alloc(kernel, transformer_memory_plan(t, plan, NULL));
    t->x = mem_alloc(s->layers + 1, sizeof *t->x);
    t->saved = mem_alloc(s->layers, sizeof *t->saved);
    t->spans = mem_alloc(plan->rows, sizeof *t->spans);
    t->rows = mem_alloc(plan->rows, sizeof *t->rows);
    t->places = mem_alloc(plan->tokens, sizeof *t->places);
    t->losses = mem_alloc(plan->tokens, sizeof *t->losses);
    if (t->memory == NULL || t->x == NULL || t->saved == NULL || t->spans == NULL ||
        t->rows == NULL || t->places == NULL || t->losses == NULL) {
        transformer_destroy(&t);
        return ERR_OUT_OF_MEMORY;
    }
    (void)transformer_memory_plan(t, plan, t->memory);
    t->block_work.spans = t->head_work.spans = t->spans;
    t->head_work.rows = t->rows;
    t->head_work.places = t->places;
    t->head_work.losses = t->losses;
    if (transformer_memory_fill_ropes(t, plan->positions) != ERR_OK) {
        transformer_destroy(&t);
        return ERR_OUT_OF_MEMORY;
    }
    *out = t;
    return ERR_OK;
}

void transformer_destroy(struct transformer **transformer)
{
    struct transformer *t = *transformer;
    if (t == NULL)
        return;
    kernel_free(t->pass.kernel, t->memory);
    mem_free(t->x);
    mem_free(t->saved);
    mem_free(t->spans);
    mem_free(t->rows);
    mem_free(t->places);
    mem_free(t->losses);
    mem_free(t);
    *transformer = NULL;
}

struct pass *transformer_pass(struct transformer *transformer)
{
    return &transformer->pass;
}

const double *transformer_losses(const struct transformer *transformer)
{
    return transformer->losses;
}

static enum err report(const struct pass *pass, const char *module, size_t layer, size_t token,
                       struct err_text *et)
{
    const struct batch_row *row = batch_row_of_token(pass->batch, token);
    return error_set(et, ERR_NOT_FINITE,
                     "row %" PRIu64 ", token %zu, layer %zu: the output of %s is not finite%s",
                     row->index, token - row->start, layer, module,
                     pass->values != NULL ? "; a lower learning rate or max_grad_norm may help"
                                          : "");
}

static enum err check_layer(const struct transformer *t, size_t layer, const float *out,
                            struct err_text *et)
{
    const struct pass *pass = &t->pass;
    size_t C = model_shape(pass->model)->width, count = pass->batch->token_count * C;
    size_t bad = kernel_first_not_finite(pass->kernel, count, out);
    if (bad == count)
        return ERR_OK;
    struct block_fault fault = {.module = "the layer", .token = bad / C};
    (void)block_find_fault(pass, layer, &t->saved[layer], out, &fault);
    return report(pass, fault.module, layer, fault.token, et);
}

/* The vectors of the prompt in their places, in front of every segment: what the model's embedding
 * would be after its scale. */
static void embed_prompts(const struct pass *pass, float *hidden)
{
    const struct batch *batch = pass->batch;
    size_t C = model_shape(pass->model)->width;
    if (batch->prompt_count == 0)
        return;
    ASSERT(pass->binding != NULL && pass->values != NULL &&
           pass->binding->prompt_count == batch->prompt_count);
    for (size_t s = 0; s < batch->segment_count; s++)
        kernel_copy(pass->kernel, batch->prompt_count * C,
                    pass->values + pass->binding->prompt_offset,
                    hidden + batch->segments[s].query_row * C);
}

/* Their gradients, one segment of a row after another, from that at x[0] in d. */
static void prompts_backward(const struct pass *pass, const float *d)
{
    const struct batch *batch = pass->batch;
    size_t C = model_shape(pass->model)->width;
    for (size_t s = 0; batch->prompt_count != 0 && s < batch->segment_count; s++) {
        size_t first = batch->segments[s].query_row;
        size_t row = (size_t)(batch_row_of_token(batch, first) - batch->rows);
        kernel_add(pass->kernel, batch->prompt_count * C, d + first * C,
                   pass->gradients[row] + pass->binding->prompt_offset);
    }
}

/* Embeddings, scaled, with learned positions added. */
void transformer_embed(struct transformer *transformer, float *hidden)
{
    struct transformer *t = transformer;
    const struct pass *pass = &t->pass;
    const struct model_shape *s = model_shape(pass->model);
    size_t T = pass->batch->token_count;
    struct pass_weight table = pass_weight(pass, pass_param(pass, MODEL_EMBEDDING, 0));
    ptrdiff_t positions = model_param_index(pass->model, MODEL_POSITION, 0);
    kernel_gather(pass->kernel, T, s->width, pass->batch->tokens, table.data, table.dtype, hidden);
    lookup_forward(pass, hidden);
    if (s->embedding_scale < 1 || s->embedding_scale > 1)
        kernel_scale(pass->kernel, T * s->width, s->embedding_scale, hidden);
    embed_prompts(pass, hidden);
    if (positions == MODEL_NO_PARAM)
        return;
    /* The first layer's output is not there yet: its place serves for the rows of the table. */
    table = pass_weight(pass, (size_t)positions);
    kernel_gather(pass->kernel, T, s->width, pass->batch->positions, table.data, table.dtype,
                  t->x[1]);
    kernel_add(pass->kernel, T * s->width, t->x[1], hidden);
}

/* The gradient of a table whose rows `ids` were looked up, from that at x[0] in t->d. */
static void embed_backward(const struct transformer *t, size_t offset, const uint32_t *ids)
{
    const struct pass *pass = &t->pass;
    size_t width = model_shape(pass->model)->width;
    for (size_t r = 0; offset != BINDING_NONE && r < pass->batch->row_count; r++) {
        const struct batch_row *row = &pass->batch->rows[r];
        kernel_scatter_add(pass->kernel, row->count, width, ids + row->start,
                           t->d + row->start * width, pass->gradients[r] + offset);
    }
}

enum err transformer_layer(struct transformer *transformer, size_t layer, const float *x,
                           float *next, struct err_text *et)
{
    struct transformer *t = transformer;
    block_forward(&t->pass, layer, x, &t->saved[layer], &t->block_work, next);
    return check_layer(t, layer, next, et);
}

void transformer_observe_head(struct transformer *transformer, const float *x)
{
    head_observe(&transformer->pass, &transformer->head_work, x);
}

const float *transformer_output(const struct transformer *transformer)
{
    return transformer->x[model_shape(transformer->pass.model)->layers];
}

enum err transformer_forward(struct transformer *transformer, struct err_text *et)
{
    struct transformer *t = transformer;
    size_t layers = model_shape(t->pass.model)->layers;
    transformer_embed(t, t->x[0]);
    for (size_t l = 0; l < layers; l++)
        TRY(transformer_layer(t, l, t->x[l], t->x[l + 1], et));
    transformer_observe_head(t, t->x[layers]);
    return ERR_OK;
}

static enum err check_losses(const struct transformer *t, struct err_text *et)
{
    const struct batch *batch = t->pass.batch;
    for (size_t i = 0; i < batch->target_count; i++) {
        if (!(t->losses[i] - t->losses[i] == 0))
            return report(&t->pass, "the loss", model_shape(t->pass.model)->layers,
                          batch->targets[i], et);
    }
    return ERR_OK;
}

static bool layer_trains(const struct pass *pass, size_t layer)
{
    for (unsigned role = 0; role < MODEL_ROLE_COUNT; role++) {
        ptrdiff_t param = MODEL_NO_PARAM;
        if (family_role_in_layer((enum model_role)role))
            param = model_param_index(pass->model, (enum model_role)role, layer);
        if (param != MODEL_NO_PARAM && pass_trains(pass, (size_t)param))
            return true;
    }
    for (unsigned place = 0; place < BINDING_PLACE_COUNT; place++) {
        if (bottleneck_of(pass, layer, (enum binding_place)place) != NULL)
            return true;
    }
    return false;
}

/* Walks down to the lowest layer that trains; below it nobody wants a gradient. */
static void walk_down(struct transformer *t)
{
    const struct pass *pass = &t->pass;
    const struct model_shape *s = model_shape(pass->model);
    size_t words = pass_offset(pass, pass_param(pass, MODEL_EMBEDDING, 0)), lowest = 0;
    ptrdiff_t table = model_param_index(pass->model, MODEL_POSITION, 0);
    size_t positions = table != MODEL_NO_PARAM ? pass_offset(pass, (size_t)table) : BINDING_NONE;
    bool embeds = words != BINDING_NONE || lookup_adapter(pass) != NULL;
    bool below = embeds || positions != BINDING_NONE || pass->batch->prompt_count != 0;
    for (size_t r = 0; r < pass->batch->row_count; r++)
        t->spans[r] = (struct norm_span){pass->batch->rows[r].start, pass->batch->rows[r].count};
    while (!below && lowest < s->layers && !layer_trains(pass, lowest))
        lowest++;
    for (size_t l = s->layers; l-- > lowest;) {
        if (t->mode == TRANSFORMER_RECOMPUTE)
            block_forward(pass, l, t->x[l], &t->saved[l], &t->block_work, t->remade);
        block_backward(pass, l, t->x[l], &t->saved[l], &t->block_work, l == lowest && !below, t->d);
    }
    embed_backward(t, positions, pass->batch->positions);
    prompts_backward(pass, t->d);
    if (embeds && (s->embedding_scale < 1 || s->embedding_scale > 1))
        kernel_scale(pass->kernel, pass->batch->token_count * s->width, s->embedding_scale, t->d);
    embed_backward(t, words, pass->batch->tokens);
    lookup_backward(pass, t->d);
}

enum err transformer_gradient(struct transformer *transformer, const float *weights,
                              struct err_text *et)
{
    struct transformer *t = transformer;
    ASSERT(t->mode != TRANSFORMER_INFER && t->pass.gradients != NULL);
    head_gradient(&t->pass, &t->head_work, transformer_output(t), weights, t->d);
    TRY(check_losses(t, et));
    const struct pass_observer *observer = t->pass.observer;
    t->pass.observer = NULL; /* it has seen what is made again on the way down */
    walk_down(t);
    t->pass.observer = observer;
    return ERR_OK;
}

enum err transformer_loss(struct transformer *transformer, bool backward, struct err_text *et)
{
    struct transformer *t = transformer;
    TRY(transformer_forward(t, et));
    if (backward)
        return transformer_gradient(t, NULL, et);
    head_loss(&t->pass, &t->head_work, transformer_output(t));
    return check_losses(t, et);
}

void transformer_logits_of(struct transformer *transformer, const float *x, size_t first,
                           size_t count, float *logits)
{
    head_logits(&transformer->pass, &transformer->head_work, x, first, count, logits);
}

void transformer_logits(struct transformer *transformer, size_t first, size_t count, float *logits)
{
    transformer_logits_of(transformer, transformer_output(transformer), first, count, logits);
}
