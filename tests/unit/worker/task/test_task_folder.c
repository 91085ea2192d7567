/* test_task_folder.c - folders of safetensors from every family through all tasks of the graph:
 * what is opened again says what the model said, up to the grid; what no reader could open is
 * refused before anything is measured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows_builder.h"
#include "common/formats/json/json_read.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/message/state.h"
#include "tests/unit/worker/task/task_place.h"
#include "worker/engine/compare/scores.h"

enum { ROWS = 3, TOKENS = 32, VOCABULARY = 40, RECIPE_BYTES = 512 };

#define FAMILIES "tests/golden/families"

/* ---- inputs ---- */

static void add_rows(struct task_place *p, const char *name, uint32_t salt)
{
    struct rows_builder builder;
    struct bytes blob;
    rows_builder_init(&builder);
    bytes_init(&blob, 1 << 20);
    for (uint32_t r = 0; r < ROWS; r++) {
        uint32_t tokens[TOKENS];
        uint8_t loss[TOKENS];
        for (uint32_t i = 0; i < TOKENS; i++) {
            tokens[i] = (i * (7 + 4 * r) + i * i / 3 + 3 * r + salt) % VOCABULARY;
            loss[i] = i > 0;
        }
        rows_builder_add(&builder, tokens, loss, TOKENS);
        rows_builder_end_row(&builder);
    }
    assert_int_equal(rows_builder_write(&builder, NULL, 0, &blob), ERR_OK);
    task_place_add_bytes(p, name, bytes_span(&blob));
    rows_builder_fini(&builder);
    bytes_fini(&blob);
}

/* `quantize` is the rest of the line after "quantize: ". */
static struct task_place *start(const char *family, const char *quantize)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    char recipe[RECIPE_BYTES], path[256], name[64];
    struct task_place *p = task_place_open();
    task_place_start(p, 2);
    (void)snprintf(recipe, sizeof recipe,
                   "base_model: models/%s\nsequence_len: %d\ncalibration_datasets:\n"
                   "  - path: a.txt\nquantize: {%s}\n",
                   family, TOKENS, quantize);
    task_place_add_recipe(p, recipe);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, FAMILIES "/%s/%s", family, files[i]);
        (void)snprintf(name, sizeof name, "model/%s", files[i]);
        task_place_add_file(p, name, path);
    }
    add_rows(p, "calib_rows", 1);
    return p;
}

static void pass_on(struct task_place *p, const struct task_result *result, const char *output,
                    const char *name)
{
    task_place_add(p, task_place_output(result, output), name);
}

static const char *numbered(const char *name, uint64_t number, char out[64])
{
    (void)snprintf(out, 64, "%s/%llu", name, (unsigned long long)number);
    return out;
}

/* ---- the graph ---- */

enum { GROUPS_MAX = 16, SHARDS_MAX = ROWS };

struct parts {
    struct task_result choice, groups[GROUPS_MAX];
    uint64_t count;
};

static struct task_result run(struct task_place *p, enum stage_kind kind, uint64_t first,
                              uint64_t total, uint64_t round)
{
    return task_place_run(p, (struct task_spec){.kind = (uint32_t)kind,
                                                .first = first,
                                                .end = first + 1,
                                                .total = total,
                                                .round = round});
}

static void measure_and_quantize(struct task_place *p, struct parts *parts)
{
    uint32_t kept = p->input_count;
    struct task_result statistics = run(p, STAGE_KIND_CALIBRATE, 0, 1, 0);
    pass_on(p, &statistics, "statistics", "statistics/0");
    struct task_result reduced = run(p, STAGE_KIND_REDUCE, 0, 1, 0);
    p->input_count = kept;
    parts->choice = run(p, STAGE_KIND_CHOOSE, 0, 1, 0);
    parts->count = task_place_fact(&parts->choice, "quantize_tasks");
    assert_true(parts->count <= GROUPS_MAX);
    pass_on(p, &parts->choice, "choices", "choices");
    pass_on(p, &reduced, "statistics", "statistics");
    for (uint64_t i = 0; i < parts->count; i++)
        parts->groups[i] = run(p, STAGE_KIND_QUANTIZE, i, parts->count, 0);
    p->input_count = kept;
}

