/* task_replay.c - a shard of calibration rows goes one layer further.
 *
 *   hidden states at the input of layer l - 1 ──▶ layer l - 1 as it is now, quantized ──▶ hidden
 *   states at the input of layer l ──▶ layer l as it was, observed ──▶ Gram matrices of its sites
 *
 * Outputs: "hidden", rows one after the other, (tokens, width) f32 each; "gram.0", "gram.1", ... of
 * the layer's sites. spec.round is l, spec.first the shard of spec.total.
 */
#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/mem/mem.h"
#include "worker/engine/calibrate/calibrate.h"
#include "worker/engine/nn/model_site.h"
#include "worker/task/task_gram.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_override.h"

enum { SITES_MAX = 8 };

struct replay {
    struct task_run *run;
    struct kernel *kernel;
    const struct model *model;
    struct model *before;  /* owned: the model with layer - 1 quantized; NULL: as it is */
    struct calibrate *old; /* owned: runs layer - 1 */
    struct calibrate *own; /* owned: observes the layer */
    struct rows rows;
    uint64_t first, end;
    size_t layer, width, site_count;
    struct task_gram grams[SITES_MAX];
    float *hidden; /* owned: of all rows of the shard, one after the other */
    float *next;   /* owned: what the layer makes of a row; nobody reads it */
    size_t token_count;
    struct arena arena;
};

static struct batch_input input_of(const struct replay *r, uint64_t index)
{
    struct row row = rows_at(&r->rows, index);
    return (struct batch_input){
        .index = index,
        .tokens = row.tokens,
        .token_count = row.count,
        .segment_starts = row.segment_starts,
        .segment_count = row.segment_count,
    };
}

