/* task_pack.c - the samples of all shards become the rows of training and of held-out data, streams
 * become windows for calibration and for perplexities. */
#include "common/base/check.h"
#include "common/calibration/statistics_shard.h"
#include "common/formats/dataset/dataset_pack.h"
#include "common/formats/dataset/windows.h"
#include "common/mem/mem.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_settings.h"

/* Tasks that share the comparison of two models: so many that a fleet is busy, and that what they
 * hand in stays small beside their work. */
enum { COMPARE_TASKS_MAX = 64 };

struct shards {
    const struct cache_item **items; /* owned, open */
    struct span *spans;              /* owned */
    size_t count;
};

static void shards_close(struct shards *shards, struct cache *cache)
{
    for (size_t i = 0; i < shards->count; i++)
        cache_release(cache, &shards->items[i]);
    mem_free((void *)shards->items);
    mem_free(shards->spans);
}

/* Opens samples/<what>/0, /1, ... in order. */
static enum err shards_open(struct task_run *run, const char *what, struct shards *out,
                            struct err_text *et)
{
    struct cache *cache = run->env->options.cache;
    struct shards shards = {
        .items = (const struct cache_item **)mem_alloc(run->spec->inputs_count + 1,
                                                       sizeof *shards.items),
        .spans = mem_alloc(run->spec->inputs_count + 1, sizeof *shards.spans),
    };
    enum err err = shards.items == NULL || shards.spans == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    while (err == ERR_OK) {
        const char *name = arena_print(run->arena, "samples/%s/%zu", what, shards.count);
        const struct artifact_ref *input = name != NULL ? task_run_input(run, name) : NULL;
        if (input == NULL)
            break;
        err = cache_open(cache, input, &shards.items[shards.count], et);
        if (err == ERR_OK) {
            shards.spans[shards.count] = shards.items[shards.count]->bytes;
            shards.count++;
        }
    }
    if (err != ERR_OK)
        shards_close(&shards, cache);
    else
        *out = shards;
    return err;
}

/* What was packed, from the data sets, the held-out ones and those for calibration. */
struct packed {
    struct bytes train, test, calibration;
    struct dataset_pack_stats stats;
    struct windows_stats windows;      /* of calibration */
    struct windows_stats test_windows; /* rows 0: held-out rows are samples */
};

static enum err pack_train(struct task_run *run, const struct shards *shards, struct packed *packed,
                           struct err_text *et)
{
    if (shards->count == 0)
        return ERR_OK;
    const struct dataset_pack_options options = task_settings_pack(&run->recipe);
    struct bytes *test = options.val_set_size > 0 ? &packed->test : NULL;
    return dataset_pack(shards->spans, shards->count, &options, &packed->train, test,
                        &packed->stats, et);
}

static enum err pack_test_windows(struct task_run *run, const struct shards *shards,
                                  struct packed *packed, struct err_text *et)
{
    const struct windows_options options = task_settings_test(&run->recipe);
    struct windows_stats *made = &packed->test_windows;
    TRY(windows_cut(shards->spans, shards->count, &options, &packed->test, made, et));
    packed->stats.test_rows = made->rows;
    packed->stats.test_tokens = made->tokens;
    packed->stats.test_supervised_tokens = made->scored;
    return ERR_OK;
}

/* Held-out files are cut into windows, or laid out one sample a row, in their order. */
static enum err pack_test(struct task_run *run, const struct shards *shards, struct packed *packed,
                          struct err_text *et)
{
    if (shards->count == 0)
        return ERR_OK;
    struct dataset_pack_options options = task_settings_pack(&run->recipe);
    struct dataset_pack_stats stats;
    options.sample_packing = false;
    options.val_set_size = 0;
    if (packed->test.size > 0)
        return error_set(et, ERR_RECIPE, "val_set_size and test_datasets: only one may be given");
    if (recipe_streams(&run->recipe))
        return pack_test_windows(run, shards, packed, et);
    TRY(dataset_pack(shards->spans, shards->count, &options, &packed->test, NULL, &stats, et));
    packed->stats.test_rows = stats.train_rows;
    packed->stats.test_tokens = stats.train_tokens;
    packed->stats.test_supervised_tokens = stats.train_supervised_tokens;
    return ERR_OK;
}

static enum err pack_calibration(struct task_run *run, const struct shards *shards,
                                 struct packed *packed, struct err_text *et)
{
    if (shards->count == 0)
        return ERR_OK;
    const struct windows_options options = task_settings_calibration(&run->recipe);
    return windows_cut(shards->spans, shards->count, &options, &packed->calibration,
                       &packed->windows, et);
}

/* Tasks that share the log-probabilities of pairs before training: so few that every task of a
 * round can be given all they made. */
