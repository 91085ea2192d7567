/* transformer_memory.c - buffers in the order in which a step needs them. */
#include "worker/engine/nn/transformer_memory.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/rope.h"
#include "worker/engine/nn/linear.h"

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

static float *carve_mid(struct carve *c, const struct transformer *t, enum model_role role,
                        size_t layer, size_t tokens)
{
    ptrdiff_t param = model_param_index(t->pass.model, role, layer);
    return carve(c, param != MODEL_NO_PARAM
                        ? linear_mid_count(t->pass.binding, t->pass.model, (size_t)param, tokens)
                        : 0);
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

/* What bottlenecks keep of a layer. */
static void carve_necks(struct carve *c, const struct transformer *t, size_t layer, size_t T,
                        struct block_saved *saved)
{
    size_t C = model_shape(t->pass.model)->width;
    for (size_t i = 0; i < BINDING_PLACE_COUNT; i++) {
        enum binding_place place = (enum binding_place)i;
        const struct binding_bottleneck *b = binding_bottleneck(t->pass.binding, layer, place);
        bool keeps = block_keeps_added(t->pass.binding, layer, place);
        saved->plain[i] = b != NULL ? carve(c, T * b->width) : NULL;
        saved->added[i] = keeps ? carve(c, T * C) : NULL;
    }
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
    carve_necks(c, t, layer, T, saved);
}

/* Of the widest bottleneck. */
static void carve_neck_work(struct carve *c, struct transformer *t, size_t T, bool backward)
{
    const struct model_shape *s = model_shape(t->pass.model);
    struct bottleneck_work *work = &t->block_work.bottleneck;
    size_t width = 0;
    for (size_t i = 0; i < s->layers * BINDING_PLACE_COUNT; i++) {
        enum binding_place place = (enum binding_place)(i % BINDING_PLACE_COUNT);
        const struct binding_bottleneck *b =
            binding_bottleneck(t->pass.binding, i / BINDING_PLACE_COUNT, place);
        width = MAX(width, b != NULL ? b->width : 0);
    }
    work->hidden = carve(c, T * width);
    work->bias = carve(c, width != 0 ? s->width : 0);
    work->dhidden = carve(c, backward ? T * width : 0);
    work->dy = carve(c, backward && width != 0 ? T * s->width : 0);
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
        b->dbranch = carve(c, block_splits_gradient(t->pass.model, t->pass.binding) ? T * C : 0);
        b->dheads = carve(c, T * Q);
        b->dq = carve(c, T * Q);
        b->dk = carve(c, T * K);
        b->dv = carve(c, T * K);
        b->delta = carve(c, T * s->heads);
    }
    carve_neck_work(c, t, T, backward);
    c->used = shared;
    struct head_work *h = &t->head_work;
    h->block = head_block(s->vocabulary, T);
    h->x = carve(c, T * C);
    h->normed = carve(c, T * C);
    h->stats = carve(c, norm_stats_count(t->pass.model, T));
    h->logits = carve(c, h->block * s->vocabulary);
    size_t head = (size_t)model_param_index(t->pass.model, MODEL_HEAD, 0);
    h->mid = carve(c, linear_mid_count(t->pass.binding, t->pass.model, head, h->block));
    if (backward) {
        h->capped = carve(c, s->logit_cap > 0 ? h->block * s->vocabulary : 0);
        bool scaled = binding_has_magnitude(t->pass.binding, head);
        h->dplain = carve(c, scaled ? h->block * s->vocabulary : 0);
        h->dnormed = carve(c, T * C);
        h->dx = carve(c, T * C);
    }
    c->used = c->peak;
}

static size_t rank_max(const struct binding *binding)
{
    size_t rank = binding != NULL ? binding->lookup.rank : 0;
    for (size_t i = 0; binding != NULL && i < binding->slot_count; i++)
        rank = MAX(rank, binding->slots[i].adapter.rank);
    return rank;
}

/* Of the modules of the layers that have magnitudes, the widest output. */
static size_t magnitude_max(const struct binding *binding, const struct model *model)
{
    size_t rows = 0;
    for (size_t i = 0; binding != NULL && i < binding->slot_count; i++) {
        const struct model_param *p = model_param(model, i);
        if (binding_has_magnitude(binding, i) && family_role_in_layer(p->role))
            rows = MAX(rows, p->rows);
    }
    return rows;
}

/* Whether linear.c needs its scratch for inputs: dropout, rounded inputs, biases in groups. */
static bool needs_scratch(const struct transformer *t, const struct transformer_plan *plan)
{
    const struct family *family = model_family(t->pass.model);
    return family->linear == LINEAR_TERNARY || model_config(t->pass.model)->quantized ||
           plan->quantizes ||
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

/* Whether the sum of all buffers is a number at all: a layer has fewer than BUFFERS of them, each
 * of at most so many floats for a token. */
static bool is_countable(const struct transformer *t, const struct transformer_plan *plan)
{
    enum { BUFFERS = 128 };
    const struct model_shape *s = model_shape(t->pass.model);
    size_t most = MAX(MAX(s->width, s->mlp_width), MAX(s->vocabulary, rank_max(t->pass.binding)));
    size_t heads, count;
    return check_mul(s->heads, s->head_width + 2, &heads) &&
           check_mul(MAX(plan->tokens, plan->positions), MAX(most, heads), &count) &&
           check_mul(count, s->layers + 2, &count) && count < SIZE_MAX / BUFFERS / sizeof(double);
}

size_t transformer_memory_plan(struct transformer *t, const struct transformer_plan *plan,
                               float *base)
{
    const struct model *model = t->pass.model;
    const struct model_shape *s = model_shape(model);
    struct carve c = {.base = base};
    if (!is_countable(t, plan))
        return SIZE_MAX;
    size_t T = plan->tokens, rank = rank_max(t->pass.binding);
    size_t widest = MAX(MAX(s->width, s->mlp_width), s->heads * s->head_width);
    carve_ropes(&c, t, plan->positions);
    t->pass.scratch = carve(&c, needs_scratch(t, plan) ? T * widest : 0);
    t->pass.scratch_mid = carve(&c, T * rank);
    t->pass.scratch_magnitude =
        carve(&c, plan->mode == TRANSFORMER_INFER ? 0 : T * magnitude_max(t->pass.binding, model));
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

/* Tables of cosine and sine. A row of the main table holds the pairs of short samples and then
 * those of long ones where these differ, so that rope.h sees two rows. */
enum err transformer_memory_fill_ropes(struct transformer *t, size_t positions)
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
