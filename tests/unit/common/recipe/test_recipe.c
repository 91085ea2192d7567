/* test_recipe.c - what a recipe means, and that its canonical text means the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_value.h"

#define BASE "base_model: m\ndatasets: [d.jsonl]\nlearning_rate: 1e-4\n"

static struct recipe read_as(const char *file_name, const char *text)
{
    const struct recipe_options options = {.file_name = file_name};
    struct recipe recipe;
    struct err_text et = {{0}};
    enum err err = recipe_read(span_of_text(text_of(text)), &options, &recipe, &et);
    if (err != ERR_OK)
        fail_msg("%s", et.text);
    return recipe;
}

static struct recipe read_text(const char *text)
{
    return read_as("r.yml", text);
}

static void test_recipe__an_axolotl_file_reads_unchanged(void **state)
{
    (void)state;
    struct recipe r = read_text("base_model: models/tiny\n"
                                "load_in_8bit: false\n"
                                "load_in_4bit: false\n"
                                "datasets:\n"
                                "  - path: data/a.jsonl\n"
                                "    type: alpaca\n"
                                "  - path: data/b.jsonl\n"
                                "    type: chat_template\n"
                                "    field_messages: turns\n"
                                "dataset_prepared_path: last_run_prepared\n"
                                "val_set_size: 0.05\n"
                                "output_dir: ./outputs/out\n"
                                "adapter: lora\n"
                                "lora_model_dir:\n"
                                "sequence_len: 2_048\n"
                                "sample_packing: yes\n"
                                "pad_to_sequence_len: true\n"
                                "lora_r: 32\n"
                                "lora_alpha: 16\n"
                                "lora_dropout: 0.05\n"
                                "lora_target_linear: true\n"
                                "wandb_project:\n"
                                "gradient_accumulation_steps: 4\n"
                                "micro_batch_size: 2\n"
                                "num_epochs: 3\n"
                                "optimizer: adamw_torch\n"
                                "lr_scheduler: cosine\n"
                                "learning_rate: 2e-4\n"
                                "bf16: auto\n"
                                "tf32: false\n"
                                "gradient_checkpointing: true\n"
                                "warmup_ratio: 0.1\n"
                                "evals_per_epoch: 4\n"
                                "saves_per_epoch: 1\n"
                                "weight_decay: 0.0\n"
                                "special_tokens:\n");
    assert_string_equal(r.base_model, "models/tiny");
    assert_int_equal(r.datasets_count, 2);
    assert_string_equal(r.datasets[1].path, "data/b.jsonl");
    assert_string_equal(r.datasets[1].field_messages, "turns");
    assert_int_equal(r.datasets[0].type, RECIPE_DATASET_TYPE_ALPACA);
    assert_int_equal(r.sequence_len, 2048);
    assert_true(r.sample_packing && r.gradient_checkpointing && r.lora_target_linear);
    assert_true(r.learning_rate == 2e-4);
    assert_null(r.lora_model_dir);
    assert_int_equal(recipe_round_rows(&r), 8);
    assert_int_equal(r.notice_count, 1);
    assert_string_equal(r.notices[0], "without effect here: dataset_prepared_path, "
                                      "pad_to_sequence_len, wandb_project, bf16, tf32");
    recipe_fini(&r);
}

static void test_recipe__scalars_are_read_by_the_type_of_their_key(void **state)
{
    (void)state;
    struct recipe r = read_text("base_model: 1e-4\nname: no\ndatasets: [yes]\nseed: 1e3\n"
                                "learning_rate: 1e-4\nweight_decay: \"0.1\"\nmax_steps: ~\n"
                                "model_revision: \"~\"\nresources: {memory: 2GiB}\n"
                                "priority: -5\nsample_packing: ON\n");
    assert_string_equal(r.base_model, "1e-4");
    assert_string_equal(r.name, "no");
    assert_string_equal(r.datasets[0].path, "yes");
    assert_int_equal(r.seed, 1000);
    assert_true(r.learning_rate == 1e-4 && r.weight_decay == 0.1);
    assert_false(recipe_is_set(&r, RECIPE_KEY_max_steps));
    assert_string_equal(r.model_revision, "~");
    assert_int_equal(r.resources.memory, 2ll << 30);
    assert_int_equal(r.priority, -5);
    assert_true(r.sample_packing);
    recipe_fini(&r);
}

static void test_recipe__names_of_other_trainers_are_read_with_a_notice(void **state)
{
    (void)state;
    struct recipe r = read_text("model_name_or_path: m\ndataset: a.json, b.json\n"
                                "finetuning_type: lora\nlora_rank: 8\nlora_alpha: 16\n"
                                "lora_target: all\ncutoff_len: 64\nlearning_rate: 1.0e-4\n");
    assert_int_equal(r.adapter, RECIPE_ADAPTER_LORA);
    assert_int_equal(r.lora_r, 8);
    assert_true(r.lora_target_linear);
    assert_int_equal(r.lora_target_modules_count, 0);
    assert_int_equal(r.sequence_len, 64);
    assert_int_equal(r.notice_count, 6);
    assert_string_equal(r.notices[0], "model_name_or_path is read as base_model");
    recipe_fini(&r);
}

static void test_recipe__a_default_that_decides_much_is_said(void **state)
{
    (void)state;
    struct recipe r = read_text(BASE);
    assert_int_equal(r.notice_count, 1);
    assert_string_equal(r.notices[0], "sequence_len is 512 by default; give it to be sure");
    recipe_fini(&r);
}

static void test_recipe__batch_size_settles_the_other_two(void **state)
{
    (void)state;
    struct recipe r = read_text(BASE "batch_size: 12\nmicro_batch_size: 4\n");
    assert_int_equal(r.gradient_accumulation_steps, 3);
    assert_false(recipe_is_set(&r, RECIPE_KEY_batch_size));
    recipe_fini(&r);
    r = read_text(BASE "batch_size: 12\ngradient_accumulation_steps: 6\n");
    assert_int_equal(r.micro_batch_size, 2);
    recipe_fini(&r);
    r = read_text(BASE "batch_size: 12\n");
    assert_int_equal(recipe_round_rows(&r), 12);
    recipe_fini(&r);
}

static void test_recipe__flags_stand_above_the_file(void **state)
{
    (void)state;
    const char *const sets[] = {
        "learning-rate=3e-4", "warmup_ratio=0.5", "name=x: y",   "lora_target_modules=[a, b]",
        "adapter=lora",       "lora_r=1",         "lora_alpha=2"};
    const struct recipe_options options = {"r.yml", sets, COUNT_OF(sets)};
    struct recipe r;
    struct err_text et = {{0}};
    enum err err = recipe_read(span_of_text(text_of(BASE "warmup_steps: 5\n")), &options, &r, &et);
    assert_int_equal(err, ERR_RECIPE); /* "x: y" is no value */
    const char *const good[] = {
        "learning-rate=3e-4", "warmup_ratio=0.5", "lora_target_modules=[a, b]",
        "adapter=lora",       "lora_r=1",         "lora_alpha=2"};
    const struct recipe_options right = {"r.yml", good, COUNT_OF(good)};
    err = recipe_read(span_of_text(text_of(BASE "warmup_steps: 5\n")), &right, &r, &et);
    assert_int_equal(err, ERR_OK);
    assert_true(r.learning_rate == 3e-4);
    assert_int_equal(r.origins[RECIPE_KEY_learning_rate].source, RECIPE_FLAG);
    assert_int_equal(r.lora_target_modules_count, 2);
    assert_false(recipe_is_set(&r, RECIPE_KEY_warmup_steps));
    assert_int_equal(recipe_warmup_steps(&r, 5), 3);
    recipe_fini(&r);
}

