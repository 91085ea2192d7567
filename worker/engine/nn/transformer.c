/* transformer.c - planning the memory of a step and walking the layers up and down. */
#include "worker/engine/nn/transformer.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/rope.h"
#include "worker/engine/nn/block.h"
#include "worker/engine/nn/head.h"

struct transformer {
    struct pass pass;
    enum transformer_mode mode;
    float *memory; /* owned, of the kernel: all buffers below point into it */
    float *ropes[MODEL_ROPE_LOCAL + 1];
    float **x;                 /* owned: (layers + 1) inputs of the layers and the last output */
    struct block_saved *saved; /* owned: (layers); the same buffers for all unless mode TRAIN */
    struct norm_span *spans;   /* owned: (rows) */
    double *losses;            /* owned: (tokens) */
    struct block_work block_work;
    struct head_work head_work;
    float *d;      /* (T, C) gradient of x on its way down */
    float *remade; /* (T, C) output of a layer that is made again */
};

/* Hands out pieces of one buffer; with base NULL it only counts. */
struct carve {
    float *base;
    size_t used, peak;
};

static float *carve(struct carve *c, size_t count)
{
    float *at = c->base != NULL ? c->base + c->used : NULL;
    c->used += (count + 15) / 16 * 16;
    c->peak = MAX(c->peak, c->used);
    return at;
}

static size_t rank_of(const struct binding *binding, const struct model *model,
                      enum model_role role, size_t layer)
{
    ptrdiff_t param = model_param_index(model, role, layer);
    if (binding == NULL || param < 0)
        return 0;
    return binding->slots[param].adapter.rank;
}

static float *carve_mid(struct carve *c, const struct transformer *t, enum model_role role,
                        size_t layer, size_t tokens)
{
    return carve(c, tokens * rank_of(t->pass.binding, t->pass.model, role, layer));
}

static bool has_role(const struct model *model, enum model_role role)
{
    return model_param_index(model, role, 0) != MODEL_NO_PARAM;
}

/* `count` floats in families that have the role, else NULL. */
static float *carve_if(struct carve *c, const struct transformer *t, enum model_role role,
                       size_t count)
{
    return has_role(t->pass.model, role) ? carve(c, count) : NULL;
}

static void carve_mids(struct carve *c, const struct transformer *t, size_t layer, size_t T,
                       struct block_mids *mids)
{
    *mids = (struct block_mids){.query_key_value = carve_mid(c, t, MODEL_QUERY_KEY_VALUE, layer, T),
                                .query = carve_mid(c, t, MODEL_QUERY, layer, T),
                                .key = carve_mid(c, t, MODEL_KEY, layer, T),
                                .value = carve_mid(c, t, MODEL_VALUE, layer, T),
                                .output = carve_mid(c, t, MODEL_OUTPUT, layer, T),
                                .gate_up = carve_mid(c, t, MODEL_GATE_UP, layer, T),
                                .gate = carve_mid(c, t, MODEL_GATE, layer, T),
                                .up = carve_mid(c, t, MODEL_UP, layer, T),
                                .down = carve_mid(c, t, MODEL_DOWN, layer, T)};
}

