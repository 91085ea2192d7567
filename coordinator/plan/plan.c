/* plan.c - the graph of a recipe, and the numbers of its rounds. */
#include "coordinator/plan/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/message/stage_set.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_quantize.h"
#include "common/recipe/recipe_variant.h"
#include "coordinator/plan/shard.h"
#include "schemas/state_file.def"

enum {
    CHECKPOINTS_DEFAULT = 10,
    /* A checkpoint's record carries the log points since the one before: at most two a step. */
    SAVE_STEPS_MAX = LIMIT_METRIC_POINTS / 2,
    RANGES_MAX = 1 << 16,
};

enum err plan_settings(struct span recipe, struct plan_settings *out, struct err_text *et)
{
    struct recipe r;
    TRY(recipe_parse(recipe, &r, et));
    const struct recipe_values *seeds = &r.lists[RECIPE_LIST_seed];
    *out = (struct plan_settings){.variant_count = recipe_variant_count(&r),
                                  .round_rows = recipe_round_rows(&r)};
    for (uint32_t v = 0; v < out->variant_count; v++) {
        uint32_t place = recipe_variant_place(&r, v, RECIPE_LIST_seed);
        out->seeds[v] = seeds->count > 0 ? seeds->values[place].u64 : r.seed;
    }
    snprintf(out->profile, sizeof out->profile, "%s", recipe_profile_name(&r));
    recipe_fini(&r);
    return ERR_OK;
}

/* The kinds of inputs a job was frozen with. */
struct inputs {
    bool model, data, test, adapter, calibration, importance;
    bool start, anchor; /* of a checkpoint that training goes on from */
};

static bool is_in(const struct artifact_ref *input, const char *folder)
{
    size_t size = strlen(folder);
    return input->name.size > size && memcmp(input->name.data, folder, size) == 0;
}

static struct inputs find_inputs(const struct artifact_ref *inputs, uint32_t count)
{
    struct inputs found = {0};
    for (uint32_t i = 0; i < count; i++) {
        found.model |= is_in(&inputs[i], "model/");
        found.data |= is_in(&inputs[i], "data/");
        found.test |= is_in(&inputs[i], "test/");
        found.adapter |= is_in(&inputs[i], "adapter/");
        found.calibration |= is_in(&inputs[i], "calib/");
        found.importance |= is_in(&inputs[i], "imatrix/");
        found.start |= text_is(inputs[i].name, STATE_FILE_START);
        found.anchor |= text_is(inputs[i].name, STATE_FILE_START_ANCHOR);
    }
    return found;
}

/* Training starts from the base's own weights, which are taken away again (nn/pass.h). */
static bool has_anchor(const struct recipe *r)
{
    return recipe_trains(r) && r->peft_init_lora_weights == RECIPE_PEFT_INIT_LORA_WEIGHTS_PISSA;
}

static enum err check_inputs(const struct recipe *r, const struct inputs *found,
                             struct err_text *et)
{
    if (!found->model)
        return error_set(et, ERR_RECIPE, "the job came without files of its base_model");
    if (recipe_trains(r) && !found->data)
        return error_set(et, ERR_DATA, "datasets: the job came without a file to train on");
    if (r->lora_model_dir != NULL && !found->adapter)
        return error_set(et, ERR_RECIPE, "the job came without files of its lora_model_dir");
    if (r->calibration_datasets_count > 0 && !found->calibration)
        return error_set(et, ERR_DATA, "calibration_datasets: the job came without their files");
    if (recipe_quantizes(r) && r->quantize.imatrix != NULL && !found->importance)
        return error_set(et, ERR_RECIPE, "the job came without the file of quantize.imatrix");
    if (found->start && !found->anchor && has_anchor(r))
        return error_set(et, ERR_RECIPE,
                         "the job came with a checkpoint to start from, and without its anchor");
    bool makes = recipe_trains(r) || recipe_quantizes(r) || recipe_merges(r);
    if (!makes && !found->test && !(found->data && r->val_set_size > 0))
        return error_set(et, ERR_DATA, "evaluate: only needs test_datasets (or val_set_size)");
    return ERR_OK;
}

