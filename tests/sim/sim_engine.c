/* sim_engine.c - arithmetic small enough to run a million times, strict enough that a row counted
 * twice, a stale weight or a sum in another order changes the last digest. */
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/message/state.h"
#include "common/numeric/fold.h"
#include "coordinator/sched/sched_history.h"
#include "sim.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9e3779b97f4a7c15u ^ (b + 0x7f4a7c159e3779b9u);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t word_of(struct digest digest)
{
    uint64_t word;
    memcpy(&word, digest.v, sizeof word);
    return word;
}

static struct digest digest_of_words(uint64_t a, uint64_t b)
{
    uint64_t words[2] = {a, b};
    return digest_of((struct span){(const uint8_t *)words, sizeof words});
}

struct sim_artifact *sim_engine_find(const struct sim *sim, struct digest digest)
{
    struct map_node *node = map_find(&sim->artifacts, word_of(digest));
    return node == NULL ? NULL : CONTAINER_OF(node, struct sim_artifact, by_digest);
}

struct digest sim_engine_keep(struct sim *sim, const float vector[SIM_WIDTH], uint64_t step,
                              bool is_durable)
{
    uint8_t bytes[sizeof(float) * SIM_WIDTH + sizeof step];
    memcpy(bytes, vector, sizeof(float) * SIM_WIDTH);
    memcpy(bytes + sizeof(float) * SIM_WIDTH, &step, sizeof step);
    struct digest digest = digest_of((struct span){bytes, sizeof bytes});
    struct sim_artifact *artifact = sim_engine_find(sim, digest);
    if (artifact == NULL) {
        artifact = arena_alloc(&sim->arena, 1, sizeof *artifact);
        ASSERT(artifact != NULL);
        artifact->digest = digest;
        memcpy(artifact->vector, vector, sizeof artifact->vector);
        artifact->step = step;
        ASSERT(map_reserve(&sim->artifacts, sim->artifacts.count + 1) == ERR_OK);
        map_add(&sim->artifacts, &artifact->by_digest, word_of(digest));
    }
    artifact->is_durable |= is_durable;
    return digest;
}

struct damage {
    struct map_node node;
    struct digest digest;
};

bool sim_engine_is_damaged(const struct sim *sim, struct digest digest)
{
    return map_find(&sim->damaged, word_of(digest)) != NULL;
}

void sim_engine_mend(struct sim *sim, struct digest digest)
{
    struct map_node *node = map_find(&sim->damaged, word_of(digest));
    if (node == NULL)
        return;
    map_remove(&sim->damaged, node);
    sim->statistics.remade++;
}

struct pick {
    struct sim *sim;
    struct digest found;
    uint64_t count;
};

static void pick(void *context, struct digest digest)
{
    struct pick *pick = context;
    bool is_input = false; /* and the recipe: what a client gave is not made again */
    for (uint32_t j = 0; j < pick->sim->job_count; j++) {
        struct digest recipe;
        ASSERT(digest_of_artifact(pick->sim->jobs[j].recipe, &recipe) == ERR_OK);
        is_input |= digest_equal(recipe, digest);
        for (uint32_t i = 0; i < pick->sim->jobs[j].input_count; i++)
            is_input |= digest_equal(pick->sim->jobs[j].inputs[i].digest, digest);
    }
    if (!is_input && sim_random_below(&pick->sim->random, ++pick->count) == 0)
        pick->found = digest;
}

struct look {
    struct digest digest;
    bool found;
};

static void look(void *context, struct digest digest)
{
    struct look *l = context;
    l->found |= digest_equal(l->digest, digest);
}

static void lose(struct sim *sim, struct digest digest)
{
    struct damage *damage = arena_alloc(&sim->arena, 1, sizeof *damage);
    ASSERT(damage != NULL && map_reserve(&sim->damaged, sim->damaged.count + 1) == ERR_OK);
    damage->digest = digest;
    map_add(&sim->damaged, &damage->node, word_of(digest));
}

