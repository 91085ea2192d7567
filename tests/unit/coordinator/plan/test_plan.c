/* test_plan.c - which stages a recipe becomes, and how its data and rounds are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/message/stage_set.h"
#include "common/message/state.h"
#include "common/numeric/fold.h"
#include "common/recipe/recipe.h"
#include "coordinator/plan/plan.h"

#define MIB ((uint64_t)1 << 20)

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static struct span recipe_of(const char *lines)
{
    char *text = arena_print(&arena,
                             "base_model: m\nlearning_rate: 1e-3\nsequence_len: 64\n"
                             "datasets:\n  - path: d.jsonl\n%s",
                             lines);
    struct recipe recipe;
    struct err_text et = {.text = ""};
    struct recipe_options options = {0};
    struct bytes out;
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    bytes_init(&out, LIMIT_RECIPE_BYTES);
    recipe_write(&recipe, &out);
    uint8_t *copy = arena_alloc(&arena, out.size, 1);
    memcpy(copy, out.data, out.size);
    struct span span = {copy, out.size};
    bytes_fini(&out);
    recipe_fini(&recipe);
    return span;
}

static const struct artifact_ref inputs[] = {
    {.name = TEXT("model/config.json"), .size_bytes = 10},
    {.name = TEXT("data/0/d.jsonl"), .size_bytes = (9 << 20) + 5},
    {.name = TEXT("data/1/array.json"), .size_bytes = 9 << 20},
    {.name = TEXT("test/0/t.txt"), .size_bytes = 1},
};

/* The stages as words with their needs, such as "prepare pack<0 init". */
static const char *graph_of(const char *lines, const struct artifact_ref *given, uint32_t count)
{
    struct stage_plan *stages;
    uint32_t stage_count;
    struct err_text et = {.text = ""};
    enum err err = plan_stages(recipe_of(lines), given, count, &arena, &stages, &stage_count, &et);
    if (err != ERR_OK)
        return arena_print(&arena, "%s", et.text);
    const char *text = "";
    for (uint32_t i = 0; i < stage_count; i++) {
        text = arena_print(&arena, "%s%s%.*s", text, i > 0 ? " " : "", TEXT_ARGS(stages[i].name));
        for (uint32_t n = 0; n < i; n++) {
            if (stage_set_has(stage_set_of_plan(&stages[i]), n))
                text = arena_print(&arena, "%s<%u", text, n);
        }
    }
    return text;
}

static void test_plan__graph_follows_from_the_keys(void **state)
{
    (void)state;
    assert_string_equal(graph_of("", inputs, 2), "prepare pack<0 init train<1<2 export<3");
    assert_string_equal(graph_of("", inputs, 4),
                        "prepare pack<0 init train<1<2 evaluate<3 export<3<4");
    assert_string_equal(graph_of("val_set_size: 0.1\n", inputs, 2),
                        "prepare pack<0 init train<1<2 evaluate<3 export<3<4");
    assert_string_equal(graph_of("val_set_size: 0.1\nevaluate: none\n", inputs, 2),
                        "prepare pack<0 init train<1<2 export<3");
    assert_string_equal(graph_of("evaluate: only\ntest_datasets:\n  - path: t.txt\n", inputs, 4),
                        "prepare pack<0 evaluate<1");
}

static void test_plan__what_starts_from_a_checkpoint_begins_nothing(void **state)
{
    (void)state;
    static const struct artifact_ref given[] = {
        {.name = TEXT("model/config.json"), .size_bytes = 10},
        {.name = TEXT("data/0/d.jsonl"), .size_bytes = 5},
        {.name = TEXT("start/state"), .size_bytes = 5},
        {.name = TEXT("start/anchor"), .size_bytes = 5},
        {.name = TEXT("adapter/adapter_model.safetensors"), .size_bytes = 5}};
    const char *pissa = "adapter: lora\nlora_r: 4\nlora_alpha: 8\npeft_init_lora_weights: pissa\n";
    const char *pairs = "adapter: lora\nlora_r: 4\nlora_alpha: 8\nlora_model_dir: a\nrl: dpo\n";
    assert_string_equal(graph_of("", given, 3), "prepare pack<0 train<1 export<2");
    assert_string_equal(graph_of(pissa, given, 4), "prepare pack<0 train<1 export<2");
    assert_non_null(strstr(graph_of(pissa, given, 3), "without its anchor"));
    /* What pairs are measured from is the adapter that came, not where training is. */
    assert_string_equal(graph_of(pairs, given, 5),
                        "prepare pack<0 init reference<1<2 train<1<2<3 export<4");
}

