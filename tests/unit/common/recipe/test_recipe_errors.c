/* test_recipe_errors.c - what people get to read when a recipe is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe.h"

#define BASE     "base_model: m\ndatasets: [d.jsonl]\nlearning_rate: 1e-4\n"
#define LORA     BASE "adapter: lora\n"
#define QUANTIZE "base_model: m\ncalibration_datasets: [c.txt]\n"

struct bad_recipe {
    const char *text;
    enum err code;
    const char *message; /* whole */
};

static const struct bad_recipe bad_recipes[] = {
    {"", ERR_RECIPE, "r.yml: expected keys, found an empty document"},
    {"# nothing\n", ERR_RECIPE, "r.yml: expected keys, found an empty document"},
    {"just words\n", ERR_RECIPE,
     "r.yml:1:1: recipe: expected a mapping of keys, found \"just words\""},
    {"- a\n- b\n", ERR_RECIPE, "r.yml:1:1: recipe: expected a mapping of keys, found a list"},
    {"a: b: c\n", ERR_RECIPE,
     "r.yml:1:5: not YAML: mapping values are not allowed in this context"},
    {"a: [1, 2\n", ERR_RECIPE,
     "r.yml:2:1: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"},
    {"a: \"open\n", ERR_RECIPE,
     "r.yml:2:1: not YAML: found unexpected end of stream (while scanning a quoted scalar)"},
    {"\tname: x\n", ERR_RECIPE,
     "r.yml:1:1: not YAML: found character that cannot start any token (while scanning for the "
     "next "
     "token)"},
    {"name: \xff\xfe\n", ERR_RECIPE, "r.yml: not YAML: invalid leading UTF-8 octet at byte 6"},
    {BASE "---\nname: b\n", ERR_RECIPE,
     "r.yml:4:1: expected one document, found a second; one recipe a file"},
    {"name: &a x\n", ERR_RECIPE, "r.yml:1:7: anchors (&a) are not supported; write the value out"},
    {"name: *a\n", ERR_RECIPE, "r.yml:1:7: aliases (*a) are not supported; write the value out"},
    {"seed: !!int 3\n", ERR_RECIPE,
     "r.yml:1:7: tags (tag:yaml.org,2002:int) are not supported; types follow from the key"},
    {"<<: {a: b}\n", ERR_RECIPE,
     "r.yml:1:1: merge keys (<<) are not supported; write the keys out"},
    {"? [a]\n: b\n", ERR_RECIPE, "r.yml:1:3: expected a key, found a list or a mapping"},
    {"name: \"a\\0b\"\n", ERR_RECIPE, "r.yml:1:7: expected text without NUL characters"},
    {"seed: 1\nname: x\nseed: 2\n", ERR_RECIPE,
     "r.yml:3:1: seed: given twice, first on line 1; remove one"},
    {"a: [[[[[[[[[[1]]]]]]]]]]\n", ERR_LIMIT, "r.yml:1:11: expected at most 8 levels of nesting"},
    {BASE "learnin_rate: 1e-4\n", ERR_RECIPE,
     "r.yml:4:1: learnin_rate: unknown key; did you mean learning_rate?"},
    {BASE "lora_rnk: 8\n", ERR_RECIPE, "r.yml:4:1: lora_rnk: unknown key; did you mean lora_rank?"},
    {BASE "zzzzzzzz: 8\n", ERR_RECIPE, "r.yml:4:1: zzzzzzzz: unknown key"},
    {BASE "seed: twelve\n", ERR_RECIPE,
     "r.yml:4:7: seed: expected a whole number, found \"twelve\""},
    {BASE "seed: 1.5\n", ERR_RECIPE, "r.yml:4:7: seed: expected a whole number, found \"1.5\""},
    {BASE "seed: -1\n", ERR_RECIPE, "r.yml:4:7: seed: expected a whole number, found \"-1\""},
    {BASE "priority: [1]\n", ERR_RECIPE, "r.yml:4:11: priority: expected one value, found a list"},
    {BASE "seed: 99999999999999999999999\n", ERR_RECIPE,
     "r.yml:4:7: seed: expected a whole number, found \"99999999999999999999999\""},
    {BASE "seed: 1__0\n", ERR_RECIPE, "r.yml:4:7: seed: expected a whole number, found \"1__0\""},
    {BASE "weight_decay: nan\n", ERR_RECIPE,
     "r.yml:4:15: weight_decay: expected a number, found \"nan\""},
    {BASE "weight_decay: 1e999\n", ERR_RECIPE,
     "r.yml:4:15: weight_decay: expected a number, found \"1e999\""},
    {BASE "weight_decay: 0x1p3\n", ERR_RECIPE,
     "r.yml:4:15: weight_decay: expected a number, found \"0x1p3\""},
    {BASE "weight_decay: 2\n", ERR_RECIPE,
     "r.yml:4:15: weight_decay: expected a number from 0.0 to 1.0, found \"2\""},
    {BASE "micro_batch_size: 0\n", ERR_RECIPE,
     "r.yml:4:19: micro_batch_size: expected a whole number from 1 to 1048576, found \"0\""},
    {BASE "name: ''\n", ERR_RECIPE, "r.yml:4:1: name: expected 1 to 256 bytes"},
    {BASE "name: \"a\\nb\"\n", ERR_RECIPE,
     "r.yml:4:1: name: expected one line without control characters"},
    {BASE "output_dir: ''\n", ERR_RECIPE,
     "r.yml:4:1: output_dir: expected a folder, found an empty text"},
    {BASE "sample_packing: maybe\n", ERR_RECIPE,
     "r.yml:4:17: sample_packing: expected true or false, found \"maybe\""},
    {BASE "adapter: lore\n", ERR_RECIPE,
     "r.yml:4:10: adapter: expected one of none, lora, qlora, houlsby, pfeiffer, parallel, "
     "prompt_tuning, found \"lore\"; did you mean lora?"},
    {BASE "lr_scheduler: rex\n", ERR_RECIPE,
     "r.yml:4:15: lr_scheduler: expected one of cosine, linear, constant, found \"rex\""},
    {BASE "base_model: n\n", ERR_RECIPE,
     "r.yml:4:1: base_model: given twice, first on line 1; remove one"},
    {BASE "model_name_or_path: n\n", ERR_RECIPE,
     "r.yml:4:1: model_name_or_path: means the same as base_model on line 1; remove one"},
    {BASE "needs: a\n", ERR_UNSUPPORTED,
     "r.yml:4:1: needs: known from other trainers, but not supported here; remove it"},
    {BASE "load_in_4bit: true\n", ERR_RECIPE,
     "r.yml:4:1: load_in_4bit: excludes adapter: none; only an adapter trains on a quantized base"},
    {LORA "load_in_4bit: true\nload_in_8bit: true\n", ERR_RECIPE,
     "r.yml:6:1: load_in_8bit: excludes load_in_4bit; give one of them"},
    {BASE "adapter: qlora\nlora_r: 2\nlora_alpha: 2\nload_in_8bit: true\n", ERR_RECIPE,
     "r.yml:7:1: load_in_8bit: excludes adapter: qlora, whose base has 4 bits; say load_in_4bit, "
     "or adapter: lora"},
    {BASE "adapter: qlora\nlora_r: 2\nlora_alpha: 2\nload_in_4bit: no\n", ERR_RECIPE,
     "r.yml:7:1: load_in_4bit: false excludes adapter: qlora; say true, or adapter: lora"},
    {LORA "load_in_4bit: true\nqat: int4\n", ERR_RECIPE,
     "r.yml:5:1: load_in_4bit: excludes qat, which quantizes a base that has all its bits; remove "
     "one"},
    {BASE "adapter: qlora\nlora_r: 2\nlora_alpha: 2\nqat: int4\n", ERR_RECIPE,
     "r.yml:4:1: adapter: qlora excludes qat, which quantizes a base that has all its bits; remove "
     "one"},
    {LORA "peft_init_lora_weights: loftq\n", ERR_RECIPE,
     "r.yml:5:1: peft_init_lora_weights: loftq needs load_in_4bit: true, whose error it starts "
     "from"},
    {BASE "peft_use_dora: true\n", ERR_RECIPE,
     "r.yml:4:1: peft_use_dora: needs adapter: lora; add that or remove this"},
    {LORA "adapter_scaling: 4\n", ERR_RECIPE,
     "r.yml:5:1: adapter_scaling: needs adapter: houlsby, pfeiffer or parallel; add that or remove "
     "this"},
    {BASE "adapter: prompt_tuning\nprompt_tuning_init: text\n", ERR_RECIPE,
     "r.yml:5:1: prompt_tuning_init: text needs prompt_tuning_init_text: the text to start from"},
    {BASE "qat: {group_size: 32}\n", ERR_RECIPE,
     "r.yml:4:1: qat: weight_dtype is required (int4, int8, ternary, or a GGUF type such as q4_0)"},
    {BASE "qat: {weight_dtype: q4_0, group_size: 32}\n", ERR_RECIPE,
     "r.yml:4:1: qat: group_size goes with weight_dtype: int4, int8"},
    {BASE "qat: q4_0\nquantize: Q4_0\n", ERR_RECIPE,
     "r.yml:4:1: qat: excludes quantize; its result is quantized already"},
    {LORA "quantize: Q4_0\n", ERR_RECIPE,
     "r.yml:5:1: quantize: needs merge: full or dequantized with an adapter; it quantizes what it "
     "is merged into"},
    {BASE "adapter: houlsby\nmerge: full\n", ERR_RECIPE,
     "r.yml:5:1: merge: needs adapter: lora; bottleneck adapters and prompts cannot be merged"},
    {BASE "rl_beta: 0.2\n", ERR_RECIPE,
     "r.yml:4:1: rl_beta: needs rl: dpo; add that or remove this"},
    {BASE "rl: dpo\nsample_packing: true\n", ERR_RECIPE,
     "r.yml:5:1: sample_packing: excludes rl: dpo, whose rows are pairs; remove one"},
    {BASE "test_datasets: [{path: x, type: preference}]\n", ERR_RECIPE,
     "r.yml:4:1: test_datasets: type: preference needs rl: dpo; add that or change the type"},
    {BASE "strict: true\nflash_attention: true\n", ERR_RECIPE,
     "r.yml:5:1: flash_attention: has no effect here, and the recipe says strict: true; remove it"},
    {BASE "strict: perhaps\n", ERR_RECIPE,
     "r.yml:4:9: strict: expected true or false, found \"perhaps\""},
    {BASE "test_datasets: {path: x}\n", ERR_RECIPE,
     "r.yml:4:16: test_datasets: expected a list (put \"- \" before the first key), found a "
     "mapping"},
    {BASE "test_datasets: [{type: alpaca}]\n", ERR_RECIPE,
     "r.yml:4:1: test_datasets: entry 1 has no path; give the file to read"},
    {BASE "test_datasets: [{path: x, typ: alpaca}]\n", ERR_RECIPE,
     "r.yml:4:27: typ: unknown key; did you mean type?"},
    {BASE "test_datasets: [{path: x, type: sharegpt}]\n", ERR_RECIPE,
     "r.yml:4:33: type: expected one of auto, completion, alpaca, chat_template, "
     "prompt_completion, input_output, preference, found \"sharegpt\""},
    {BASE "test_datasets: [{path: x, roles: {a: b}}]\n", ERR_UNSUPPORTED,
     "r.yml:4:27: roles: known from other trainers, but not supported here; remove it"},
    {BASE "test_datasets: [{path: [x]}]\n", ERR_RECIPE,
     "r.yml:4:24: path: expected one value, found a list"},
    {BASE "lora_target_modules: {q: true}\n", ERR_RECIPE,
     "r.yml:4:22: lora_target_modules: expected a list of strings, found a mapping"},
    {BASE "lora_target_modules: [[q]]\n", ERR_RECIPE,
     "r.yml:4:23: lora_target_modules: expected a string, found a list"},
    {BASE "lora_target_modules: \"q,,v\"\n", ERR_RECIPE,
     "r.yml:4:22: lora_target_modules: expected words between commas, found \"q,,v\""},
    {BASE "resources: {memory: lots}\n", ERR_RECIPE,
     "r.yml:4:21: memory: expected a size such as 24GiB or 512M, found \"lots\""},
    {BASE "resources: 4\n", ERR_RECIPE,
     "r.yml:4:12: resources: expected a mapping of keys, found \"4\""},
    {BASE "warmup_steps: 3\nwarmup_ratio: 0.1\n", ERR_RECIPE,
     "r.yml:5:1: warmup_ratio: excludes warmup_steps (line 4); give one of them"},
    {BASE "save_steps: 3\nsaves_per_epoch: 1\n", ERR_RECIPE,
     "r.yml:5:1: saves_per_epoch: excludes save_steps (line 4); give one of them"},
    {BASE "batch_size: 10\nmicro_batch_size: 4\n", ERR_RECIPE,
     "r.yml:4:1: batch_size: expected micro_batch_size x gradient_accumulation_steps, found 10 "
     "with a micro_batch_size of 4; leave batch_size out"},
    {BASE "lora_r: 8\n", ERR_RECIPE,
     "r.yml:4:1: lora_r: needs adapter: lora; add that or remove this"},
    {BASE "lr_scheduler: linear\ncosine_min_lr_ratio: 0.1\n", ERR_RECIPE,
     "r.yml:5:1: cosine_min_lr_ratio: needs lr_scheduler: cosine"},
    {BASE "val_set_size: 0.1\ntest_datasets: [t]\n", ERR_RECIPE,
     "r.yml:4:1: val_set_size: excludes test_datasets; give one of them"},
    {BASE "perplexity: windows\n", ERR_RECIPE,
     "r.yml:4:1: perplexity: needs test_datasets; what is held out of training data are samples"},
    {BASE "perplexity: llama.cpp\nsequence_len: 2\ntest_datasets: [t]\n", ERR_RECIPE,
     "r.yml:5:1: sequence_len: expected at least 3: perplexity: llama.cpp scores the second half "
     "of a window"},
    {BASE "val_set_size: 1.5\n", ERR_RECIPE,
     "r.yml:4:1: val_set_size: expected a part below 1 or a whole number of samples"},
    {LORA "lora_alpha: 16\n", ERR_RECIPE,
     "r.yml: lora_r: is required with adapter: lora (8 and 16 are usual)"},
    {LORA "lora_r: 16\n", ERR_RECIPE,
     "r.yml: lora_alpha: is required with adapter: lora (lora_r or twice that is usual)"},
    {LORA "lora_r: 1\nlora_alpha: 1\nlora_target_linear: yes\nlora_target_modules: [q_proj]\n",
     ERR_RECIPE, "r.yml:7:1: lora_target_linear: excludes lora_target_modules; give one of them"},
    {LORA "base_model_name: ../models/m\n", ERR_RECIPE,
     "r.yml:5:1: base_model_name: is a name that means the same elsewhere (owner/name of a hub), "
     "not a path"},
    {LORA "random_init: true\n", ERR_RECIPE,
     "r.yml:5:1: random_init: excludes adapter; a random model has nothing to adapt"},
    {QUANTIZE "quantize: {scheme: Q4_0, method: gptq}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: method goes with a scheme of compressed-tensors (W4A16, W8A8, ...); "
     "change one of them"},
    {QUANTIZE "quantize: {scheme: Q4_0, activations: static}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: activations goes with a scheme of compressed-tensors (W4A16, W8A8, "
     "...); change one of them"},
    {QUANTIZE "quantize: {scheme: Q4_0, ignore: [lm_head]}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: ignore goes with a scheme of a folder (W4A16, W8A8, NF4, ...); change "
     "one of them"},
    {QUANTIZE "quantize: {scheme: NF4, group_size: 32}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: group_size goes with a scheme of compressed-tensors (W4A16, W8A8, "
     "...); change one of them"},
    {QUANTIZE "quantize: {scheme: W4A16, tensor_type: {ffn_down: Q6_K}}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: tensor_type goes with a GGUF type (Q4_K_M, ...); change one of them"},
    {QUANTIZE "quantize: {scheme: W4A16, double_quant: false}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: double_quant goes with scheme: NF4; change one of them"},
    {QUANTIZE "quantize: {scheme: W4A16, dampening_frac: 0.1}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: dampening_frac goes with method: gptq; change one of them"},
    {QUANTIZE "quantize: {scheme: W8A8, observer: entropy}\n", ERR_RECIPE,
     "r.yml:3:1: quantize: observer goes with activations: static; change one of them"},
    {"base_model: m\nquantize: {scheme: Q4_0, samples: 3}\n", ERR_RECIPE,
     "r.yml:2:1: quantize: samples goes with calibration_datasets; change one of them"},
    {"base_model: m\nrandom_init: true\nquantize: {scheme: Q8_0}\n", ERR_RECIPE,
     "r.yml:2:1: random_init: needs datasets; a random model is trained before it is quantized"},
    {"datasets: [d]\nlearning_rate: 1\n", ERR_RECIPE,
     "r.yml: base_model: is required: the folder of the model"},
    {"base_model: m\nlearning_rate: 1\n", ERR_RECIPE,
     "r.yml: datasets: is required: the files to train on"},
    {"base_model: m\ndatasets: [d]\n", ERR_RECIPE,
     "r.yml: learning_rate: is required for training (1e-4 to 3e-4 is usual for LoRA); there is no "
     "default"},
    {BASE "num_epochs: 0\n", ERR_RECIPE, "r.yml:4:1: num_epochs: expected more than 0"},
    {"base_model: m\nevaluate: only\n", ERR_RECIPE,
     "r.yml:2:1: evaluate: only evaluates, but there is no held-out data; give test_datasets"},
};

