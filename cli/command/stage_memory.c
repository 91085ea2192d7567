/* stage_memory.c - see stage_memory.h. */
#include "cli/command/stage_memory.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/command/base_model.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/message/message_copy.h"
#include "common/recipe/recipe_quantize.h"
#include "common/recipe/recipe_variant.h"
#include "worker/engine/nn/family.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/tensor/dtype.h"
#include "worker/task/task_memory.h"

enum { ROW_TOKENS_MIN = 32, MANY = 4 };

/* ---- which stages there are ---- */

static bool is_held_out(const struct recipe *recipe)
{
    return recipe->evaluate != RECIPE_EVALUATE_NONE &&
           (recipe->test_datasets_count > 0 || recipe->val_set_size > 0);
}

static bool quantizes_into(const struct recipe *recipe, enum stage_kind kind)
{
    bool replays = recipe_quantize_replays(recipe);
    switch (kind) {
    case STAGE_KIND_CALIBRATE:
    case STAGE_KIND_REDUCE:
        return recipe_quantize_measures(recipe);
    case STAGE_KIND_SENSITIVITY:
        return recipe_quantize_targets(recipe);
    case STAGE_KIND_REPLAY:
        return replays;
    case STAGE_KIND_QUANTIZE:
        return !replays;
    case STAGE_KIND_COMPARE:
        return recipe->test_datasets_count > 0 && recipe->evaluate != RECIPE_EVALUATE_NONE;
    case STAGE_KIND_CHOOSE:
    case STAGE_KIND_ASSEMBLE:
    case STAGE_KIND_VERIFY:
        return true;
    case STAGE_KIND_PREPARE:
    case STAGE_KIND_PACK:
    case STAGE_KIND_INIT:
    case STAGE_KIND_TRAIN:
    case STAGE_KIND_EVALUATE:
    case STAGE_KIND_EXPORT:
    case STAGE_KIND_REPORT:
    case STAGE_KIND_REFERENCE:
    case STAGE_KIND_MERGE:
    case STAGE_KIND_MEASURE:
    case STAGE_KIND_COUNT:
        break;
    }
    return false;
}

static bool has_stage(const struct recipe *recipe, enum stage_kind kind)
{
    bool trains = recipe_trains(recipe), is_dpo = recipe->rl == RECIPE_RL_DPO;
    if (kind == STAGE_KIND_TRAIN || kind == STAGE_KIND_EXPORT)
        return trains;
    if (kind == STAGE_KIND_INIT)
        return trains || recipe->lora_model_dir != NULL;
    if (kind == STAGE_KIND_REFERENCE)
        return trains && is_dpo;
    if (kind == STAGE_KIND_EVALUATE)
        return is_held_out(recipe) && !recipe_quantizes(recipe);
    if (kind == STAGE_KIND_MERGE)
        return recipe_merges(recipe);
    if (kind == STAGE_KIND_MEASURE)
        return recipe_merges(recipe) && is_held_out(recipe) && !is_dpo;
    return recipe_quantizes(recipe) && quantizes_into(recipe, kind);
}

/* Tasks of the kind read all weights. */
static bool is_pass(enum stage_kind kind)
{
    return kind == STAGE_KIND_TRAIN || kind == STAGE_KIND_EVALUATE ||
           kind == STAGE_KIND_REFERENCE || kind == STAGE_KIND_MEASURE ||
           kind == STAGE_KIND_CALIBRATE || kind == STAGE_KIND_COMPARE ||
           kind == STAGE_KIND_SENSITIVITY;
}

/* ---- what they need ---- */

static void need(struct stage_memory_plan *plan, enum stage_kind kind, uint64_t bytes)
{
    uint32_t i = 0;
    while (i < plan->count && plan->rows[i].kind != kind)
        i++;
    if (i == plan->count)
        plan->rows[plan->count++] = (struct stage_memory){(uint32_t)kind, 0};
    plan->rows[i].memory_bytes = MAX(plan->rows[i].memory_bytes, bytes);
}