static void test_plan__a_recipe_with_lists_trains_once_for_each(void **state)
{
    (void)state;
    assert_string_equal(graph_of("seed: [1, 2]\n", inputs, 2),
                        "prepare pack<0 init seed=1 train seed=1<1<2 export seed=1<3 "
                        "init seed=2 train seed=2<1<5 export seed=2<6");
    /* The seed decides what is packed with what. */
    assert_string_equal(graph_of("seed: [1, 2]\nsample_packing: true\n", inputs, 2),
                        "prepare pack seed=1<0 pack seed=2<0 "
                        "init seed=1 train seed=1<1<3 export seed=1<4 "
                        "init seed=2 train seed=2<2<6 export seed=2<7");
    assert_string_equal(
        graph_of("adapter: lora\nlora_alpha: 8\nlora_r: [4, 8]\nseed: 3\nval_set_size: 0.1\n",
                 inputs, 2),
        "prepare pack<0 init lora_r=4 train lora_r=4<1<2 evaluate lora_r=4<3 export lora_r=4<3<4 "
        "init lora_r=8 train lora_r=8<1<6 evaluate lora_r=8<7 export lora_r=8<7<8");
}

/* "seed: [1, 2, ..., count]" */
static const char *seeds(uint32_t count)
{
    const char *text = "seed: [1";
    for (uint32_t i = 2; i <= count; i++)
        text = arena_print(&arena, "%s, %u", text, i);
    return arena_print(&arena, "%s]\n", text);
}

static void test_plan__a_graph_may_have_some_two_hundred_stages_and_no_more(void **state)
{
    (void)state;
    const char *lines = arena_print(&arena, "%ssample_packing: true\n", seeds(48));
    struct stage_plan *stages;
    uint32_t count;
    assert_int_equal(plan_stages(recipe_of(lines), inputs, 4, &arena, &stages, &count, NULL), 0);
    assert_int_equal(count, 1 + 48 + 48 * 4);
    /* The last of them needs its own training and evaluation alone. */
    struct stage_set last = stage_set_of_plan(&stages[count - 1]);
    assert_true(text_is(stages[count - 1].name, "export seed=48"));
    assert_int_equal(stage_set_first(last), count - 3);
    stage_set_remove(&last, count - 3);
    stage_set_remove(&last, count - 2);
    assert_true(stage_set_is_empty(last));

    struct artifact_ref more[3];
    memcpy(more, inputs, 2 * sizeof inputs[0]);
    more[2] = (struct artifact_ref){.name = TEXT("adapter/adapter_config.json"), .size_bytes = 9};
    lines = arena_print(&arena,
                        "rl: dpo\nadapter: lora\nlora_r: 2\nlora_alpha: 2\nlora_model_dir: a\n"
                        "val_set_size: 0.5\n%s",
                        seeds(48));
    assert_string_equal(graph_of(lines, more, 3),
                        "the lists of the recipe make more than 256 stages; give fewer values");
}

#define LORA "adapter: lora\nlora_r: 4\nlora_alpha: 8\n"