static enum err read_text(const char *text, struct recipe *recipe, struct err_text *et)
{
    const struct recipe_options options = {.file_name = "r.yml"};
    return recipe_read(span_of_text(text_of(text)), &options, recipe, et);
}

static void test_recipe__every_mistake_has_its_place_and_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad_recipes); i++) {
        struct recipe recipe;
        struct err_text et = {{0}};
        enum err err = read_text(bad_recipes[i].text, &recipe, &et);
        if (err != bad_recipes[i].code)
            fail_msg("recipe %zu: expected %s, found %s: %s\n%s", i,
                     error_name(bad_recipes[i].code), error_name(err), et.text,
                     bad_recipes[i].text);
        assert_string_equal(et.text, bad_recipes[i].message);
    }
}

static void test_recipe__a_mistake_on_the_command_line_names_the_flag(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        enum err code;
        const char *message;
    } rows[] = {
        {"seed", ERR_USAGE, "--set seed: expected KEY=VALUE"},
        {"=1", ERR_USAGE, "--set =1: expected KEY=VALUE"},
        {"sed=1", ERR_RECIPE, "--set:1:1: sed: unknown key; did you mean seed?"},
        {"seed=x", ERR_RECIPE, "--set:1:7: seed: expected a whole number, found \"x\""},
        {"val-set-size=1.5", ERR_RECIPE,
         "--set val_set_size: expected a part below 1 or a whole number of samples"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct recipe_options options = {"r.yml", &rows[i].set, 1};
        struct recipe recipe;
        struct err_text et = {{0}};
        enum err err = recipe_read(span_of_text(text_of(BASE)), &options, &recipe, &et);
        assert_int_equal(err, rows[i].code);
        assert_string_equal(et.text, rows[i].message);
    }
}

static void test_recipe__memory_may_end_anywhere(void **state)
{
    (void)state;
    const char *text = LORA "lora_rank: 8\nlora_alpha: 16\nlora_target: all\nwandb_project: x\n";
    size_t failures = 0;
    for (size_t n = 1;; n++) {
        struct recipe recipe;
        struct err_text et = {{0}};
        (void)mem_fault_after(n);
        enum err err = read_text(text, &recipe, &et);
        (void)mem_fault_after(0);
        if (err == ERR_OK) {
            recipe_fini(&recipe);
            break;
        }
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        failures++;
    }
    assert_true(failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe__every_mistake_has_its_place_and_its_words),
        cmocka_unit_test(test_recipe__a_mistake_on_the_command_line_names_the_flag),
        cmocka_unit_test(test_recipe__memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