static void test_recipe__steps_follow_from_rows_or_max_steps(void **state)
{
    (void)state;
    struct recipe r = read_text(BASE "batch_size: 16\nnum_epochs: 3\n");
    assert_int_equal(recipe_step_count(&r, 1000), 188);
    assert_int_equal(recipe_step_count(&r, 1), 1);
    assert_int_equal(recipe_warmup_steps(&r, 188), 0);
    recipe_fini(&r);
    r = read_text(BASE "max_steps: 200\nwarmup_steps: 10\n");
    assert_int_equal(recipe_step_count(&r, 1000), 200);
    assert_int_equal(recipe_warmup_steps(&r, 200), 10);
    recipe_fini(&r);
}

static void test_recipe__paths_are_relative_to_its_file(void **state)
{
    (void)state;
    static const struct {
        const char *file, *path, *found;
    } rows[] = {
        {"r.yml", "a/b", "a/b"}, {"x/r.yml", "a/b", "x/a/b"},
        {"/r.yml", "a", "/a"},   {"/x/y/r.yml", "../a", "/x/y/../a"},
        {"x/r.yml", "/a", "/a"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct recipe r = read_as(rows[i].file, BASE);
        assert_string_equal(recipe_path(&r, rows[i].path, &r.arena), rows[i].found);
        recipe_fini(&r);
    }
}

static void test_recipe__keys_are_sorted(void **state)
{
    (void)state;
    for (size_t i = 1; i < RECIPE_KEY_COUNT; i++)
        assert_true(strcmp(recipe_key_name((enum recipe_key)(i - 1)),
                           recipe_key_name((enum recipe_key)i)) < 0);
}

static void assert_round_trip(const struct recipe *r)
{
    struct bytes first, second;
    bytes_init(&first, 1 << 20);
    bytes_init(&second, 1 << 20);
    recipe_write(r, &first);
    assert_int_equal(bytes_status(&first), ERR_OK);
    struct recipe again;
    struct err_text et = {{0}};
    enum err err = recipe_parse(bytes_span(&first), &again, &et);
    if (err != ERR_OK)
        fail_msg("%s\n%.*s", et.text, (int)first.size, (const char *)first.data);
    assert_true(recipe_equal(r, &again));
    recipe_write(&again, &second);
    assert_true(span_equal(bytes_span(&first), bytes_span(&second)));
    assert_int_equal(again.notice_count, 0);
    recipe_fini(&again);
    bytes_fini(&first);
    bytes_fini(&second);
}

static void test_recipe__the_canonical_text_has_these_bytes(void **state)
{
    (void)state;
    struct recipe r =
        read_text("learning_rate: 0.0001\nmodel_revision: \"a \\\"b\\\" \\u2028 \\x7f é\"\n"
                  "datasets: [{type: alpaca, path: d}, e]\nbase_model: m\n"
                  "adapter: lora\nlora_r: 8\nlora_alpha: 16\n"
                  "lora_target_modules: q_proj, v_proj\nresources: {workers: 2}\n");
    static const char expected[] =
        "adam_beta1: 0.9\nadam_beta2: 0.999\nadam_epsilon: 1e-08\nadapter: lora\n"
        "adapter_non_linearity: auto\nbase_model: \"m\"\n"
        "bnb_4bit_quant_type: nf4\nbnb_4bit_use_double_quant: true\n"
        "datasets:\n  - ds_type: auto\n    path: \"d\"\n    type: alpaca\n"
        "  - ds_type: auto\n    path: \"e\"\n    type: auto\n"
        "dpo_label_smoothing: 0.0\n"
        "eval_on_start: false\nevaluate: auto\ngradient_accumulation_steps: 1\n"
        "gradient_checkpointing: false\nlearning_rate: 0.0001\n"
        "load_in_4bit: false\nload_in_8bit: false\nlogging_steps: 1\n"
        "lora_alpha: 16.0\nlora_dropout: 0.0\nlora_r: 8\nlora_target_linear: false\n"
        "lora_target_modules: [\"q_proj\", \"v_proj\"]\nloss_watchdog_patience: 3\n"
        "lr_scheduler: cosine\nmax_grad_norm: 1.0\n"
        "merge: none\nmicro_batch_size: 1\nmodel_revision: \"a \\\"b\\\" \\u2028 \\x7F "
        "é\"\nnum_epochs: 1.0\n"
        "num_virtual_tokens: 20\noptimizer: adamw\npeft_init_lora_weights: default\n"
        "peft_use_dora: false\npeft_use_rslora: false\npriority: 0\nprofile: f32\n"
        "prompt_tuning_init: sample_vocab\n"
        "random_init: false\nresources:\n  workers: 2\nrl: none\nrl_beta: 0.1\nsample_packing: "
        "false\nseed: 42\n"
        "sequence_len: 512\ntrain_on_inputs: false\nuse_tensorboard: false\nval_set_size: "
        "0.0\nweight_decay: 0.0\n";
    struct bytes text;
    bytes_init(&text, 1 << 20);
    recipe_write(&r, &text);
    bytes_append(&text, "", 1);
    assert_int_equal(bytes_status(&text), ERR_OK);
    assert_string_equal((const char *)text.data, expected);
    bytes_fini(&text);
    assert_round_trip(&r);
    recipe_fini(&r);
}

static uint64_t draw(uint64_t *state, uint64_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % bound;
}

/* A random recipe from lines that fit together. */
static void print_random(uint64_t seed, char *out, size_t out_bytes)
{
    static const char *const lines[][2] = {
        {"sequence_len: ", "\n"},
        {"micro_batch_size: ", "\n"},
        {"num_epochs: ", ".5\n"},
        {"warmup_steps: ", "\n"},
        {"save_steps: ", "\n"},
        {"logging_steps: ", "\n"},
        {"learning_rate: 0.", "\n"},
        {"weight_decay: 0.", "\n"},
        {"seed: ", "\n"},
        {"lora_dropout: 0.", "\n"},
        {"adam_epsilon: 3.", "e-9\n"},
        {"max_grad_norm: 1", "e-7\n"},
        {"priority: -", "\n"},
        {"name: \"n\\u00e9", " '\"\n"},
        {"chat_template: \"n\\n", "\\t'\"\n"},
        {"model_revision: \"", " # x\"\n"},
        {"eval_on_start: on # ", "\n"},
    };
    bool has_rate = false;
    uint64_t state = seed;
    int n = snprintf(out, out_bytes,
                     "base_model: m\ndatasets: [x y, {path: \"z:\", field: t}]\nadapter: lora\n"
                     "lora_r: 4\nlora_alpha: 1e-3\nlora_target_linear: true\n");
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        bool is_rate = strncmp(lines[i][0], "learning_rate", 13) == 0;
        if (!is_rate && draw(&state, 2) == 0)
            continue;
        has_rate |= is_rate;
        unsigned value = 2 + (unsigned)draw(&state, 900);
        n += snprintf(out + n, out_bytes - (size_t)n, "%s%u%s", lines[i][0], value, lines[i][1]);
    }
    assert_true(has_rate);
}