/* Which rows the shard has, and the memory for them. */
static enum err take_place(struct replay *r, struct err_text *et)
{
    const struct task_spec *spec = r->run->spec;
    size_t bytes;
    r->layer = (size_t)spec->round;
    r->width = model_shape(r->model)->width;
    r->site_count = model_site_layer_count(r->model);
    if (r->layer >= model_shape(r->model)->layers || spec->first >= spec->total ||
        spec->total > r->rows.row_count || r->site_count > SITES_MAX)
        return error_set(et, ERR_PROTOCOL, "layer %zu, shard %llu of %llu, %llu rows", r->layer,
                         (unsigned long long)spec->first, (unsigned long long)spec->total,
                         (unsigned long long)r->rows.row_count);
    if (r->rows.token_id_max >= model_shape(r->model)->vocabulary)
        return error_set(et, ERR_DATA, "token %u is outside the model's vocabulary of %zu",
                         r->rows.token_id_max, model_shape(r->model)->vocabulary);
    r->first = r->rows.row_count * spec->first / spec->total;
    r->end = r->rows.row_count * (spec->first + 1) / spec->total;
    r->token_count = (size_t)(r->rows.row_offsets[r->end] - r->rows.row_offsets[r->first]);
    if (!check_mul(r->token_count, r->width, &bytes))
        return ERR_OVERFLOW;
    r->hidden = mem_alloc(bytes, sizeof *r->hidden);
    r->next = mem_alloc((size_t)r->rows.row_tokens_max * r->width, sizeof *r->next);
    return r->hidden != NULL && r->next != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

/* The model whose layer - 1 is what its quantize tasks made of it. */
static enum err lay_over(struct replay *r, struct err_text *et)
{
    struct cache *cache = r->run->env->options.cache;
    struct task_scheme scheme;
    struct task_overrides *overrides = arena_alloc(&r->arena, 1, sizeof *overrides);
    char input[64];
    if (overrides == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(task_scheme_read(&r->run->recipe, r->model, &r->arena, &scheme, et));
    for (unsigned i = 0;; i++) {
        const struct cache_item *item = NULL;
        (void)snprintf(input, sizeof input, "tensors/%u", i);
        if (task_run_input(r->run, input) == NULL)
            break;
        TRY(task_run_open(r->run, input, &item, et));
        enum err err = task_override_add(overrides, item->bytes, r->model, &scheme, r->layer - 1,
                                         &r->arena, et);
        cache_release(cache, &item);
        TRY(err);
    }
    return model_overlay_create(r->model, overrides->items, overrides->count, &r->before, et);
}

/* The hidden states that the shard left off with. */
static enum err read_hidden(struct replay *r, struct err_text *et)
{
    const struct cache_item *item = NULL;
    size_t size = r->token_count * r->width * sizeof *r->hidden;
    TRY(task_run_open(r->run, "hidden", &item, et));
    bool fits = item->bytes.size == size;
    if (fits)
        memcpy(r->hidden, item->bytes.data, size);
    cache_release(r->run->env->options.cache, &item);
    return fits ? ERR_OK
                : error_set(et, ERR_SHAPE, "hidden: expected %zu tokens of %zu", r->token_count,
                            r->width);
}

static enum err go_on(struct replay *r, struct err_text *et)
{
    if (r->layer > 0) {
        TRY(read_hidden(r, et));
        if (r->run->recipe.quantize.sequential)
            TRY(lay_over(r, et));
    }
    const struct model *model = r->before != NULL ? r->before : r->model;
    TRY(calibrate_create(model, r->kernel, 0, r->rows.row_tokens_max, &r->old));
    for (uint64_t i = r->first; i < r->end; i++) {
        const struct batch_input input = input_of(r, i);
        float *x =
            r->hidden + (size_t)(r->rows.row_offsets[i] - r->rows.row_offsets[r->first]) * r->width;
        TRY(task_run_progress(r->run, i - r->first, 2 * (r->end - r->first)));
        if (r->layer == 0)
            TRY(calibrate_embed(r->old, &input, x, et));
        else
            TRY(calibrate_layer(r->old, &input, r->layer - 1, x, x, NULL, NULL, et));
    }
    calibrate_destroy(&r->old);
    return ERR_OK;
}

static enum err take_leaf(void *context, const struct calibrate_leaf *leaf)
{
    struct replay *r = context;
    task_gram_add(&r->grams[leaf->site % r->site_count], leaf);
    return ERR_OK;
}

static enum err observe(struct replay *r, struct err_text *et)
{
    for (size_t i = 0; i < r->site_count; i++)
        TRY(task_gram_init(&r->grams[i], r->kernel,
                           model_site(r->model, r->layer * r->site_count + i).columns, &r->arena));
    TRY(calibrate_create(r->model, r->kernel, CALIBRATE_SUM_ABS | CALIBRATE_RANGE,
                         r->rows.row_tokens_max, &r->own));
    uint64_t count = r->end - r->first;
    for (uint64_t i = r->first; i < r->end; i++) {
        const struct batch_input input = input_of(r, i);
        const float *x =
            r->hidden + (size_t)(r->rows.row_offsets[i] - r->rows.row_offsets[r->first]) * r->width;
        TRY(task_run_progress(r->run, count + i - r->first, 2 * count));
        TRY(calibrate_layer(r->own, &input, r->layer, x, r->next, take_leaf, r, et));
    }
    r->run->result->tokens = r->token_count;
    return ERR_OK;
}

static enum err hand_in(struct replay *r, struct err_text *et)
{
    struct span hidden = {(const uint8_t *)r->hidden,
                          r->token_count * r->width * sizeof *r->hidden};
    char name[64];
    TRY(task_run_output(r->run, "hidden", hidden, false, et));
    for (size_t i = 0; i < r->site_count; i++) {
        (void)snprintf(name, sizeof name, "gram.%zu", i);
        TRY(task_gram_put(r->run, &r->grams[i], name, et));
    }
    return ERR_OK;
}

static enum err replay(struct replay *r, struct err_text *et)
{
    TRY(take_place(r, et));
    TRY(go_on(r, et));
    TRY(observe(r, et));
    return hand_in(r, et);
}

enum err task_kind_replay(struct task_run *run, struct err_text *et)
{
    struct replay r = {.run = run};
    const struct cache_item *item = NULL;
    TRY(task_model_open(run, &r.model, et));
    TRY(task_run_kernel(run, &r.kernel, et));
    TRY(task_run_open(run, "calib_rows", &item, et));
    arena_init(&r.arena, SIZE_MAX); /* a layer's weights, sums of its sites */
    enum err err = rows_open(item->bytes, &r.rows, et);
    if (err == ERR_OK)
        err = replay(&r, et);
    calibrate_destroy(&r.old);
    calibrate_destroy(&r.own);
    model_destroy(&r.before);
    for (size_t i = 0; i < SITES_MAX; i++)
        task_gram_fini(&r.grams[i]);
    mem_free(r.hidden);
    mem_free(r.next);
    arena_fini(&r.arena);
    cache_release(run->env->options.cache, &item);
    return err;
}