void sim_engine_prune(struct sim *sim)
{
    size_t count;
    const struct digest *orphans = sched_history_orphans(sim->c.s, &count);
    for (size_t i = 0; i < count; i++) {
        struct look l = {.digest = orphans[i]};
        sched_each_root(sim->c.s, look, &l);
        if (l.found || sim_engine_is_damaged(sim, orphans[i]))
            continue;
        lose(sim, orphans[i]);
        sim->statistics.pruned++;
    }
    sched_history_drop(sim->c.s, count);
}

void sim_engine_damage(struct sim *sim)
{
    struct pick choice = {.sim = sim};
    sched_each_root(sim->c.s, pick, &choice);
    if (choice.count == 0 || sim_engine_is_damaged(sim, choice.found))
        return;
    lose(sim, choice.found);
    sim->statistics.damages++;
}

static const struct artifact_ref *input_of(const struct task_spec *spec, const char *name)
{
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        if (text_is(spec->inputs[i].name, name))
            return &spec->inputs[i];
    }
    return NULL;
}

/* What one row adds: a function of the row, the step and the weights it was computed with. */
static void row_sums(uint64_t key, uint64_t row, float vector[SIM_WIDTH], double sums[FOLD_SUMS])
{
    for (size_t i = 0; i < SIM_WIDTH; i++) {
        uint32_t bits = (uint32_t)(mix(key + i, row) >> 40);
        vector[i] = (float)bits * 0x1p-23f - 1.0f;
    }
    sums[FOLD_LOSS] = (double)(mix(key + 7, row) >> 11) * 0x1p-50;
    sums[FOLD_WEIGHT] = (double)(1 + mix(key + 8, row) % 7);
    sums[FOLD_PAIRS] = 1;
    sums[FOLD_REWARD_CHOSEN] = (double)(mix(key + 9, row) >> 11) * 0x1p-53;
    sums[FOLD_REWARD_REJECTED] = -sums[FOLD_REWARD_CHOSEN];
    sums[FOLD_CORRECT] = (double)(mix(key + 10, row) % 2);
}

static struct preference_sums preference_of(const double sums[FOLD_SUMS])
{
    return (struct preference_sums){.pairs = sums[FOLD_PAIRS],
                                    .reward_chosen = sums[FOLD_REWARD_CHOSEN],
                                    .reward_rejected = sums[FOLD_REWARD_REJECTED],
                                    .correct = sums[FOLD_CORRECT]};
}

/* A rate too high: this variant is given up, at once or by the watchdog, which an earlier loss that
 * is high for one step does not wake. */
static void run_away(const struct task_spec *spec, struct task_result *result)
{
    bool is_watched = spec->seed == SIM_WATCHED_SEED;
    if (!is_watched && spec->round == 4)
        result->loss_sum = INFINITY;
    if (is_watched && (spec->round == 2 || spec->round >= 5))
        result->loss_sum = 1000 * result->weight;
}

static void compute_range(struct sim *sim, const struct task_spec *spec, struct artifact_ref *out,
                          struct task_result *result)
{
    const struct artifact_ref *weights = input_of(spec, "weights");
    const struct artifact_ref *rows =
        input_of(spec, spec->kind == STAGE_KIND_TRAIN ? "rows" : "test_rows");
    uint64_t key = mix(weights == NULL ? 0 : word_of(weights->digest), spec->round);
    ASSERT(rows != NULL);
    key = mix(mix(key, word_of(rows->digest)), spec->kind == STAGE_KIND_TRAIN ? spec->seed : 0);
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        struct text name = spec->inputs[i].name;
        if (name.size > 10 && memcmp(name.data, "reference/", 10) == 0)
            key = mix(key, word_of(spec->inputs[i].digest));
    }
    struct fold fold;
    fold_init(&fold, spec->total, SIM_WIDTH);
    for (uint64_t row = spec->first; row < spec->end; row++) {
        float vector[SIM_WIDTH];
        double sums[FOLD_SUMS];
        row_sums(key, row, vector, sums);
        ASSERT(fold_push(&fold, (struct fold_node){row, row + 1}, vector, sums) == ERR_OK);
        result->tokens += 3 + row % 5;
    }
    const struct fold_entry *entry = fold_at(&fold, 0);
    ASSERT(fold.depth == 1 && entry->node.begin == spec->first && entry->node.end == spec->end);
    result->loss_sum = entry->sums[FOLD_LOSS];
    result->weight = entry->sums[FOLD_WEIGHT];
    result->preference = preference_of(entry->sums);
    if (spec->kind == STAGE_KIND_TRAIN && spec->variant == 2)
        run_away(spec, result);
    if (spec->kind == STAGE_KIND_TRAIN) {
        out->name = TEXT("gradient");
        out->ephemeral = true;
        out->digest = sim_engine_keep(sim, entry->vector, spec->first, false);
        result->outputs_count = 1;
    }
    fold_fini(&fold);
}