static void test_recipe__any_recipe_equals_what_its_canonical_text_gives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        char text[4096];
        print_random(seed, text, sizeof text);
        struct recipe r = read_text(text);
        assert_round_trip(&r);
        recipe_fini(&r);
    }
}

static void test_recipe__unequal_values_are_seen(void **state)
{
    (void)state;
    static const char *const changes[] = {"seed: 7\n",
                                          "name: x\n",
                                          "test_datasets: [x]\n",
                                          "sample_packing: true\n",
                                          "warmup_steps: 0\n",
                                          "resources: {threads: 1}\n",
                                          "lr_scheduler: linear\n",
                                          "priority: 1\n"};
    struct recipe base = read_text(BASE);
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "%s%s", BASE, changes[i]);
        struct recipe other = read_text(text);
        assert_false(recipe_equal(&base, &other));
        recipe_fini(&other);
    }
    recipe_fini(&base);
}

static void test_recipe__sizes_and_durations_have_units(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(recipe_value_size(TEXT("1.5k"), &value) && value == 1536);
    assert_true(recipe_value_size(TEXT("24 GiB"), &value) && value == 24ull << 30);
    assert_true(recipe_value_size(TEXT("4096"), &value) && value == 4096);
    assert_true(recipe_value_duration(TEXT("90s"), &value) && value == 90000);
    assert_true(recipe_value_duration(TEXT("2"), &value) && value == 2000);
    assert_true(recipe_value_duration(TEXT("1.5h"), &value) && value == 5400000);
    assert_false(recipe_value_size(TEXT("k"), &value));
    assert_false(recipe_value_size(TEXT("-1k"), &value));
    assert_false(recipe_value_duration(TEXT("3 weeks"), &value));
    assert_int_equal(value, 5400000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe__an_axolotl_file_reads_unchanged),
        cmocka_unit_test(test_recipe__scalars_are_read_by_the_type_of_their_key),
        cmocka_unit_test(test_recipe__names_of_other_trainers_are_read_with_a_notice),
        cmocka_unit_test(test_recipe__a_default_that_decides_much_is_said),
        cmocka_unit_test(test_recipe__batch_size_settles_the_other_two),
        cmocka_unit_test(test_recipe__flags_stand_above_the_file),
        cmocka_unit_test(test_recipe__steps_follow_from_rows_or_max_steps),
        cmocka_unit_test(test_recipe__paths_are_relative_to_its_file),
        cmocka_unit_test(test_recipe__keys_are_sorted),
        cmocka_unit_test(test_recipe__the_canonical_text_has_these_bytes),
        cmocka_unit_test(test_recipe__any_recipe_equals_what_its_canonical_text_gives),
        cmocka_unit_test(test_recipe__unequal_values_are_seen),
        cmocka_unit_test(test_recipe__sizes_and_durations_have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
