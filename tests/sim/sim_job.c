/* sim_job.c - the jobs of a run: they follow from the seed alone, so that a run and its undisturbed
 * twins have the same. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/recipe/recipe.h"
#include "sim.h"

enum { SUBMIT_MS_MAX = 40000 };

static struct span canonical_recipe(struct sim *sim, const char *text)
{
    struct recipe recipe;
    struct err_text et = {.text = ""};
    struct recipe_options options = {0};
    struct bytes out;
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK) {
        sim_fail(sim, "%s", et.text);
        return (struct span){0};
    }
    bytes_init(&out, LIMIT_RECIPE_BYTES);
    recipe_write(&recipe, &out);
    uint8_t *kept = arena_alloc(&sim->arena, out.size, 1);
    ASSERT(kept != NULL);
    memcpy(kept, out.data, out.size);
    struct span span = {kept, out.size};
    bytes_fini(&out);
    recipe_fini(&recipe);
    return span;
}

/* `number` tells its content apart. */
static void add_input(struct sim_job *job, const char *name, uint64_t size_bytes, uint64_t number)
{
    char content[64];
    snprintf(content, sizeof content, "%s %llu", name, (unsigned long long)number);
    job->inputs[job->input_count++] =
        (struct artifact_ref){.name = text_of(name),
                              .size_bytes = size_bytes,
                              .digest = digest_of(span_of_text(text_of(content)))};
}

static uint64_t data_bytes(const struct sim *sim, struct sim_random *random)
{
    return (1 + sim_random_below(random, 6)) * sim->scenario->size * ((uint64_t)4 << 20) - 5;
}

#define LORA "adapter: lora\nlora_r: 4\nlora_alpha: 8\n"

/* One training, or several at once: lists of rates, or of seeds, behind one pack or one a seed. */
static void train(struct sim *sim, struct sim_random *random, uint32_t index)
{
    static const char *const lists[] = {
        "learning_rate: 1e-3\nseed: 3\n",
        "learning_rate: 1e-3\nseed: 4\n",
        "learning_rate: [1e-3, 2e-3, 3e-3]\nseed: 5\n",
        "learning_rate: [1e-3, 2e-3]\nseed: [6, 7]\n",
        "learning_rate: 1e-3\nseed: [8, 9]\nsample_packing: true\n",
        "learning_rate: 1e-3\nseed: 3\n" LORA "merge: full\n",
        "learning_rate: 1e-3\nseed: 10\nrl: dpo\n",
        "learning_rate: [1e-3, 2e-3]\nseed: 11\nrl: dpo\n",
        "learning_rate: [1e-3, 2e-3, 3e-3]\nseed: 12\n" /* SIM_WATCHED_SEED */
        "loss_watchdog_threshold: 900\nloss_watchdog_patience: 3\n",
    };
    struct sim_job *job = &sim->jobs[index];
    char text[512];
    uint64_t rows = (1 + sim_random_below(random, 7)) * sim->scenario->size;
    uint64_t steps = 3 + sim_random_below(random, 25);
    uint64_t save = 1 + sim_random_below(random, 9);
    uint64_t eval = sim_random_below(random, 9);
    bool only = index > 0 && sim_random_below(random, 6) == 0;
    uint64_t list = only ? 0 : sim_random_below(random, COUNT_OF(lists));
    snprintf(text, sizeof text,
             "base_model: m\nsequence_len: 64\n"
             "micro_batch_size: %llu\ngradient_accumulation_steps: 2\nmax_steps: %llu\n"
             "save_steps: %llu\neval_steps: %llu\neval_on_start: %s\npriority: %u\n"
             "datasets:\n  - path: d.jsonl\ntest_datasets:\n  - path: t.jsonl\n%s%s",
             (unsigned long long)rows, (unsigned long long)steps, (unsigned long long)save,
             (unsigned long long)eval, eval % 2 == 0 ? "true" : "false", index, lists[list],
             only ? "evaluate: only\n" : "");
    job->recipe = canonical_recipe(sim, text);
    add_input(job, "model/config.json", 9, index);
    add_input(job, "model/model.safetensors", 99, index);
    add_input(job, "data/0/d.jsonl", data_bytes(sim, random), index);
    add_input(job, "test/0/t.jsonl", 99, index);
}

/* Few models and methods, and a seed that nothing of it looks at: jobs often share calibrations. */
static void quantize(struct sim *sim, struct sim_random *random, uint32_t index)
{
    static const struct {
        const char *keys;
        uint32_t observes; /* what calibration looks for */
    } methods[] = {
        {"scheme: W4A16, method: gptq", 0},
        {"scheme: Q4_K_M", 0},
        {"scheme: Q8_0", 0},
        {"target_bpw: 4.5", 0},
        {"scheme: W8A8, activations: static, observer: entropy", 1},
        {"scheme: W8A8, activations: static, observer: minmax", 1},
    };
    struct sim_job *job = &sim->jobs[index];
    /* With its calibration data: few of them, so that jobs share results. */
    uint64_t model = 16 + 2 * sim->seed + (sim_random_below(random, 4) == 0);
    bool trains = sim_random_below(random, 6) == 0;
    bool merges = trains && sim_random_below(random, 2) == 0;
    bool replays = index == sim->scenario->jobs || sim_random_below(random, 8) == 0;
    uint64_t method = replays ? 0 : 1 + sim_random_below(random, COUNT_OF(methods) - 1);
    job->replays = method == 0;
    job->submit_ns = sim_random_below(random, SUBMIT_MS_MAX) * NS_PER_MS;
    char text[512];
    snprintf(text, sizeof text,
             "base_model: m\nsequence_len: 64\nseed: %u\nquantize: {%s}\n"
             "calibration_datasets:\n  - path: c.jsonl\ntest_datasets:\n  - path: t.jsonl\n%s%s",
             index, methods[method].keys,
             trains ? "learning_rate: 1e-3\nmax_steps: 3\ndatasets:\n  - path: d.jsonl\n" : "",
             merges ? LORA "merge: full\n" : "");
    job->recipe = canonical_recipe(sim, text);
    job->observes = methods[method].observes;
    struct sim_random same = {model};
    add_input(job, "model/config.json", 9, model);
    add_input(job, "model/model.safetensors", 99, model);
    add_input(job, "calib/0/c.jsonl", data_bytes(sim, &same), model);
    add_input(job, "test/0/t.jsonl", 99, model);
    if (trains)
        add_input(job, "data/0/d.jsonl", data_bytes(sim, random), index);
}

void sim_job_make(struct sim *sim, struct sim_random *random, uint32_t index)
{
    struct sim_job *job = &sim->jobs[index];
    job->request = 0x1000 + index + sim->seed * 16;
    if (index < sim->scenario->jobs)
        train(sim, random, index);
    else
        quantize(sim, random, index);
    ASSERT(digest_of_artifact(job->recipe, &job->recipe_digest) == ERR_OK);
}

const struct sim_job *sim_job_of_recipe(const struct sim *sim, struct digest recipe)
{
    for (uint32_t i = 0; i < sim->job_count; i++) {
        if (digest_equal(sim->jobs[i].recipe_digest, recipe))
            return &sim->jobs[i];
    }
    return NULL;
}