/* What of the recipe a task looks at: packing which of several it is, the first state the seed,
 * calibration what it has to observe. */
static uint64_t recipe_part(const struct sim *sim, const struct task_spec *spec,
                            struct digest recipe)
{
    if (spec->kind == STAGE_KIND_PREPARE || spec->kind == STAGE_KIND_PACK)
        return spec->variant;
    if (spec->kind == STAGE_KIND_INIT)
        return spec->seed;
    if (spec->kind != STAGE_KIND_CALIBRATE)
        return mix(word_of(recipe), spec->variant);
    return sim_job_of_recipe(sim, recipe)->observes;
}

/* A digest of everything the task was given. */
static uint64_t hash_inputs(const struct sim *sim, const struct task_spec *spec)
{
    uint64_t hash = mix(spec->kind, spec->first) ^ mix(spec->end, spec->total);
    hash = mix(hash, spec->round);
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        const struct artifact_ref *input = &spec->inputs[i];
        bool is_recipe = text_is(input->name, "recipe");
        hash =
            mix(hash, is_recipe ? recipe_part(sim, spec, input->digest) : word_of(input->digest));
    }
    return hash;
}

static void add_output(struct task_result *out, const char *name, uint64_t hash)
{
    struct artifact_ref *output = &out->outputs[out->outputs_count++];
    *output = (struct artifact_ref){.name = text_of(name),
                                    .digest = digest_of_words(hash, out->outputs_count),
                                    .size_bytes = 64};
}

enum { SITES = SIM_OUTPUTS_MAX - 1, FACTS_MAX = 8 };

static void add_fact(struct task_result *out, const char *name, uint64_t value)
{
    ASSERT(out->facts_count < FACTS_MAX);
    out->facts[out->facts_count++] = (struct fact){text_of(name), value};
}

/* Outputs by kind; the groups of a replay quantize. */
static const char *const output_names[STAGE_KIND_COUNT][SIM_OUTPUTS_MAX] = {
    [STAGE_KIND_PREPARE] = {"samples"},
    [STAGE_KIND_PACK] = {"rows", "test_rows", "calib_rows"},
    [STAGE_KIND_INIT] = {"state"},
    [STAGE_KIND_EXPORT] = {"adapter_model.safetensors"},
    [STAGE_KIND_CALIBRATE] = {"statistics"},
    [STAGE_KIND_REDUCE] = {"statistics", "imatrix"},
    [STAGE_KIND_SENSITIVITY] = {"sensitivity"},
    [STAGE_KIND_CHOOSE] = {"choices"},
    [STAGE_KIND_QUANTIZE] = {"tensors", "figures"},
    [STAGE_KIND_ASSEMBLE] = {"model.gguf", "README.md"},
    [STAGE_KIND_COMPARE] = {"scores"},
    [STAGE_KIND_REPORT] = {"quantization.json", "README.md"},
    [STAGE_KIND_MERGE] = {"model.safetensors", "config.json"},
    [STAGE_KIND_MEASURE] = {"losses"},
    [STAGE_KIND_REFERENCE] = {"reference"},
    [STAGE_KIND_REPLAY] = {"hidden", "gram.0", "gram.1", "gram.2", "gram.3"},
};