static void carve_saved(struct carve *c, const struct transformer *t, size_t layer, size_t T,
                        struct block_saved *saved)
{
    const struct model *model = t->pass.model;
    const struct model_shape *s = model_shape(model);
    size_t C = s->width, Q = s->heads * s->head_width, K = s->kv_heads * s->head_width;
    size_t H = s->heads, G = s->kv_heads, stats = norm_stats_count(model, T);
    *saved = (struct block_saved){0};
    saved->normed = carve(c, T * C);
    saved->norm_stats = carve(c, stats);
    saved->q_plain = carve_if(c, t, MODEL_QUERY_NORM, T * Q);
    saved->k_plain = carve_if(c, t, MODEL_KEY_NORM, T * K);
    saved->q_stats = carve_if(c, t, MODEL_QUERY_NORM, norm_stats_count(model, T * H));
    saved->k_stats = carve_if(c, t, MODEL_KEY_NORM, norm_stats_count(model, T * G));
    saved->q = carve(c, T * Q);
    saved->k = carve(c, T * K);
    saved->v = carve(c, T * K);
    saved->heads = carve(c, T * Q);
    saved->heads_normed = carve_if(c, t, MODEL_ATTENTION_SUB_NORM, T * Q);
    saved->heads_stats = carve_if(c, t, MODEL_ATTENTION_SUB_NORM, stats);
    saved->stats = carve(c, T * s->heads * 2);
    saved->attended = carve_if(c, t, MODEL_POST_ATTENTION_NORM, T * C);
    saved->attended_stats = carve_if(c, t, MODEL_POST_ATTENTION_NORM, stats);
    saved->middle = carve(c, T * C);
    saved->mlp_normed = has_role(model, MODEL_MLP_NORM) ? carve(c, T * C) : saved->normed;
    saved->mlp_norm_stats = carve_if(c, t, MODEL_MLP_NORM, stats);
    saved->gate = carve_if(c, t, MODEL_GATE, T * s->mlp_width);
    saved->up = carve(c, T * s->mlp_width);
    saved->act_stats = carve_if(c, t, MODEL_MLP_SUB_NORM, stats);
    saved->fed = carve_if(c, t, MODEL_POST_MLP_NORM, T * C);
    saved->fed_stats = carve_if(c, t, MODEL_POST_MLP_NORM, stats);
    carve_mids(c, t, layer, T, &saved->mids);
}

/* Working memory of the layers and of the head is never needed at once, so they share a place. */
static void carve_work(struct carve *c, struct transformer *t, size_t T)
{
    const struct model_shape *s = model_shape(t->pass.model);
    size_t C = s->width, Q = s->heads * s->head_width, K = s->kv_heads * s->head_width;
    bool backward = t->mode != TRANSFORMER_INFER;
    size_t shared = c->used;
    struct block_work *b = &t->block_work;
    b->act = carve(c, T * s->mlp_width);
    b->act_normed = carve_if(c, t, MODEL_MLP_SUB_NORM, T * s->mlp_width);
    if (backward) {
        b->dact = carve(c, T * s->mlp_width);
        b->dnormed = carve(c, T * C);
        b->dbranch = carve(c, block_splits_gradient(t->pass.model) ? T * C : 0);
        b->dheads = carve(c, T * Q);
        b->dq = carve(c, T * Q);
        b->dk = carve(c, T * K);
        b->dv = carve(c, T * K);
        b->delta = carve(c, T * s->heads);
    }
    c->used = shared;
    struct head_work *h = &t->head_work;
    h->block = head_block(s->vocabulary, T);
    h->x = carve(c, T * C);
    h->normed = carve(c, T * C);
    h->stats = carve(c, norm_stats_count(t->pass.model, T));
    h->logits = carve(c, h->block * s->vocabulary);
    if (backward) {
        h->capped = carve(c, s->logit_cap > 0 ? h->block * s->vocabulary : 0);
        h->dnormed = carve(c, T * C);
        h->dx = carve(c, T * C);
    }
    c->used = c->peak;
}

static size_t rank_max(const struct binding *binding)
{
    size_t rank = 0;
    for (size_t i = 0; binding != NULL && i < binding->slot_count; i++)
        rank = MAX(rank, binding->slots[i].adapter.rank);
    return rank;
}

/* Whether linear.c needs its scratch for inputs: dropout, rounded inputs, biases in groups. */
static bool needs_scratch(const struct transformer *t, const struct transformer_plan *plan)
{
    const struct family *family = model_family(t->pass.model);
    return family->linear == LINEAR_TERNARY ||
           (plan->mode != TRANSFORMER_INFER &&
            (rank_max(t->pass.binding) != 0 || family->attention == ATTENTION_FUSED_GROUPS));
}

/* Rows of the rope table for one position: two sets of frequencies may take turns. */
static size_t rope_turns(const struct model *model)
{
    return model_shape(model)->positions_short != 0 ? 2 : 1;
}