struct graph {
    struct arena *arena; /* borrowed */
    struct stage_plan *stages;
    uint32_t count;
    uint32_t variant;         /* of the stages that are being added */
    const char *variant_name; /* stands after the word of their kind; "" for what all share */
    enum err err;             /* of the first stage that could not be added */
};

static const struct stage_set none = {{0}};

static const char *name_stage(struct graph *graph, enum stage_kind kind)
{
    const char *word = state_kind_word(kind);
    if (graph->variant_name[0] == '\0')
        return word;
    return arena_print(graph->arena, "%s %s", word, graph->variant_name);
}

static struct stage_set add_stage(struct graph *graph, enum stage_kind kind, struct stage_set needs)
{
    const char *name = name_stage(graph, kind);
    if (name == NULL || graph->count == LIMIT_JOB_STAGES) {
        graph->err = name == NULL ? ERR_OUT_OF_MEMORY : ERR_LIMIT;
        return none;
    }
    struct stage_plan *stage = &graph->stages[graph->count];
    *stage = (struct stage_plan){.kind = (uint32_t)kind, .variant = graph->variant};
    stage_set_to_plan(needs, stage);
    stage->name = text_of(name);
    stage->task_count = state_kind_shape(kind) == STAGE_SHAPE_ARRAY;
    return stage_set_of(graph->count++);
}

/* A stage whose number of tasks a stage before it tells. */
static struct stage_set add_told(struct graph *graph, enum stage_kind kind, struct stage_set needs)
{
    struct stage_set stage = add_stage(graph, kind, needs);
    if (!stage_set_is_empty(stage))
        graph->stages[graph->count - 1].task_count = 0;
    return stage;
}

/* The stages of `needs`, and such a one that needs them. */
static struct stage_set with_told(struct graph *graph, enum stage_kind kind, struct stage_set needs)
{
    return stage_set_union(needs, add_told(graph, kind, needs));
}

/* From `model`, the stages that make the model to be quantized, and `pack`. The report waits for
 * `measured_before` too. */
static void add_quantize(const struct recipe *r, const struct inputs *found, struct graph *graph,
                         struct stage_set model, struct stage_set pack,
                         struct stage_set measured_before)
{
    struct stage_set measured = model, inputs = stage_set_union(model, pack);
    if (recipe_quantize_measures(r)) {
        struct stage_set calibrate = add_told(graph, STAGE_KIND_CALIBRATE, inputs);
        measured = add_stage(graph, STAGE_KIND_REDUCE, calibrate);
    }
    if (recipe_quantize_targets(r))
        measured = add_told(graph, STAGE_KIND_SENSITIVITY, measured);
    bool replays = recipe_quantize_replays(r);
    enum stage_kind kind = replays ? STAGE_KIND_REPLAY : STAGE_KIND_QUANTIZE;
    struct stage_set choose = add_stage(graph, STAGE_KIND_CHOOSE, replays ? inputs : measured);
    struct stage_set quantize = add_told(graph, kind, choose);
    struct stage_set assemble = add_stage(graph, STAGE_KIND_ASSEMBLE, quantize);
    struct stage_set last = add_stage(graph, STAGE_KIND_VERIFY, assemble);
    if (found->test && r->evaluate != RECIPE_EVALUATE_NONE)
        last = stage_set_union(
            last, add_told(graph, STAGE_KIND_COMPARE, stage_set_union(assemble, pack)));
    (void)add_stage(graph, STAGE_KIND_REPORT, stage_set_union(last, measured_before));
}

/* Behind `trained`, the stage that has the adapter's last values. Held-out pairs (rl) are no text
 * that a model alone has a loss on. *measured: stages whose figures the report has. */
static struct stage_set add_merge(const struct recipe *r, bool has_held_out, struct graph *graph,
                                  struct stage_set trained, struct stage_set pack,
                                  struct stage_set *measured)
{
    struct stage_set merge = add_stage(graph, STAGE_KIND_MERGE, trained);
    *measured = none;
    if (has_held_out && r->evaluate != RECIPE_EVALUATE_NONE && r->rl == RECIPE_RL_NONE)
        *measured = add_told(graph, STAGE_KIND_MEASURE, stage_set_union(merge, pack));
    return merge;
}

