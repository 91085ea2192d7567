/* task_memory.c - what training, and what comes of it, holds. */
#include "worker/task/task_memory.h"

#include "common/base/check.h"
#include "worker/engine/nn/adapter_norm.h"
#include "worker/engine/nn/family.h"
#include "worker/engine/train/fake_quant.h"
#include "worker/engine/train/train.h"
#include "worker/task/task_model.h"
#include "worker/task/task_qat.h"
#include "worker/task/task_settings.h"

/* Bytes a thousand weights take in memory with their scales, a block of 64 having one of f32. */
enum { MILLI_BYTES_4BIT = 563, MILLI_BYTES_8BIT = 1063 };

/* Rows of a merged tensor as they are made, rounded and written. */
#define MERGE_BYTES (UINT64_C(32) << 20)

uint64_t task_memory_add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t task_memory_times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* ---- the model ---- */

static uint64_t linear_count(const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role))
            count += (uint64_t)p->rows * p->columns;
    }
    return count;
}

uint64_t task_memory_made(const struct recipe *recipe, const struct model *model,
                          enum stage_kind kind)
{
    uint64_t made = model_own_bytes(model);
    if (!task_model_sees_loaded(kind))
        return made;
    if (recipe->random_init)
        made = task_memory_add(made, (uint64_t)model_element_count(model) * sizeof(float));
    if (recipe->load_in_4bit)
        made = task_memory_add(made, linear_count(model) / 1000 * MILLI_BYTES_4BIT);
    else if (recipe->load_in_8bit)
        made = task_memory_add(made, linear_count(model) / 1000 * MILLI_BYTES_8BIT);
    return made;
}

/* ---- sessions ---- */

/* Levels of a round's fold that hold a vector at once. */
static uint64_t fold_vectors(const struct recipe *recipe)
{
    uint64_t rows = MAX(recipe_round_rows(recipe), (uint64_t)2);
    return 63 - (uint64_t)__builtin_clzll(rows);
}

static bool has_anchor(const struct recipe *recipe)
{
    return recipe->adapter == RECIPE_ADAPTER_LORA &&
           recipe->peft_init_lora_weights == RECIPE_PEFT_INIT_LORA_WEIGHTS_PISSA;
}

static uint64_t vector_bytes(const struct train_layout *layout)
{
    return (uint64_t)train_layout_count(layout) * sizeof(float);
}

uint64_t task_memory_session(const struct recipe *recipe, const struct model *model,
                             const struct train_layout *layout, uint64_t codes_bytes,
                             size_t rows_at_once)
{
    struct train_options options = task_settings_rows(recipe, NULL, rows_at_once);
    size_t length = (size_t)recipe->sequence_len;
    options.quantizes = codes_bytes > 0;
    uint64_t forward = train_evaluate_estimate(model, layout, &options, length);
    if (layout == NULL)
        return forward;
    uint64_t vectors = 1 + has_anchor(recipe) + fold_vectors(recipe);
    uint64_t held = task_memory_times(vectors, vector_bytes(layout));
    held += adapter_norm_count(train_layout_binding(layout)) * sizeof(float);
    held = task_memory_add(held, task_memory_add(forward, codes_bytes));
    return task_memory_add(held, train_memory_estimate(model, layout, &options, length));
}

/* ---- tasks under a layout ---- */

struct trained {
    const struct recipe *recipe;
    const struct model *model;
    const struct train_layout *layout;
    uint64_t vector, codes; /* bytes */
    bool is_anchored;
};

/* The largest matrix that an adapter sits on, factored. */
static uint64_t factor_bytes(const struct trained *t)
{
    const struct binding *binding = train_layout_binding(t->layout);
    uint64_t most = 0;
    if (t->recipe->peft_init_lora_weights != RECIPE_PEFT_INIT_LORA_WEIGHTS_PISSA &&
        t->recipe->peft_init_lora_weights != RECIPE_PEFT_INIT_LORA_WEIGHTS_LOFTQ)
        return 0;
    for (size_t i = 0; i < binding->slot_count; i++) {
        const struct model_param *p = model_param(t->model, i);
        uint64_t sides = (uint64_t)p->rows + p->columns, rank = binding->slots[i].adapter.rank;
        if (rank > 0)
            most = MAX(most, (uint64_t)p->rows * p->columns * 2 * sizeof(float) +
                                 sides * (3 * rank + 64) * sizeof(double));
    }
    return most;
}