static void carve_ropes(struct carve *c, struct transformer *t, size_t positions)
{
    const struct model *model = t->pass.model;
    size_t width = model_shape(model)->rotary_width;
    double scale;
    for (unsigned rope = MODEL_ROPE_MAIN; rope <= MODEL_ROPE_LOCAL; rope++) {
        bool there = model_rope_frequency(model, (enum model_rope)rope, &scale) != NULL;
        size_t turns = rope == MODEL_ROPE_MAIN ? rope_turns(model) : 1;
        t->ropes[rope] = carve(c, there ? positions * width * turns : 0);
        t->pass.ropes[rope] = t->ropes[rope];
    }
}

/* Lays out everything; t->x and t->saved are filled when they are there. Returns the floats needed.
 */
static size_t lay_out(struct transformer *t, const struct transformer_plan *plan, float *base)
{
    const struct model_shape *s = model_shape(t->pass.model);
    struct carve c = {.base = base};
    size_t T = plan->tokens, rank = rank_max(t->pass.binding);
    size_t widest = MAX(MAX(s->width, s->mlp_width), s->heads * s->head_width);
    carve_ropes(&c, t, plan->positions);
    t->pass.scratch = carve(&c, needs_scratch(t, plan) ? T * widest : 0);
    t->pass.scratch_mid = carve(&c, T * rank);
    t->d = carve(&c, plan->mode == TRANSFORMER_INFER ? 0 : T * s->width);
    t->remade = carve(&c, plan->mode == TRANSFORMER_RECOMPUTE ? T * s->width : 0);
    float *two[2] = {NULL, NULL};
    if (plan->mode == TRANSFORMER_INFER) {
        two[0] = carve(&c, T * s->width);
        two[1] = carve(&c, T * s->width);
    }
    for (size_t l = 0; l <= s->layers; l++) {
        float *x = plan->mode == TRANSFORMER_INFER ? two[l % 2] : carve(&c, T * s->width);
        if (t->x != NULL)
            t->x[l] = x;
    }
    struct block_saved shared = {0};
    for (size_t l = 0; l < s->layers; l++) {
        size_t before = c.used;
        carve_saved(&c, t, l, T, &shared);
        if (t->saved != NULL)
            t->saved[l] = shared;
        if (plan->mode != TRANSFORMER_TRAIN && l + 1 < s->layers)
            c.used = before;
    }
    c.used = c.peak;
    carve_work(&c, t, T);
    return c.peak;
}

size_t transformer_size_bytes(const struct model *model, const struct binding *binding,
                              const struct transformer_plan *plan)
{
    struct transformer t = {.pass = {.model = model, .binding = binding}, .mode = plan->mode};
    return lay_out(&t, plan, NULL) * sizeof(float) + plan->tokens * sizeof(double);
}

/* Tables of cosine and sine. A row of the main table holds the pairs of short samples and then
 * those of long ones where these differ, so that rope.h sees two rows. */