static void add_outputs(const struct task_spec *spec, uint64_t hash, struct task_result *out)
{
    const char *const *names = output_names[spec->kind];
    for (size_t i = 0; i < SIM_OUTPUTS_MAX && names[i] != NULL; i++)
        add_output(out, names[i], hash);
}

static void add_facts(const struct sim *sim, const struct task_spec *spec, uint64_t hash,
                      struct task_result *out)
{
    uint64_t size = sim->scenario->size;
    if (spec->kind == STAGE_KIND_PACK) {
        add_fact(out, "train_rows", 20 + hash % 50);
        add_fact(out, "test_rows", (5 + hash % 9) * size);
        add_fact(out, "calibrate_tasks", (1 + hash % 6) * size);
        add_fact(out, "compare_tasks", (1 + hash % 3) * size);
        add_fact(out, "measure_tasks", (1 + hash % 3) * size);
        add_fact(out, "reference_tasks", (1 + hash % 4) * size);
    } else if (spec->kind == STAGE_KIND_CHOOSE) {
        add_fact(out, "quantize_tasks", (1 + hash % 9) * size);
        add_fact(out, "replay_shards", (1 + hash % 4) * size);
        add_fact(out, "replay_groups", 1 + hash / 4 % SITES);
        add_fact(out, "replay_periods", 1 + hash / 20 % 4);
    } else if (spec->kind == STAGE_KIND_REDUCE) {
        add_fact(out, "sensitivity_tasks", (1 + hash % 5) * size);
    }
}

bool sim_engine_compute(struct sim *sim, const struct task_spec *spec, struct arena *arena,
                        struct task_result *out)
{
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        if (!spec->inputs[i].ephemeral && sim_engine_is_damaged(sim, spec->inputs[i].digest))
            return false;
    }
    struct artifact_ref *outputs = arena_alloc(arena, SIM_OUTPUTS_MAX, sizeof *outputs);
    struct fact *facts = arena_alloc(arena, FACTS_MAX, sizeof *facts);
    ASSERT(outputs != NULL && facts != NULL);
    uint64_t hash = hash_inputs(sim, spec);
    *out = (struct task_result){.outputs = outputs, .facts = facts, .seconds = 0.1};
    if (spec->kind == STAGE_KIND_TRAIN || spec->kind == STAGE_KIND_EVALUATE) {
        compute_range(sim, spec, outputs, out);
    } else {
        add_outputs(spec, hash, out);
        add_facts(sim, spec, hash, out);
    }
    if (spec->kind == STAGE_KIND_INIT) {
        float vector[SIM_WIDTH];
        double sums[FOLD_SUMS];
        row_sums(hash, 0, vector, sums);
        outputs[0].digest = sim_engine_keep(sim, vector, 0, true);
    }
    for (uint32_t i = 0; i < out->outputs_count; i++)
        sim_engine_mend(sim, outputs[i].digest);
    return true;
}

static enum err fold_parts(struct sim *sim, const struct sched_work *work, struct sim_stage *stage,
                           struct sched_work_done *done)
{
    struct fold fold;
    fold_init(&fold, work->round_rows, work->evaluates ? 0 : SIM_WIDTH);
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < work->part_count && err == ERR_OK; i++) {
        const struct sched_part *part = &work->parts[i];
        const struct preference_sums *preference = &part->preference;
        double sums[FOLD_SUMS] = {part->loss_sum,
                                  part->weight,
                                  preference->pairs,
                                  preference->reward_chosen,
                                  preference->reward_rejected,
                                  preference->correct};
        const struct sim_artifact *gradient =
            work->evaluates ? NULL : sim_engine_find(sim, part->gradient);
        if (!work->evaluates && gradient == NULL)
            err = ERR_LOST;
        else
            err = fold_push(&fold, (struct fold_node){part->first, part->end},
                            gradient == NULL ? NULL : gradient->vector, sums);
    }
    const struct fold_entry *root = err == ERR_OK ? fold_root(&fold) : NULL;
    if (err == ERR_OK && root == NULL)
        err = ERR_STATE;
    if (err == ERR_OK) {
        done->loss_sum = root->sums[FOLD_LOSS];
        done->weight = root->sums[FOLD_WEIGHT];
        done->preference = preference_of(root->sums);
        for (size_t i = 0; !work->evaluates && i < SIM_WIDTH; i++)
            stage->vector[i] -=
                0.01f * (float)(1 + work->variant) * root->vector[i] / (float)root->sums[1];
    }
    fold_fini(&fold);
    return err;
}