static const struct stage_memory *largest_of(const struct stage_memory_plan *plan)
{
    const struct stage_memory *most = NULL;
    for (uint32_t i = 0; i < plan->count; i++)
        if (most == NULL || plan->rows[i].memory_bytes > most->memory_bytes)
            most = &plan->rows[i];
    return most;
}

/* Bytes of the base that stay in its files while it is trained on. */
static uint64_t mapped_bytes(const struct recipe *recipe, const struct model *model)
{
    uint64_t mapped = model_size_bytes(model), own = model_own_bytes(model);
    bool few_bits = recipe->load_in_4bit || recipe->load_in_8bit;
    if (recipe->random_init)
        return 0;
    for (size_t i = 0; few_bits && i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->kind == MODEL_KIND_LINEAR && family_role_in_layer(p->role) && p->data != NULL)
            mapped -= dtype_span_bytes(p->dtype, p->rows * p->columns);
    }
    return mapped > own ? mapped - own : 0;
}

static enum err plan_all(const struct recipe *recipe, const struct model *model,
                         struct stage_memory_plan *out, struct err_text *et)
{
    *out = (struct stage_memory_plan){.mapped_bytes = mapped_bytes(recipe, model)};
    for (uint32_t v = 0; v < recipe_variant_count(recipe); v++) {
        struct recipe one = *recipe;
        recipe_variant_choose(&one, v);
        for (unsigned k = 0; k < STAGE_KIND_COUNT; k++) {
            enum stage_kind kind = (enum stage_kind)k;
            uint64_t bytes;
            if (!has_stage(&one, kind))
                continue;
            TRY(task_memory_of(&one, model, kind, &bytes, et));
            need(out, kind, bytes);
        }
    }
    return ERR_OK;
}

/* Of `resources:`, which qctl run gives its workers. */
static enum err check_resources(const struct stage_memory_plan *plan, const struct recipe *recipe,
                                struct arena *arena, struct err_text *et)
{
    char found[HUMAN_BYTES], needed[HUMAN_BYTES];
    uint64_t memory = recipe->resources.memory;
    const struct stage_memory *most = largest_of(plan);
    if (memory == 0 || most == NULL || most->memory_bytes <= memory)
        return ERR_OK;
    return error_set(et, ERR_RECIPE, "%s: memory: %s, but %s needs %s beside the base",
                     base_model_place(recipe, RECIPE_KEY_resources, arena),
                     human_size(memory, found), state_kind_word((enum stage_kind)most->kind),
                     human_size(most->memory_bytes, needed));
}

enum err stage_memory_plan(const struct recipe *recipe, struct arena *arena,
                           struct stage_memory_plan *out, struct err_text *et)
{
    struct model *model = NULL;
    *out = (struct stage_memory_plan){.count = 0};
    TRY(base_model_open(recipe, arena, &model, et));
    enum err err = plan_all(recipe, model, out, et);
    model_destroy(&model);
    return err == ERR_OK ? check_resources(out, recipe, arena, et) : err;
}

/* ---- the nearest change ---- */