/* A period: all shards of a layer, then all its groups. */
static void replay_layer(struct task_place *p, struct parts *parts, uint64_t layer, uint64_t shards,
                         uint64_t groups, struct task_result *before)
{
    struct task_result now[SHARDS_MAX];
    uint32_t kept = p->input_count;
    char name[64];
    for (uint64_t s = 0; s < shards; s++) {
        p->input_count = kept;
        if (layer > 0)
            pass_on(p, &before[s], "hidden", "hidden");
        for (uint64_t g = 0; layer > 0 && g < groups; g++)
            pass_on(p, &parts->groups[(layer - 1) * groups + g], "tensors",
                    numbered("tensors", g, name));
        now[s] = run(p, STAGE_KIND_REPLAY, s, shards, layer);
    }
    for (uint64_t g = 0; g < groups; g++) {
        char output[64];
        p->input_count = kept;
        (void)snprintf(output, sizeof output, "gram.%llu", (unsigned long long)g);
        for (uint64_t s = 0; s < shards; s++)
            pass_on(p, &now[s], output, numbered("gram", s, name));
        uint64_t place = layer * groups + g;
        parts->groups[place] = run(p, STAGE_KIND_QUANTIZE, place, parts->count, layer);
    }
    p->input_count = kept;
    memcpy(before, now, sizeof now);
}

static void replay(struct task_place *p, struct parts *parts)
{
    struct task_result before[SHARDS_MAX];
    parts->choice = run(p, STAGE_KIND_CHOOSE, 0, 1, 0);
    uint64_t shards = task_place_fact(&parts->choice, "replay_shards");
    uint64_t groups = task_place_fact(&parts->choice, "replay_groups");
    uint64_t layers = task_place_fact(&parts->choice, "replay_periods");
    parts->count = groups * layers;
    assert_true(shards <= SHARDS_MAX && parts->count <= GROUPS_MAX);
    uint32_t kept = p->input_count;
    pass_on(p, &parts->choice, "choices", "choices");
    for (uint64_t l = 0; l < layers; l++)
        replay_layer(p, parts, l, shards, groups, before);
    p->input_count = kept;
}

/* The folder as inputs "result/...", checked by verify. */
static struct task_result assemble(struct task_place *p, const struct parts *parts)
{
    uint32_t kept = p->input_count;
    char name[64];
    pass_on(p, &parts->choice, "choices", "choices");
    for (uint64_t i = 0; i < parts->count; i++)
        pass_on(p, &parts->groups[i], "tensors", numbered("tensors", i, name));
    struct task_result result = run(p, STAGE_KIND_ASSEMBLE, 0, 1, 0);
    p->input_count = kept;
    for (uint32_t i = 0; i < result.outputs_count; i++) {
        (void)snprintf(name, sizeof name, "result/%.*s", TEXT_ARGS(result.outputs[i].name));
        task_place_add(p, result.outputs[i], name);
    }
    kept = p->input_count;
    for (uint64_t i = 0; i < parts->count; i++)
        pass_on(p, &parts->groups[i], "figures", numbered("figures", i, name));
    (void)run(p, STAGE_KIND_VERIFY, 0, 1, 0);
    p->input_count = kept;
    return result;
}

/* ---- what came out ---- */

static struct compare_sums compare(struct task_place *p)
{
    struct scores scores;
    struct compare_sums sums;
    add_rows(p, "test_rows", 5);
    struct task_result result = run(p, STAGE_KIND_COMPARE, 0, 1, 0);
    struct artifact_ref ref = task_place_output(&result, "scores");
    assert_int_equal(scores_open(bulk_server_find(p->server, ref.digest), "scores", &scores, NULL),
                     ERR_OK);
    assert_int_equal(scores_fold(&scores, 1, &sums, NULL), ERR_OK);
    return sums;
}

static bool ends_with(struct text text, const char *ending)
{
    size_t size = strlen(ending);
    return text.size >= size && memcmp(text.data + text.size - size, ending, size) == 0;
}

/* Every tensor of the base is there in its own type or in place of it a quantized one, never both.
 * Returns how many are quantized. */
