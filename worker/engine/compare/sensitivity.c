/* sensitivity.c - hidden states before and after, and the layers between them again and again. */
#include "worker/engine/compare/sensitivity.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/divergence.h"
#include "worker/engine/nn/head.h"
#include "worker/engine/nn/transformer.h"

/* What the base made of a row. */
struct kept {
    const float *before; /* (T, C) what enters the first layer that changes; NULL: the embedding
                            itself changes */
    const float *after;  /* (T, C) what leaves the last layer */
};

struct sensitivity {
    const struct model *base;
    struct kernel *kernel;
    const struct batch_input *rows; /* borrowed: (count) */
    size_t count;
    bool embeds;  /* runs begin at the embedding */
    size_t first; /* else at this layer; all of them: at the head */
    struct transformer_plan plan;
    struct transformer *transformer; /* owned: of the base */
    struct batch batch;              /* owned */
    struct kept *kept;               /* owned: (count) */
    float *states;                   /* owned, of the kernel: all of them */
    float *hidden;                   /* owned, of the kernel: (T, C) */
    float *logits[2];                /* owned, of the kernel: (block, V), of base and changed */
    struct divergence *divergences;  /* owned: (block) */
    size_t block;
    size_t peak_bytes;
};

static void set_start(struct sensitivity *s, size_t param)
{
    const struct model_param *p = model_param(s->base, param);
    s->first = p->layer;
    if (family_role_in_layer(p->role))
        return;
    s->embeds = p->role != MODEL_HEAD && p->role != MODEL_FINAL_NORM;
    s->first = s->embeds ? 0 : model_shape(s->base)->layers;
}

/* Memory for all rows, planned for the longest. */
static enum err prepare(struct sensitivity *s)
{
    const struct model_shape *shape = model_shape(s->base);
    size_t tokens = 0, floats, all, logits, longest = 0;
    for (size_t i = 0; i < s->count; i++) {
        longest = MAX(longest, s->rows[i].token_count);
        if (!check_add(tokens, s->rows[i].token_count, &tokens))
            return ERR_OVERFLOW;
    }
    s->block = head_block(shape->vocabulary, longest);
    s->plan = (struct transformer_plan){.mode = TRANSFORMER_INFER,
                                        .tokens = longest,
                                        .rows = 1,
                                        .positions = MIN(longest, shape->positions)};
    if (!check_mul(tokens, shape->width, &floats) || !check_mul(floats, (size_t)2, &all) ||
        !check_mul(s->block, shape->vocabulary, &logits))
        return ERR_OVERFLOW;
    s->kept = mem_alloc(s->count, sizeof *s->kept);
    s->divergences = mem_alloc(s->block, sizeof *s->divergences);
    s->states = kernel_alloc(s->kernel, all);
    s->hidden = kernel_alloc(s->kernel, longest * shape->width);
    s->logits[0] = kernel_alloc(s->kernel, logits);
    s->logits[1] = kernel_alloc(s->kernel, logits);
    if (s->kept == NULL || s->divergences == NULL || s->states == NULL || s->hidden == NULL ||
        s->logits[0] == NULL || s->logits[1] == NULL)
        return ERR_OUT_OF_MEMORY;
    s->peak_bytes = (all + longest * shape->width + 2 * logits) * sizeof(float) +
                    2 * transformer_size_bytes(s->base, NULL, &s->plan);
    TRY(batch_init(&s->batch, longest, 1));
    return transformer_create(s->base, s->kernel, NULL, &s->plan, &s->transformer);
}

static enum err set_row(struct sensitivity *s, struct transformer *t, size_t row,
                        struct err_text *et)
{
    const struct model_shape *shape = model_shape(s->base);
    const struct batch_limits limits = {.vocabulary = shape->vocabulary,
                                        .positions = shape->positions,
                                        .positions_short = shape->positions_short};
    batch_clear(&s->batch);
    TRY(batch_add(&s->batch, &s->rows[row], &limits, et));
    transformer_pass(t)->batch = &s->batch;
    return ERR_OK;
}

/* Layers [from, to) of `t` on x, which may be s->hidden; the result lies there. */
static enum err run_layers(struct sensitivity *s, struct transformer *t, size_t from, size_t to,
                           const float *x, struct err_text *et)
{
    for (size_t l = from; l < to; l++) {
        TRY(transformer_layer(t, l, x, s->hidden, et));
        x = s->hidden;
    }
    return ERR_OK;
}