/* Forward alone, under what was trained. */
static uint64_t evaluate_bytes(const struct trained *t)
{
    struct train_options options = task_settings_rows(t->recipe, NULL, 1);
    options.quantizes = t->codes > 0;
    uint64_t norms = adapter_norm_count(train_layout_binding(t->layout)) * sizeof(float);
    uint64_t held = (1 + t->is_anchored) * t->vector + t->codes + norms;
    return task_memory_add(held, train_evaluate_estimate(t->model, t->layout, &options,
                                                         (size_t)t->recipe->sequence_len));
}

/* Of a kind that has a layout. The vector and its file are there at once; an adapter with an anchor
 * becomes one of twice the rank. */
static uint64_t trained_bytes(const struct trained *t, enum stage_kind kind)
{
    uint64_t vectors = (1 + t->is_anchored) * t->vector;
    if (kind == STAGE_KIND_TRAIN)
        return task_memory_session(t->recipe, t->model, t->layout, t->codes, 1);
    if (kind == STAGE_KIND_INIT)
        return 2 * vectors + factor_bytes(t);
    if (kind == STAGE_KIND_EXPORT)
        return 3 * vectors + t->codes;
    if (kind == STAGE_KIND_MERGE)
        return vectors + MERGE_BYTES;
    uint64_t pass = evaluate_bytes(t);                                     /* EVALUATE, REFERENCE */
    return kind == STAGE_KIND_MEASURE ? task_memory_times(pass, 2) : pass; /* of two models */
}

static enum err of_trained(const struct recipe *recipe, const struct model *model,
                           enum stage_kind kind, uint64_t *bytes, struct err_text *et)
{
    struct train_config config;
    struct train_layout *layout = NULL;
    struct task_qat qat;
    task_settings_train(recipe, &config);
    TRY(train_layout_create(model, &config, &layout, et));
    enum err err = task_qat_read(recipe, model, &qat, et);
    if (err == ERR_OK) {
        const struct trained t = {
            .recipe = recipe,
            .model = model,
            .layout = layout,
            .vector = vector_bytes(layout),
            .codes = qat.is_on ? fake_quant_estimate(model, layout, &qat.config) : 0,
            .is_anchored = has_anchor(recipe),
        };
        *bytes = trained_bytes(&t, kind);
    }
    train_layout_destroy(&layout);
    return err;
}

/* ---- kinds ---- */

/* The untouched model, one row forward. */
static enum err of_untouched(const struct recipe *recipe, const struct model *model,
                             uint64_t *bytes)
{
    *bytes = task_memory_session(recipe, model, NULL, 0, 1);
    return ERR_OK;
}

static enum err of_kind(const struct recipe *recipe, const struct model *model,
                        enum stage_kind kind, uint64_t *bytes, struct err_text *et)
{
    bool trained = recipe_trains(recipe) || recipe->lora_model_dir != NULL;
    switch (kind) {
    case STAGE_KIND_INIT:
    case STAGE_KIND_TRAIN:
    case STAGE_KIND_EXPORT:
    case STAGE_KIND_MERGE:
    case STAGE_KIND_MEASURE:
        return of_trained(recipe, model, kind, bytes, et);
    case STAGE_KIND_EVALUATE:
        return trained ? of_trained(recipe, model, kind, bytes, et)
                       : of_untouched(recipe, model, bytes);
    case STAGE_KIND_REFERENCE:
        return recipe->lora_model_dir != NULL ? of_trained(recipe, model, kind, bytes, et)
                                              : of_untouched(recipe, model, bytes);
    case STAGE_KIND_CALIBRATE:
    case STAGE_KIND_REDUCE:
    case STAGE_KIND_SENSITIVITY:
    case STAGE_KIND_CHOOSE:
    case STAGE_KIND_REPLAY:
    case STAGE_KIND_QUANTIZE:
    case STAGE_KIND_ASSEMBLE:
    case STAGE_KIND_VERIFY:
    case STAGE_KIND_COMPARE:
        return task_memory_quantize(recipe, model, kind, bytes, et);
    case STAGE_KIND_PREPARE:
    case STAGE_KIND_PACK:
    case STAGE_KIND_REPORT:
    case STAGE_KIND_COUNT:
        break;
    }
    *bytes = 0;
    return ERR_OK;
}

enum err task_memory_of(const struct recipe *recipe, const struct model *model,
                        enum stage_kind kind, uint64_t *bytes, struct err_text *et)
{
    uint64_t made = task_memory_made(recipe, model, kind), task = 0;
    TRY(of_kind(recipe, model, kind, &task, et));
    *bytes =
        task == 0 ? 0 : task_memory_add(task_memory_add(task, made), TASK_MEMORY_PROCESS_BYTES);
    return ERR_OK;
}