static bool prefers(const struct recipe *r)
{
    return recipe_trains(r) && r->rl == RECIPE_RL_DPO;
}

/* The rows of every variant: packed once, or once a seed where that decides which sample is where.
 * With what pairs are measured from, where that is the base alone. */
static void add_packs(const struct recipe *r, const struct inputs *found, struct graph *graph,
                      struct stage_set prepare, struct stage_set packs[LIMIT_VARIANTS])
{
    const struct recipe_values *seeds = &r->lists[RECIPE_LIST_seed];
    bool is_one = seeds->count == 0 || (!r->sample_packing && r->val_set_size <= 0);
    struct stage_set made[LIMIT_VARIANTS] = {0}; /* by seed */
    for (uint32_t v = 0; v < recipe_variant_count(r); v++) {
        uint32_t place = is_one ? 0 : recipe_variant_place(r, v, RECIPE_LIST_seed);
        char name[32] = "";
        if (!is_one)
            (void)snprintf(name, sizeof name, "seed=%" PRIu64, seeds->values[place].u64);
        graph->variant = v;
        graph->variant_name = name;
        if (stage_set_is_empty(made[place])) {
            made[place] = add_stage(graph, STAGE_KIND_PACK, prepare);
            if (prefers(r) && !found->adapter)
                made[place] = with_told(graph, STAGE_KIND_REFERENCE, made[place]);
        }
        packs[v] = made[place];
    }
    graph->variant = 0;
    graph->variant_name = "";
}

/* A checkpoint of another job has all that training goes on from. What pairs are measured from is
 * still the adapter that the first job was given. */
static bool has_init(const struct recipe *r, const struct inputs *found)
{
    return found->start ? prefers(r) && found->adapter : recipe_trains(r) || found->adapter;
}

/* The stages that a variant has for itself. The one that has its model, if one has; *measured:
 * others whose figures a report of quantizing has too. */
static struct stage_set add_training(const struct recipe *r, const struct inputs *found,
                                     struct graph *graph, struct stage_set pack,
                                     struct stage_set *measured)
{
    bool trains = recipe_trains(r), quantizes = recipe_quantizes(r);
    struct stage_set need = pack;
    if (has_init(r, found))
        need = stage_set_union(need, add_stage(graph, STAGE_KIND_INIT, none));
    if (prefers(r) && found->adapter)
        need = with_told(graph, STAGE_KIND_REFERENCE, need);
    struct stage_set last = trains ? add_stage(graph, STAGE_KIND_TRAIN, need) : need;
    bool has_held_out = found->test || r->val_set_size > 0;
    if (has_held_out && r->evaluate != RECIPE_EVALUATE_NONE && !quantizes)
        last = stage_set_union(last, add_stage(graph, STAGE_KIND_EVALUATE, last));
    struct stage_set made = trains ? add_stage(graph, STAGE_KIND_EXPORT, last) : none;
    *measured = none;
    if (recipe_merges(r))
        made = add_merge(r, has_held_out, graph, trains ? made : last, pack, measured);
    if (recipe_merges(r) && !quantizes)
        (void)add_stage(graph, STAGE_KIND_REPORT, stage_set_union(made, *measured));
    return made;
}

static enum err build(const struct recipe *r, const struct inputs *found,
                      const struct artifact_ref *inputs, uint32_t input_count, struct graph *graph,
                      struct err_text *et)
{
    struct stage_set packs[LIMIT_VARIANTS] = {0}, made = none, measured = none;
    if (found->data || found->test || found->calibration) {
        struct stage_set prepare = add_stage(graph, STAGE_KIND_PREPARE, none);
        TRY(shard_inputs(inputs, input_count, recipe_streams(r), graph->arena, &graph->stages[0],
                         et));
        add_packs(r, found, graph, prepare, packs);
    }
    for (uint32_t v = 0; v < recipe_variant_count(r); v++) {
        char name[RECIPE_VARIANT_NAME_BYTES];
        graph->variant = v;
        graph->variant_name = recipe_variant_name(r, v, name);
        made = add_training(r, found, graph, packs[v], &measured);
    }
    graph->variant = 0;
    graph->variant_name = "";
    if (recipe_quantizes(r))
        add_quantize(r, found, graph, made, packs[0], measured);
    if (graph->err == ERR_LIMIT)
        return error_set(et, ERR_RECIPE,
                         "the lists of the recipe make more than %d stages; give fewer values",
                         LIMIT_JOB_STAGES);
    return graph->err;
}