/* Whether all stages fit; *bytes: what the largest needs. */
static bool fits(const struct recipe *recipe, const struct model *model, uint64_t memory,
                 uint64_t *bytes)
{
    struct err_text et;
    struct stage_memory_plan plan;
    if (plan_all(recipe, model, &plan, &et) != ERR_OK || plan.count == 0)
        return false;
    *bytes = largest_of(&plan)->memory_bytes;
    return *bytes <= memory;
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

/* The first of these that makes all stages fit `memory`: recomputing, which costs time alone;
 * fewer bits of a base that is held in some; shorter rows; an adapter in place of full training.
 * NULL when none does. In `arena`. */
static const char *advise(const struct recipe *recipe, const struct model *model, uint64_t memory,
                          struct arena *arena)
{
    char size[HUMAN_BYTES];
    uint64_t bytes = 0;
    struct recipe one = *recipe;
    bool turns_on = recipe_trains(recipe) && !one.gradient_checkpointing;
    one.gradient_checkpointing = one.gradient_checkpointing || turns_on;
    const char *first = turns_on ? "gradient_checkpointing: true" : "";
    const char *with = turns_on ? " with " : "";
    if (turns_on && fits(&one, model, memory, &bytes))
        return arena_print(arena, "%s needs %s", first, human_size(bytes, size));
    if (one.load_in_8bit) {
        one.load_in_8bit = false;
        one.load_in_4bit = true;
        if (fits(&one, model, memory, &bytes))
            return arena_print(arena, "load_in_4bit: true, not 8%s%s needs %s", with, first,
                               human_size(bytes, size));
        one.load_in_8bit = true;
        one.load_in_4bit = false;
    }
    if (shorten(&one, model, memory, &bytes))
        return arena_print(arena, "%s%ssequence_len: %" PRIu64 " needs %s", first, with,
                           one.sequence_len, human_size(bytes, size));
    if (!recipe_trains(recipe) || one.adapter != RECIPE_ADAPTER_NONE)
        return NULL;
    one.adapter = RECIPE_ADAPTER_LORA;
    one.lora_target_linear = true;
    if (shorten(&one, model, memory, &bytes))
        return arena_print(arena, "adapter: lora%s%s with sequence_len: %" PRIu64 " needs %s",
                           turns_on ? ", " : "", first, one.sequence_len, human_size(bytes, size));
    return NULL;
}

/* ---- the workers ---- */

/* Those that could be given tasks. */
static bool is_there(const struct worker_row *row)
{
    return row->state == WORKER_READY || row->state == WORKER_QUIET;
}

/* A worker without a figure takes anything, as the scheduler has it. */
static uint64_t memory_of(const struct worker_row *row)
{
    return row->memory_bytes > 0 ? row->memory_bytes : UINT64_MAX;
}

static enum err refuse(const struct recipe *recipe, const struct stage_memory *row,
                       uint32_t workers, uint64_t most, struct arena *arena, struct err_text *et)
{
    char needed[HUMAN_BYTES], found[HUMAN_BYTES];
    struct model *model = NULL;
    TRY(base_model_open(recipe, arena, &model, et));
    const char *advice = advise(recipe, model, most, arena);
    model_destroy(&model);
    return error_set(
        et, ERR_NO_PLACE,
        "%s needs %s beside the base; %s %s%s%s. --anyway submits it to wait for a "
        "larger worker",
        state_kind_word((enum stage_kind)row->kind), human_size(row->memory_bytes, needed),
        workers == 1 ? "the only worker has"
                     : arena_print(arena, "the largest of %" PRIu32 " workers has", workers),
        human_size(most, found),
        advice != NULL ? "; nearest change that fits: "
                       : "; neither shorter rows nor recomputing would fit",
        advice != NULL ? advice : "");
}

/* "node01, node02, node03 and 5 more", of those that can take it. */
static const char *names_of(const struct msg_workers *workers, uint64_t bytes, struct arena *arena,
                            uint32_t *count)
{
    const char *names = "";
    *count = 0;
    for (uint32_t i = 0; names != NULL && i < workers->workers_count; i++) {
        const struct worker_row *row = &workers->workers[i];
        if (!is_there(row) || memory_of(row) < bytes)
            continue;
        if ((*count)++ < MANY)
            names =
                arena_print(arena, "%s%s%.*s", names, *count > 1 ? ", " : "", TEXT_ARGS(row->name));
    }
    if (*count > MANY)
        names = arena_print(arena, "%s and %" PRIu32 " more", names, *count - MANY);
    return names;
}

/* ---- the base beside them ---- */

/* What a pass over the base needs at most, with it. */
static uint64_t with_base(const struct stage_memory_plan *plan)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < plan->count; i++)
        if (is_pass((enum stage_kind)plan->rows[i].kind))
            most = MAX(most, task_memory_add(plan->rows[i].memory_bytes, plan->mapped_bytes));
    return most;
}