static enum err keep_row(struct sensitivity *s, size_t row, float *before, float *after,
                         struct err_text *et)
{
    size_t count = s->rows[row].token_count * model_shape(s->base)->width;
    size_t layers = model_shape(s->base)->layers;
    TRY(set_row(s, s->transformer, row, et));
    transformer_embed(s->transformer, s->hidden);
    TRY(run_layers(s, s->transformer, 0, s->first, s->hidden, et));
    kernel_copy(s->kernel, count, s->hidden, before);
    TRY(run_layers(s, s->transformer, s->first, layers, s->hidden, et));
    kernel_copy(s->kernel, count, s->hidden, after);
    s->kept[row] = (struct kept){s->embeds ? NULL : before, after};
    return ERR_OK;
}

enum err sensitivity_create(const struct model *base, struct kernel *kernel, size_t param,
                            const struct batch_input *rows, size_t count, struct sensitivity **out,
                            struct err_text *et)
{
    enum err err;
    size_t at = 0, width = model_shape(base)->width;
    struct sensitivity *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return ERR_OUT_OF_MEMORY;
    *s = (struct sensitivity){.base = base, .kernel = kernel, .rows = rows, .count = count};
    set_start(s, param);
    TRY_OUT(prepare(s));
    for (size_t i = 0; i < count; i++) {
        size_t floats = rows[i].token_count * width;
        TRY_OUT(keep_row(s, i, s->states + at, s->states + at + floats, et));
        at += 2 * floats;
    }
    *out = s;
    return ERR_OK;
out:
    sensitivity_destroy(&s);
    return err;
}

void sensitivity_destroy(struct sensitivity **sensitivity)
{
    struct sensitivity *s = *sensitivity;
    if (s == NULL)
        return;
    transformer_destroy(&s->transformer);
    batch_fini(&s->batch);
    kernel_free(s->kernel, s->states);
    kernel_free(s->kernel, s->hidden);
    kernel_free(s->kernel, s->logits[0]);
    kernel_free(s->kernel, s->logits[1]);
    mem_free(s->divergences);
    mem_free(s->kept);
    mem_free(s);
    *sensitivity = NULL;
}

size_t sensitivity_peak_bytes(const struct sensitivity *sensitivity)
{
    return sensitivity->peak_bytes;
}

/* ---- measuring ---- */

/* The row's distributions under both heads; `x` is what left the changed model's last layer. */
static enum err add_divergence(struct sensitivity *s, struct transformer *t, size_t row,
                               const float *x, struct sensitivity_sums *sums, struct err_text *et)
{
    size_t V = model_shape(s->base)->vocabulary, tokens = s->rows[row].token_count, count;
    for (size_t first = 0; first < tokens; first += count) {
        count = MIN(s->block, tokens - first);
        transformer_logits_of(s->transformer, s->kept[row].after, first, count, s->logits[0]);
        transformer_logits_of(t, x, first, count, s->logits[1]);
        divergence(s->kernel, count, V, s->logits[0], s->logits[1], s->divergences);
        for (size_t i = 0; i < count; i++) {
            double kl = s->divergences[i].kl;
            if (!(kl - kl == 0))
                return error_set(et, ERR_NOT_FINITE, "row %llu, token %zu: logits are not finite",
                                 (unsigned long long)s->rows[row].index, first + i);
            sums->kl += kl;
            sums->kl_max = MAX(sums->kl_max, kl);
        }
    }
    sums->positions += tokens;
    return ERR_OK;
}

static enum err measure_row(struct sensitivity *s, struct transformer *t, size_t row,
                            struct sensitivity_sums *sums, struct err_text *et)
{
    size_t layers = model_shape(s->base)->layers;
    const float *x = s->kept[row].before;
    TRY(set_row(s, t, row, et));
    transformer_pass(s->transformer)->batch = &s->batch;
    if (s->embeds) {
        transformer_embed(t, s->hidden);
        x = s->hidden;
    }
    TRY(run_layers(s, t, s->first, layers, x, et));
    struct sensitivity_sums one = {0};
    TRY(add_divergence(s, t, row, s->first < layers ? s->hidden : x, &one, et));
    sums->positions += one.positions;
    sums->kl += one.kl;
    sums->kl_max = MAX(sums->kl_max, one.kl_max);
    return ERR_OK;
}

enum err sensitivity_measure(struct sensitivity *sensitivity, const struct model *changed,
                             struct sensitivity_sums *sums, struct err_text *et)
{
    struct sensitivity *s = sensitivity;
    struct transformer *t = NULL;
    struct sensitivity_sums made = {0};
    enum err err = transformer_create(changed, s->kernel, NULL, &s->plan, &t);
    for (size_t i = 0; i < s->count && err == ERR_OK; i++)
        err = measure_row(s, t, i, &made, et);
    transformer_destroy(&t);
    if (err == ERR_OK)
        *sums = made;
    return err;
}