static size_t check_tensors(struct task_place *p, const char *family, struct task_result *result)
{
    struct safetensors base, made;
    char path[256];
    size_t quantized = 0;
    struct artifact_ref ref = task_place_output(result, "model.safetensors");
    (void)snprintf(path, sizeof path, FAMILIES "/%s/model.safetensors", family);
    assert_int_equal(safetensors_open(&base, path, NULL), ERR_OK);
    assert_int_equal(
        safetensors_parse(&made, bulk_server_find(p->server, ref.digest), "made", NULL), ERR_OK);
    for (size_t i = 0; i < base.count; i++) {
        struct text name = base.tensors[i].name;
        char packed[256];
        (void)snprintf(packed, sizeof packed, "%.*s_packed", TEXT_ARGS(name));
        const struct safetensor *same = safetensors_find(&made, name);
        bool is_packed = safetensors_find(&made, text_of(packed)) != NULL;
        bool is_codes =
            same != NULL && (same->dtype == SAFETENSORS_I8 || same->dtype == SAFETENSORS_U8);
        assert_true((same != NULL) != is_packed);
        quantized += is_packed || is_codes;
        if (is_packed || is_codes)
            assert_true(ends_with(name, ".weight"));
        else
            assert_int_equal(same->dtype, base.tensors[i].dtype);
    }
    safetensors_close(&base);
    safetensors_close(&made);
    return quantized;
}

#ifndef FAMILIES_EVERY
#define FAMILIES_EVERY 1
#endif
static const char *const families[] = {
    "llama2", "llama3",   "mistral",    "gemma",      "gemma2", "gemma3_text", "phi2",
    "phi3",   "falcon7b", "falcon-new", "falcon-11b", "qwen2",  "qwen25",      "qwen3",
};

static void check_method(const char *quantize, bool replays, double kl_max)
{
    for (size_t i = 0; i < COUNT_OF(families); i += FAMILIES_EVERY) {
        struct task_place *p = start(families[i], quantize);
        struct parts *parts = arena_alloc(&p->arena, 1, sizeof *parts);
        assert_non_null(parts);
        replays ? replay(p, parts) : measure_and_quantize(p, parts);
        struct task_result result = assemble(p, parts);
        struct compare_sums sums = compare(p);
        assert_true(check_tensors(p, families[i], &result) > 0);
        double kl = sums.kl / (double)sums.positions;
        if (!(kl > 0 && kl <= kl_max))
            fail_msg("%s, %s: KL divergence %g, expected 0 to %g", families[i], quantize, kl,
                     kl_max);
        task_place_close(p);
    }
}

static void test_task_folder__weights_by_channel_say_what_the_model_said(void **state)
{
    (void)state;
    check_method("scheme: W8A16, strategy: channel, method: rtn", false, 1e-3);
}

static void test_task_folder__smoothed_layers_and_norms_belong_together(void **state)
{
    (void)state;
    check_method("scheme: W8A8, method: smoothquant", false, 3e-3);
}

static void test_task_folder__gptq_by_layers_says_what_the_model_said(void **state)
{
    (void)state;
    check_method("scheme: W8A16, strategy: channel, method: gptq", true, 1e-3);
}

static void test_task_folder__awq_by_layers_says_what_the_model_said(void **state)
{
    (void)state;
    check_method("scheme: W8A16, strategy: channel, method: awq", true, 2e-3);
}

static void test_task_folder__four_bit_levels_say_what_the_model_said(void **state)
{
    (void)state;
    check_method("scheme: NF4", false, 0.3);
}

/* Whether choose takes the recipe; what it says when it does not. */
static enum err choose(struct task_place *p, struct err_text *et)
{
    struct task_result result = {.outputs = NULL};
    const struct task_spec spec = {.kind = STAGE_KIND_CHOOSE,
                                   .end = 1,
                                   .total = 1,
                                   .profile = TEXT("f32/1"),
                                   .inputs = p->inputs,
                                   .inputs_count = p->input_count};
    const struct task_call call = {.spec = &spec};
    return task_execute(p->env, &call, &p->arena, &result, et);
}

/* Returns whether it was taken. */
static bool check_combination(const char *quantize)
{
    struct task_place *p = start("llama2", quantize);
    struct parts *parts = arena_alloc(&p->arena, 1, sizeof *parts);
    struct err_text et = {""};
    assert_non_null(parts);
    enum err err = choose(p, &et);
    if (err == ERR_OK) {
        measure_and_quantize(p, parts);
        (void)assemble(p, parts);
        struct compare_sums sums = compare(p);
        double kl = sums.kl / (double)sums.positions;
        if (!(kl >= 0 && kl < 1))
            fail_msg("%s: KL divergence %g", quantize, kl);
    } else if (err != ERR_RECIPE) {
        fail_msg("%s: %s", quantize, et.text);
    }
    task_place_close(p);
    return err == ERR_OK;
}