static enum err fill_ropes(struct transformer *t, size_t positions)
{
    const struct model *model = t->pass.model;
    size_t half = model_shape(model)->rotary_width / 2;
    double scale;
    const double *local = model_rope_frequency(model, MODEL_ROPE_LOCAL, &scale);
    if (local != NULL)
        rope_table(positions, half, local, scale, t->ropes[MODEL_ROPE_LOCAL]);
    const double *longs = model_rope_frequency(model, MODEL_ROPE_LONG, &scale);
    const double *shorts = model_rope_frequency(model, MODEL_ROPE_MAIN, &scale);
    if (shorts == NULL)
        return ERR_OK;
    if (longs == NULL) {
        rope_table(positions, half, shorts, scale, t->ropes[MODEL_ROPE_MAIN]);
        return ERR_OK;
    }
    double *both = mem_alloc(2 * half, sizeof *both);
    if (both == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(both, shorts, half * sizeof *both);
    memcpy(both + half, longs, half * sizeof *both);
    rope_table(positions, 2 * half, both, scale, t->ropes[MODEL_ROPE_MAIN]);
    mem_free(both);
    return ERR_OK;
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
    t->memory = kernel_alloc(kernel, lay_out(t, plan, NULL));
    t->x = mem_alloc(s->layers + 1, sizeof *t->x);
    t->saved = mem_alloc(s->layers, sizeof *t->saved);
    t->spans = mem_alloc(plan->rows, sizeof *t->spans);
    t->losses = mem_alloc(plan->tokens, sizeof *t->losses);
    if (t->memory == NULL || t->x == NULL || t->saved == NULL || t->spans == NULL ||
        t->losses == NULL) {
        transformer_destroy(&t);
        return ERR_OUT_OF_MEMORY;
    }
    (void)lay_out(t, plan, t->memory);
    t->block_work.spans = t->head_work.spans = t->spans;
    t->head_work.losses = t->losses;
    if (fill_ropes(t, plan->positions) != ERR_OK) {
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
                     "row %" PRIu64 ", token %zu, layer %zu: the output of %s is not finite; a "
                     "lower learning rate or max_grad_norm may help",
                     row->index, token - row->start, layer, module);
}

static enum err check_layer(const struct transformer *t, size_t layer, struct err_text *et)
{
    const struct pass *pass = &t->pass;
    size_t C = model_shape(pass->model)->width, count = pass->batch->token_count * C;
    size_t bad = kernel_first_not_finite(pass->kernel, count, t->x[layer + 1]);
    if (bad == count)
        return ERR_OK;
    struct block_fault fault = {.module = "the layer", .token = bad / C};
    (void)block_find_fault(pass, layer, &t->saved[layer], t->x[layer + 1], &fault);
    return report(pass, fault.module, layer, fault.token, et);
}

/* t->x[0] = embeddings, scaled, with learned positions added. */
static void embed(struct transformer *t)
{
    const struct pass *pass = &t->pass;
    const struct model_shape *s = model_shape(pass->model);
    size_t T = pass->batch->token_count;
    struct pass_weight table = pass_weight(pass, pass_param(pass, MODEL_EMBEDDING, 0));
    ptrdiff_t positions = model_param_index(pass->model, MODEL_POSITION, 0);
    kernel_gather(pass->kernel, T, s->width, pass->batch->tokens, table.data, table.dtype, t->x[0]);
    if (s->embedding_scale < 1 || s->embedding_scale > 1)
        kernel_scale(pass->kernel, T * s->width, s->embedding_scale, t->x[0]);
    if (positions == MODEL_NO_PARAM)
        return;
    /* The first layer's output is not there yet: its place serves for the rows of the table. */
    table = pass_weight(pass, (size_t)positions);
    kernel_gather(pass->kernel, T, s->width, pass->batch->positions, table.data, table.dtype,
                  t->x[1]);
    kernel_add(pass->kernel, T * s->width, t->x[1], t->x[0]);
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

enum err transformer_forward(struct transformer *transformer, struct err_text *et)
{
    struct transformer *t = transformer;
    const struct pass *pass = &t->pass;
    const struct model_shape *s = model_shape(pass->model);
    embed(t);
    for (size_t l = 0; l < s->layers; l++) {
        block_forward(pass, l, t->x[l], &t->saved[l], &t->block_work, t->x[l + 1]);
        TRY(check_layer(t, l, et));
    }
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
    bool below = words != BINDING_NONE || positions != BINDING_NONE;
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
    if (words != BINDING_NONE && (s->embedding_scale < 1 || s->embedding_scale > 1))
        kernel_scale(pass->kernel, pass->batch->token_count * s->width, s->embedding_scale, t->d);
    embed_backward(t, words, pass->batch->tokens);
}

enum err transformer_loss(struct transformer *transformer, bool backward, struct err_text *et)
{
    struct transformer *t = transformer;
    ASSERT(!backward || (t->mode != TRANSFORMER_INFER && t->pass.gradients != NULL));
    TRY(transformer_forward(t, et));
    head_loss(&t->pass, &t->head_work, t->x[model_shape(t->pass.model)->layers], backward, t->d);
    TRY(check_losses(t, et));
    if (backward)
        walk_down(t);
    return ERR_OK;
}

void transformer_logits(struct transformer *transformer, size_t first, size_t count, float *logits)
{
    struct transformer *t = transformer;
    head_logits(&t->pass, &t->head_work, t->x[model_shape(t->pass.model)->layers], first, count,
                logits);
}