enum err plan_stages(struct span recipe, const struct artifact_ref *inputs, uint32_t input_count,
                     struct arena *arena, struct stage_plan **stages, uint32_t *stage_count,
                     struct err_text *et)
{
    struct recipe r;
    TRY(recipe_parse(recipe, &r, et));
    struct inputs found = find_inputs(inputs, input_count);
    struct graph graph = {.arena = arena, .variant_name = ""};
    graph.stages = arena_alloc(arena, LIMIT_JOB_STAGES, sizeof *graph.stages);
    enum err err = graph.stages == NULL ? ERR_OUT_OF_MEMORY : check_inputs(&r, &found, et);
    if (err == ERR_OK)
        err = build(&r, &found, inputs, input_count, &graph, et);
    recipe_fini(&r);
    TRY(err);
    *stages = graph.stages;
    *stage_count = graph.count;
    return ERR_OK;
}

/* Steps of one pass over the data, rounded up. */
static uint64_t epoch_steps(const struct plan_rounds *plan, uint64_t train_rows)
{
    return (train_rows + plan->round_rows - 1) / plan->round_rows;
}

static uint64_t at_least_one(uint64_t steps)
{
    return MAX(steps, (uint64_t)1);
}

static uint64_t eval_steps_of(const struct recipe *r, const struct plan_rounds *plan,
                              uint64_t train_rows)
{
    if (r->evals_per_epoch > 0)
        return at_least_one(epoch_steps(plan, train_rows) / r->evals_per_epoch);
    return r->eval_steps;
}

static uint64_t save_steps_of(const struct recipe *r, const struct plan_rounds *plan,
                              uint64_t train_rows)
{
    uint64_t steps = plan->step_count / CHECKPOINTS_DEFAULT;
    if (r->saves_per_epoch > 0)
        steps = epoch_steps(plan, train_rows) / r->saves_per_epoch;
    else if (recipe_is_set(r, RECIPE_KEY_save_steps))
        steps = r->save_steps == 0 ? plan->step_count : r->save_steps;
    return MIN(at_least_one(steps), (uint64_t)SAVE_STEPS_MAX);
}

enum err plan_rounds(struct span recipe, uint64_t train_rows, struct plan_rounds *out,
                     struct err_text *et)
{
    if (train_rows == 0)
        return error_set(et, ERR_DATA, "the datasets gave no row to train on");
    struct recipe r;
    TRY(recipe_parse(recipe, &r, et));
    struct plan_rounds plan = {.round_rows = recipe_round_rows(&r)};
    if (plan.round_rows > LIMIT_ROUND_ROWS) {
        recipe_fini(&r);
        return error_set(et, ERR_RECIPE, "a step of %llu rows; at most %d are allowed",
                         (unsigned long long)plan.round_rows, LIMIT_ROUND_ROWS);
    }
    plan.step_count = recipe_step_count(&r, train_rows);
    plan.eval_on_start = r.eval_on_start;
    plan.eval_steps = eval_steps_of(&r, &plan, train_rows);
    plan.save_steps = save_steps_of(&r, &plan, train_rows);
    plan.logging_steps = at_least_one(r.logging_steps);
    plan.loss_max = r.loss_watchdog_threshold;
    plan.loss_patience = at_least_one(r.loss_watchdog_patience);
    plan.save_total_limit = recipe_is_set(&r, RECIPE_KEY_save_total_limit) ? r.save_total_limit : 0;
    recipe_fini(&r);
    *out = plan;
    return ERR_OK;
}

uint64_t plan_range_rows(uint64_t round_rows, uint64_t slots)
{
    uint64_t ranges = MAX(slots, (uint64_t)1);
    if ((ranges & (ranges - 1)) != 0)
        ranges *= 2; /* an uneven share of coarse ranges would leave slots idle */
    uint64_t range = 1;
    while (range * 2 * ranges <= round_rows)
        range *= 2;
    while (range * RANGES_MAX < round_rows)
        range *= 2;
    return range;
}