static void test_plan__an_adapter_is_merged_before_what_needs_the_model(void **state)
{
    (void)state;
    assert_string_equal(graph_of(LORA "merge: full\n", inputs, 2),
                        "prepare pack<0 init train<1<2 export<3 merge<4 report<5");
    assert_string_equal(graph_of(LORA "merge: full\nval_set_size: 0.1\n", inputs, 2),
                        "prepare pack<0 init train<1<2 evaluate<3 export<3<4 merge<5 "
                        "measure<1<6 report<6<7");
    assert_string_equal(graph_of(LORA "merge: full\nquantize: Q4_0\n"
                                      "test_datasets:\n  - path: t.txt\n",
                                 inputs, 4),
                        "prepare pack<0 init train<1<2 export<3 merge<4 measure<1<5 choose<5 "
                        "quantize<7 assemble<8 verify<9 compare<1<9 report<6<10<11");
}

static void test_plan__pairs_are_measured_before_training(void **state)
{
    (void)state;
    static const char lora[] = "rl: dpo\nadapter: lora\nlora_r: 2\nlora_alpha: 2\n";
    struct artifact_ref more[5];
    memcpy(more, inputs, 2 * sizeof inputs[0]);
    more[2] = (struct artifact_ref){.name = TEXT("adapter/adapter_config.json"), .size_bytes = 9};
    assert_string_equal(graph_of(lora, inputs, 2),
                        "prepare pack<0 reference<1 init train<1<2<3 export<4");
    char text[256];
    (void)snprintf(text, sizeof text, "%slora_model_dir: a\n", lora);
    assert_string_equal(graph_of(text, more, 3),
                        "prepare pack<0 init reference<1<2 train<1<2<3 export<4");
    (void)snprintf(text, sizeof text, "%sseed: [1, 2]\n", lora);
    assert_non_null(strstr(graph_of(text, inputs, 2), "prepare pack<0 reference<1 init seed=1"));
    (void)snprintf(text, sizeof text, "%sseed: [1, 2]\nval_set_size: 0.5\n", lora);
    assert_non_null(strstr(graph_of(text, inputs, 2), "pack seed=2<0 reference seed=2<3"));
}

static void test_plan__missing_and_empty_inputs_are_named(void **state)
{
    (void)state;
    assert_string_equal(graph_of("", inputs + 1, 1),
                        "the job came without files of its base_model");
    assert_string_equal(graph_of("", inputs, 1),
                        "datasets: the job came without a file to train on");
    struct artifact_ref empty[2] = {inputs[0], {.name = TEXT("data/0/e.jsonl")}};
    assert_string_equal(graph_of("", empty, 2), "data/0/e.jsonl is empty");
    struct artifact_ref huge[2] = {inputs[0],
                                   {.name = TEXT("data/0/h.jsonl"), .size_bytes = 1ull << 50}};
    assert_string_equal(graph_of("", huge, 2),
                        "the data has more than 3840 shards of 4 MiB; take less of it");
}

static void test_plan__data_is_cut_at_fixed_offsets(void **state)
{
    (void)state;
    struct stage_plan *stages;
    uint32_t count;
    struct err_text et;
    assert_int_equal(plan_stages(recipe_of(""), inputs, 4, &arena, &stages, &count, &et), ERR_OK);
    const struct task_plan expected[] = {{1, 0, 4 * MIB},
                                         {1, 4 * MIB, 8 * MIB},
                                         {1, 8 * MIB, 9 * MIB + 5},
                                         {2, 0, 9 * MIB}, /* one JSON value stays whole */
                                         {3, 0, 1}};
    assert_int_equal(stages[0].task_count, 5);
    assert_int_equal(stages[0].tasks_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(stages[0].tasks[i].input, expected[i].input);
        assert_int_equal(stages[0].tasks[i].first, expected[i].first);
        assert_int_equal(stages[0].tasks[i].end, expected[i].end);
    }
}