static enum err open_state(struct sim *sim, const struct sched_work *work, struct sim_stage *stage)
{
    const struct sim_artifact *state = sim_engine_find(sim, work->state.digest);
    if (state == NULL || !state->is_durable || state->step != work->step)
        return ERR_STATE;
    if (sim_engine_is_damaged(sim, work->state.digest))
        return ERR_DIGEST;
    memcpy(stage->vector, state->vector, sizeof stage->vector);
    stage->step = state->step;
    stage->is_open = true;
    return ERR_OK;
}

static struct digest log_digest(const struct sched_work *work)
{
    uint64_t hash = work->point_count;
    for (uint32_t i = 0; i < work->point_count; i++) {
        const struct log_point *point = &work->points[i];
        uint64_t loss;
        memcpy(&loss, &point->loss, sizeof loss);
        hash = mix(mix(mix(hash, point->step), loss), point->tokens + point->is_eval);
    }
    return digest_of_words(hash, 5);
}

static enum err read_again(struct sim *sim, const struct sched_work *work,
                           struct sched_work_done *done)
{
    struct sched_loss *lost = arena_alloc(&sim->arena, work->ref_count, sizeof *lost);
    ASSERT(lost != NULL);
    for (uint32_t i = 0; i < work->ref_count; i++) {
        if (!work->refs[i].ephemeral && sim_engine_is_damaged(sim, work->refs[i].digest))
            lost[done->lost_count++] = (struct sched_loss){work->refs[i].digest, TEXT("damaged")};
    }
    done->lost = lost;
    return ERR_OK;
}

enum err sim_engine_work(struct sim *sim, const struct sched_work *work, struct sim_stage *stage,
                         struct sched_work_done *done)
{
    switch (work->kind) {
    case SCHED_WORK_OPEN:
        TRY(open_state(sim, work, stage));
        break;
    case SCHED_WORK_FOLD:
        if (!work->evaluates && (!stage->is_open || stage->step != work->step))
            return ERR_STATE;
        if (fold_parts(sim, work, stage, done) != ERR_OK)
            return ERR_LOST;
        if (work->evaluates)
            return ERR_OK;
        stage->step++;
        done->grad_norm = 1;
        done->learning_rate = 0.01;
        break;
    case SCHED_WORK_CHECKPOINT:
        if (!stage->is_open || stage->step != work->step)
            return ERR_STATE;
        done->checkpoint.digest = sim_engine_keep(sim, stage->vector, stage->step, true);
        done->checkpoint.ledger = digest_of_words(stage->step, 6);
        done->checkpoint.size_bytes = 64;
        sim_engine_mend(sim, done->checkpoint.digest);
        return ERR_OK;
    case SCHED_WORK_LOG:
        done->log.digest = log_digest(work);
        done->log.size_bytes = 64;
        sim_engine_mend(sim, done->log.digest);
        return ERR_OK;
    case SCHED_WORK_VERIFY:
        return read_again(sim, work, done);
    case SCHED_WORK_PRUNE:
    case SCHED_WORK_CLOSE:
        return ERR_OK;
    }
    done->step = stage->step;
    done->weights.digest = sim_engine_keep(sim, stage->vector, stage->step, false);
    done->weights.size_bytes = 64;
    done->weights.ephemeral = true;
    return ERR_OK;
}