/* What load_in_4bit would need in all; UINT64_MAX where the recipe cannot have it. */
static uint64_t in_4bit(const struct recipe *recipe, struct arena *arena)
{
    struct err_text et;
    struct model *model = NULL;
    struct stage_memory_plan plan;
    struct recipe one = *recipe;
    if (recipe->load_in_4bit || recipe->load_in_8bit || recipe->adapter != RECIPE_ADAPTER_LORA ||
        recipe_is_set(recipe, RECIPE_KEY_qat) || recipe_quantizes(recipe) ||
        base_model_open(recipe, arena, &model, &et) != ERR_OK)
        return UINT64_MAX;
    one.load_in_4bit = true;
    bool is_plain = !model_config(model)->quantized;
    enum err err = is_plain ? plan_all(&one, model, &plan, &et) : ERR_UNSUPPORTED;
    model_destroy(&model);
    return err == ERR_OK ? with_base(&plan) : UINT64_MAX;
}

static void say_base(const struct stage_memory_plan *plan, const struct recipe *recipe,
                     uint64_t most, FILE *notices, struct arena *arena)
{
    char mapped[HUMAN_BYTES], all[HUMAN_BYTES], found[HUMAN_BYTES], less[HUMAN_BYTES];
    uint64_t bytes = with_base(plan);
    if (bytes <= most || notices == NULL)
        return;
    (void)fprintf(notices,
                  "notice: %s of the base are mapped from its files, %s with what a pass needs; "
                  "no worker has more than %s, so each pass reads from disk again",
                  human_size(plan->mapped_bytes, mapped), human_size(bytes, all),
                  human_size(most, found));
    uint64_t few = in_4bit(recipe, arena);
    if (few < bytes)
        (void)fprintf(notices, "; load_in_4bit: true needs %s%s", human_size(few, less),
                      few <= most ? "" : ", which is nearer");
    (void)fputc('\n', notices);
}

static enum err check_workers(const struct stage_memory_plan *plan, const struct recipe *recipe,
                              const struct msg_workers *workers, FILE *out, FILE *notices,
                              struct arena *arena, struct err_text *et)
{
    uint32_t there = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < workers->workers_count; i++)
        if (is_there(&workers->workers[i])) {
            there++;
            most = MAX(most, memory_of(&workers->workers[i]));
        }
    for (uint32_t i = 0; i < plan->count && out != NULL; i++) {
        char size[HUMAN_BYTES];
        uint32_t count;
        const struct stage_memory *row = &plan->rows[i];
        const char *names = names_of(workers, row->memory_bytes, arena, &count);
        if (names == NULL)
            return ERR_OUT_OF_MEMORY;
        (void)fprintf(out, "%-12s %6s  %" PRIu32 " of %" PRIu32 " workers%s%s\n",
                      state_kind_word((enum stage_kind)row->kind),
                      human_size(row->memory_bytes, size), count, there, count > 0 ? ": " : "",
                      names);
    }
    const struct stage_memory *largest = largest_of(plan);
    if (there == 0 || largest == NULL)
        return ERR_OK;
    if (largest->memory_bytes > most)
        return refuse(recipe, largest, there, most, arena, et);
    say_base(plan, recipe, most, notices, arena);
    return ERR_OK;
}

enum err stage_memory_check(const struct stage_memory_plan *plan, const struct recipe *recipe,
                            struct client *client, FILE *out, FILE *notices, struct arena *arena,
                            struct err_text *et)
{
    struct msg_workers_get get = {0};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_workers_get, &get, &message_type_msg_workers,
                       &reply, et));
    return check_workers(plan, recipe, &reply->workers, out, notices, arena, et);
}