/* What choose takes comes through assembly and verification too. */
static void test_task_folder__combinations_fail_at_once_or_not_at_all(void **state)
{
    static const char *const schemes[] = {"W8A8", "W4A8", "W8A16", "W4A16", "W4A16_ASYM"};
    static const char *const cells[] = {"tensor", "group, group_size: 4"};
    static const char *const symmetric[] = {"true", "false"};
    static const char *const inputs[] = {"none", "dynamic", "static, observer: percentile",
                                         "static, observer: moving_average",
                                         "static, observer: mse"};
    size_t taken = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        for (size_t k = 0; k < COUNT_OF(cells); k++)
            for (size_t m = 0; m < COUNT_OF(symmetric) * COUNT_OF(inputs); m++) {
                char line[256];
                (void)snprintf(line, sizeof line,
                               "scheme: %s, strategy: %s, symmetric: %s, activations: %s",
                               schemes[i], cells[k], symmetric[m % COUNT_OF(symmetric)],
                               inputs[m / COUNT_OF(symmetric)]);
                taken += check_combination(line);
            }
    assert_true(taken > 0);
}

/* The head stays out of the config's targets whatever the recipe leaves alone. */
static void test_task_folder__own_exceptions_leave_the_head_alone(void **state)
{
    (void)state;
    struct task_place *p = start("llama2", "scheme: W8A8, ignore: ['re:.*v_proj']");
    struct parts *parts = arena_alloc(&p->arena, 1, sizeof *parts);
    assert_non_null(parts);
    measure_and_quantize(p, parts);
    struct task_result result = assemble(p, parts);
    size_t layers = check_tensors(p, "llama2", &result) / 6;
    assert_true(layers > 0);
    assert_int_equal(check_tensors(p, "llama2", &result), layers * 6);
    task_place_close(p);
}

static void test_task_folder__what_no_folder_can_hold_is_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *family, *quantize, *detail;
        enum err expected;
    } cases[] = {
        {"gpt2", "scheme: W8A16", "lie transposed", ERR_UNSUPPORTED},
        {"bitnet-packed", "scheme: W8A16", "quantized already", ERR_UNSUPPORTED},
        {"llama2", "scheme: W4A16, group_size: 128", "q_proj", ERR_SHAPE},
        {"llama2", "scheme: W8A16, targets: [lm_head]", "no linear layer", ERR_RECIPE},
        {"llama2", "scheme: W8A16, targets: ['re:[']", "re", ERR_UNSUPPORTED},
        {"llama2", "scheme: W8A8, method: smoothquant, activations: static", "static with method",
         ERR_RECIPE},
        {"llama2", "scheme: W8A8, method: gptq, activations: static", "static with method",
         ERR_RECIPE},
        {"llama2", "scheme: W5A5", "expected one of", ERR_RECIPE},
        {"llama2", "scheme: Q4_K_XXL", "found Q4_K_XXL", ERR_RECIPE},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct task_place *p = start(cases[i].family, cases[i].quantize);
        struct err_text et = {""};
        enum err err = choose(p, &et);
        if (err != cases[i].expected || strstr(et.text, cases[i].detail) == NULL)
            fail_msg("%s, %s: %d %s", cases[i].family, cases[i].quantize, err, et.text);
        task_place_close(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_folder__weights_by_channel_say_what_the_model_said),
        cmocka_unit_test(test_task_folder__smoothed_layers_and_norms_belong_together),
        cmocka_unit_test(test_task_folder__gptq_by_layers_says_what_the_model_said),
        cmocka_unit_test(test_task_folder__awq_by_layers_says_what_the_model_said),
        cmocka_unit_test(test_task_folder__four_bit_levels_say_what_the_model_said),
        cmocka_unit_test(test_task_folder__combinations_fail_at_once_or_not_at_all),
        cmocka_unit_test(test_task_folder__own_exceptions_leave_the_head_alone),
        cmocka_unit_test(test_task_folder__what_no_folder_can_hold_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