enum { REFERENCE_TASKS_MAX = 64, REFERENCE_PAIRS_MIN = 8 };

static enum err report_pairs(struct task_run *run, const struct packed *packed)
{
    uint64_t pairs = packed->stats.train_rows + packed->stats.test_rows;
    uint64_t tasks = (pairs + REFERENCE_PAIRS_MIN - 1) / REFERENCE_PAIRS_MIN;
    if (run->recipe.rl != RECIPE_RL_DPO)
        return ERR_OK;
    return task_run_fact(run, "reference_tasks", MIN(tasks, (uint64_t)REFERENCE_TASKS_MAX));
}

/* What makes the held-out loss a perplexity with a name (perplexity.h). */
static enum err report_rules(struct task_run *run, const struct packed *packed)
{
    const struct perplexity *rules = &packed->test_windows.perplexity;
    uint64_t tokenizer = 0;
    TRY(task_run_fact(run, "test_scored", packed->stats.test_supervised_tokens));
    if (packed->test_windows.rows == 0)
        return ERR_OK;
    for (const char *hex = rules->tokenizer; *hex != '\0'; hex++)
        tokenizer = tokenizer << 4 | (uint64_t)(*hex <= '9' ? *hex - '0' : *hex - 'a' + 10);
    TRY(task_run_fact(run, "test_words", rules->words));
    TRY(task_run_fact(run, "test_bos", rules->has_bos));
    return task_run_fact(run, "test_tokenizer", tokenizer);
}

/* What the stages after this one are told: their rows, and over how many tasks these go. */
static enum err report_stages(struct task_run *run, const struct packed *packed)
{
    uint64_t calibration = packed->windows.rows, test = packed->stats.test_rows;
    if (recipe_merges(&run->recipe))
        TRY(task_run_fact(run, "measure_tasks", MIN(test, (uint64_t)COMPARE_TASKS_MAX)));
    if (!recipe_quantizes(&run->recipe))
        return ERR_OK;
    TRY(task_run_fact(run, "calib_rows", calibration));
    TRY(task_run_fact(run, "calib_tokens", packed->windows.tokens));
    TRY(task_run_fact(run, "calibrate_tasks",
                      (calibration + STATISTICS_SHARD_ROWS - 1) / STATISTICS_SHARD_ROWS));
    return task_run_fact(run, "compare_tasks", MIN(test, (uint64_t)COMPARE_TASKS_MAX));
}

static enum err report(struct task_run *run, const struct packed *packed, struct err_text *et)
{
    const struct dataset_pack_stats *stats = &packed->stats;
    if (packed->train.size > 0)
        TRY(task_run_output(run, "rows", bytes_span(&packed->train), false, et));
    if (packed->test.size > 0 && stats->test_rows > 0)
        TRY(task_run_output(run, "test_rows", bytes_span(&packed->test), false, et));
    if (packed->calibration.size > 0)
        TRY(task_run_output(run, "calib_rows", bytes_span(&packed->calibration), false, et));
    TRY(task_run_fact(run, "train_rows", stats->train_rows));
    TRY(task_run_fact(run, "test_rows", stats->test_rows));
    TRY(task_run_fact(run, "train_tokens", stats->train_tokens));
    TRY(task_run_fact(run, "test_tokens", stats->test_tokens));
    if (stats->test_rows > 0 && run->recipe.rl != RECIPE_RL_DPO)
        TRY(report_rules(run, packed));
    TRY(report_pairs(run, packed));
    TRY(report_stages(run, packed));
    run->result->tokens = stats->train_tokens + stats->test_tokens + packed->windows.tokens;
    return ERR_OK;
}

enum err task_kind_pack(struct task_run *run, struct err_text *et)
{
    struct shards train = {.count = 0}, test = {.count = 0}, calibration = {.count = 0};
    struct packed packed = {.stats = {0}};
    bytes_init(&packed.train, SIZE_MAX);
    bytes_init(&packed.test, SIZE_MAX);
    bytes_init(&packed.calibration, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(shards_open(run, "train", &train, et));
    TRY_OUT(shards_open(run, "test", &test, et));
    TRY_OUT(shards_open(run, "calib", &calibration, et));
    TRY_OUT(pack_train(run, &train, &packed, et));
    TRY_OUT(pack_test(run, &test, &packed, et));
    TRY_OUT(pack_calibration(run, &calibration, &packed, et));
    TRY_OUT(report(run, &packed, et));
out:
    shards_close(&train, run->env->options.cache);
    shards_close(&test, run->env->options.cache);
    shards_close(&calibration, run->env->options.cache);
    bytes_fini(&packed.train);
    bytes_fini(&packed.test);
    bytes_fini(&packed.calibration);
    return err;
}