static struct plan_rounds rounds_of(const char *lines, uint64_t rows)
{
    struct plan_rounds rounds;
    struct err_text et = {.text = ""};
    if (plan_rounds(recipe_of(lines), rows, &rounds, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return rounds;
}

static void test_plan__steps_and_checkpoints(void **state)
{
    (void)state;
    struct plan_rounds r = rounds_of("micro_batch_size: 4\ngradient_accumulation_steps: 2\n", 1000);
    assert_int_equal(r.round_rows, 8);
    assert_int_equal(r.step_count, 125);
    assert_int_equal(r.save_steps, 12); /* ten in a run */
    assert_int_equal(r.eval_steps, 0);
    r = rounds_of("max_steps: 7\n", 1000);
    assert_int_equal(r.step_count, 7);
    assert_int_equal(r.save_steps, 1);
    r = rounds_of("max_steps: 100\nsave_steps: 30\neval_steps: 25\nlogging_steps: 5\n", 1000);
    assert_int_equal(r.save_steps, 30);
    assert_int_equal(r.eval_steps, 25);
    assert_int_equal(r.logging_steps, 5);
    r = rounds_of("num_epochs: 3\nsaves_per_epoch: 2\nevals_per_epoch: 4\n", 100);
    assert_int_equal(r.step_count, 300);
    assert_int_equal(r.save_steps, 50);
    assert_int_equal(r.eval_steps, 25);
    r = rounds_of("max_steps: 1000000\n", 100);
    assert_int_equal(r.save_steps, 2048); /* its log points fit a record */
    assert_true(r.loss_max == 0);         /* no loss is too high */
    r = rounds_of("loss_watchdog_threshold: 4.5\nloss_watchdog_patience: 7\n", 100);
    assert_true(r.loss_max == 4.5);
    assert_int_equal(r.loss_patience, 7);
    struct err_text et;
    assert_int_equal(plan_rounds(recipe_of(""), 0, &r, &et), ERR_DATA);
    assert_string_equal(et.text, "the datasets gave no row to train on");
}

static void test_plan__ranges_are_nodes_of_the_fold(void **state)
{
    (void)state;
    for (uint64_t rows = 1; rows < 200; rows++) {
        for (uint64_t slots = 0; slots < 40; slots++) {
            uint64_t range = plan_range_rows(rows, slots);
            assert_int_equal(range & (range - 1), 0);
            assert_true(rows < slots || range * slots <= rows); /* nobody goes without */
            for (uint64_t at = 0; at < rows; at += range) {
                uint64_t end = at + range < rows ? at + range : rows;
                assert_true(fold_is_node(rows, (struct fold_node){at, end}));
            }
        }
    }
    assert_int_equal(plan_range_rows(8, 2), 4);
    assert_int_equal(plan_range_rows(16, 3), 2);
    assert_true((uint64_t)1 << 40 <= plan_range_rows((uint64_t)1 << 40, 1) << 16);
}

static void test_plan__settings_carry_profile_and_seed(void **state)
{
    (void)state;
    struct plan_settings settings;
    struct err_text et;
    assert_int_equal(plan_settings(recipe_of("seed: 7\n"), &settings, &et), ERR_OK);
    assert_string_equal(settings.profile, "f32/1");
    assert_int_equal(settings.seeds[0], 7);
    assert_int_equal(plan_settings(recipe_of("profile: blas\n"), &settings, &et), ERR_OK);
    assert_string_equal(settings.profile, "blas");
}

#define PLAN_TEST(name) cmocka_unit_test_setup_teardown(test_plan__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(pairs_are_measured_before_training),
        PLAN_TEST(graph_follows_from_the_keys),
        PLAN_TEST(what_starts_from_a_checkpoint_begins_nothing),
        PLAN_TEST(a_recipe_with_lists_trains_once_for_each),
        PLAN_TEST(a_graph_may_have_some_two_hundred_stages_and_no_more),
        PLAN_TEST(an_adapter_is_merged_before_what_needs_the_model),
        PLAN_TEST(missing_and_empty_inputs_are_named),
        PLAN_TEST(data_is_cut_at_fixed_offsets),
        PLAN_TEST(steps_and_checkpoints),
        PLAN_TEST(ranges_are_nodes_of_the_fold),
        PLAN_TEST(settings_carry_profile_and_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
