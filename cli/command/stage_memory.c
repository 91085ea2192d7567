/* stage_memory.c - see stage_memory.h. */
#include "cli/command/stage_memory.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/command/base_model.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe_variant.h"
#include "worker/engine/nn/family.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train.h"
#include "worker/engine/train/train_layout.h"
#include "worker/task/task_settings.h"

enum { ROW_TOKENS_MIN = 32, WORD_BYTES = 64, MANY = 4 };

/* Bytes a thousand weights take in memory with their scales, a block of 64 having one of f32. */
enum { MILLI_BYTES_4BIT = 563, MILLI_BYTES_8BIT = 1063 };

static void need(struct stage_memory_plan *plan, enum stage_kind kind, uint64_t bytes)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (plan->rows[i].kind == kind) {
            plan->rows[i].memory_bytes = MAX(plan->rows[i].memory_bytes, bytes);
            return;
        }
    ASSERT(plan->count < STAGE_MEMORY_ROWS_MAX);
    plan->rows[plan->count++] = (struct stage_memory){(uint32_t)kind, bytes};
}

/* What is made of weights when the model is opened. */
static uint64_t made_bytes(const struct recipe *recipe, const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role))
            count += (uint64_t)p->rows * p->columns;
    }
    if (recipe->load_in_4bit)
        return count / 1000 * MILLI_BYTES_4BIT;
    return recipe->load_in_8bit ? count / 1000 * MILLI_BYTES_8BIT : 0;
}

static uint64_t largest_tensor(const struct model *model)
{
    uint64_t most = 0;
    for (size_t i = 0; i < model_param_count(model); i++)
        most = MAX(most, (uint64_t)model_param(model, i)->rows * model_param(model, i)->columns);
    return most;
}

/* One row forward, and with a layout backward too. */
static uint64_t row_bytes(const struct recipe *recipe, const struct model *model,
                          const struct train_layout *layout)
{
    struct train_options options = task_settings_rows(recipe, model, layout, NULL, 1);
    uint64_t values = layout != NULL ? train_layout_count(layout) * sizeof(float) : 0;
    return made_bytes(recipe, model) + values +
           train_memory_estimate(model, layout, &options, (size_t)recipe->sequence_len);
}

static enum err train_bytes(const struct recipe *recipe, const struct model *model, uint64_t *out,
                            struct err_text *et)
{
    struct train_config config;
    struct train_layout *layout = NULL;
    task_settings_train(recipe, &config);
    TRY(train_layout_create(model, &config, &layout, et));
    *out = row_bytes(recipe, model, layout);
    train_layout_destroy(&layout);
    return ERR_OK;
}

static enum err plan_one(const struct recipe *recipe, const struct model *model,
                         struct stage_memory_plan *out, struct err_text *et)
{
    uint64_t train = 0, forward = row_bytes(recipe, model, NULL);
    uint64_t tensor = largest_tensor(model) * sizeof(float);
    if (recipe_trains(recipe)) {
        TRY(train_bytes(recipe, model, &train, et));
        need(out, STAGE_KIND_TRAIN, train);
        if (recipe->rl == RECIPE_RL_DPO)
            need(out, STAGE_KIND_REFERENCE, forward);
    }
    if (recipe->evaluate == RECIPE_EVALUATE_ONLY || recipe->test_datasets_count > 0 ||
        recipe->val_set_size > 0)
        need(out, STAGE_KIND_EVALUATE, forward);
    if (recipe_merges(recipe))
        need(out, STAGE_KIND_MEASURE, forward);
    if (recipe_quantizes(recipe)) {
        need(out, STAGE_KIND_QUANTIZE, tensor);
        need(out, STAGE_KIND_CALIBRATE, forward);
    }
    return ERR_OK;
}

enum err stage_memory_plan(const struct recipe *recipe, struct arena *arena,
                           struct stage_memory_plan *out, struct err_text *et)
{
    struct model *model = NULL;
    *out = (struct stage_memory_plan){.count = 0};
    TRY(base_model_open(recipe, arena, &model, et));
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < recipe_variant_count(recipe); i++) {
        struct recipe one = *recipe;
        recipe_variant_choose(&one, i);
        err = plan_one(&one, model, out, et);
    }
    model_destroy(&model);
    return err;
}

/* ---- the nearest change ---- */

static bool fits(const struct recipe *recipe, const struct model *model, uint64_t memory,
                 uint64_t *bytes)
{
    struct err_text et;
    return train_bytes(recipe, model, bytes, &et) == ERR_OK && *bytes <= memory;
}

/* Half as long until it fits, as far as rows make sense. */
static bool shorten(struct recipe *recipe, const struct model *model, uint64_t memory,
                    uint64_t *bytes)
{
    uint64_t length = recipe->sequence_len;
    while (!fits(recipe, model, memory, bytes)) {
        if (recipe->sequence_len / 2 < ROW_TOKENS_MIN) {
            recipe->sequence_len = length;
            return false;
        }
        recipe->sequence_len /= 2;
    }
    return true;
}

/* The first of these that fits `memory`: recomputing, which costs time alone; shorter rows; an
 * adapter in place of full training. NULL when none does. In `arena`. */
static const char *advise(const struct recipe *recipe, const struct model *model, uint64_t memory,
                          struct arena *arena)
{
    char size[HUMAN_BYTES];
    uint64_t bytes = 0;
    struct recipe one = *recipe;
    recipe_variant_choose(&one, 0);
    bool recomputes = one.gradient_checkpointing;
    one.gradient_checkpointing = true;
    const char *first = recomputes ? "" : "gradient_checkpointing: true";
    if (!recomputes && fits(&one, model, memory, &bytes))
        return arena_print(arena, "%s needs %s", first, human_size(bytes, size));
    if (shorten(&one, model, memory, &bytes))
        return arena_print(arena, "%s%ssequence_len: %" PRIu64 " needs %s", first,
                           recomputes ? "" : " with ", one.sequence_len, human_size(bytes, size));
    if (one.adapter != RECIPE_ADAPTER_NONE)
        return NULL;
    one.adapter = RECIPE_ADAPTER_LORA;
    one.lora_target_linear = true;
    if (shorten(&one, model, memory, &bytes))
        return arena_print(arena, "adapter: lora%s%s with sequence_len: %" PRIu64 " needs %s",
                           recomputes ? "" : ", ", first, one.sequence_len,
                           human_size(bytes, size));
    return NULL;
}

/* ---- the workers ---- */

/* Those that could be given tasks. */
static bool is_there(const struct worker_row *row)
{
    return row->state == WORKER_READY || row->state == WORKER_QUIET;
}

static enum err refuse(const struct recipe *recipe, const struct stage_memory *row,
                       uint32_t workers, uint64_t most, struct arena *arena, struct err_text *et)
{
    char needed[HUMAN_BYTES], found[HUMAN_BYTES];
    const char *advice = NULL;
    struct model *model = NULL;
    if (row->kind == STAGE_KIND_TRAIN) {
        TRY(base_model_open(recipe, arena, &model, et));
        advice = advise(recipe, model, most, arena);
        model_destroy(&model);
    }
    return error_set(
        et, ERR_NO_PLACE,
        "%s needs %s beside the base; %s %s%s. --anyway submits it to wait for a "
        "larger worker",
        state_kind_word((enum stage_kind)row->kind), human_size(row->memory_bytes, needed),
        workers == 1 ? "the only worker has"
                     : arena_print(arena, "the largest of %" PRIu32 " workers has", workers),
        human_size(most, found),
        advice != NULL ? arena_print(arena, "; nearest change that fits: %s", advice)
                       : "; no shorter rows or recomputing would fit either");
}

/* "node01, node02, node03 and 5 more", of those that can take it. */
static const char *names_of(const struct msg_workers *workers, uint64_t bytes, struct arena *arena,
                            uint32_t *count)
{
    const char *names = "";
    *count = 0;
    for (uint32_t i = 0; names != NULL && i < workers->workers_count; i++) {
        const struct worker_row *row = &workers->workers[i];
        if (!is_there(row) || row->memory_bytes < bytes)
            continue;
        if ((*count)++ < MANY)
            names =
                arena_print(arena, "%s%s%.*s", names, *count > 1 ? ", " : "", TEXT_ARGS(row->name));
    }
    if (*count > MANY)
        names = arena_print(arena, "%s and %" PRIu32 " more", names, *count - MANY);
    return names;
}

static enum err check_workers(const struct stage_memory_plan *plan, const struct recipe *recipe,
                              const struct msg_workers *workers, FILE *out, struct arena *arena,
                              struct err_text *et)
{
    enum err err = ERR_OK;
    uint32_t there = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < workers->workers_count; i++)
        if (is_there(&workers->workers[i])) {
            there++;
            most = MAX(most, workers->workers[i].memory_bytes);
        }
    for (uint32_t i = 0; i < plan->count; i++) {
        char size[HUMAN_BYTES];
        uint32_t count;
        const struct stage_memory *row = &plan->rows[i];
        const char *names = names_of(workers, row->memory_bytes, arena, &count);
        if (names == NULL)
            return ERR_OUT_OF_MEMORY;
        if (out != NULL)
            (void)fprintf(out, "%-12s %6s  %" PRIu32 " of %" PRIu32 " workers%s%s\n",
                          state_kind_word((enum stage_kind)row->kind),
                          human_size(row->memory_bytes, size), count, there, count > 0 ? ": " : "",
                          names);
        if (count == 0 && there > 0 && err == ERR_OK)
            err = refuse(recipe, row, there, most, arena, et);
    }
    return err;
}

enum err stage_memory_check(const struct stage_memory_plan *plan, const struct recipe *recipe,
                            struct client *client, FILE *out, struct arena *arena,
                            struct err_text *et)
{
    struct msg_workers_get get = {0};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_workers_get, &get, &message_type_msg_workers,
                       &reply, et));
    return check_workers(plan, recipe, &reply->workers, out, arena, et);
}
