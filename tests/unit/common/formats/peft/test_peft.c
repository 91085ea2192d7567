/* test_peft.c - the adapter folder byte for byte, what readers accept, what the verifier finds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_verify.h"
#include "common/formats/peft/peft_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

static const struct text targets[] = {{"v_proj", 6}, {"q_proj", 6}};

static const struct peft_config config = {
    .base_model = {"owner/base", 10},
    .revision = {"abc", 3},
    .r = 2,
    .lora_alpha = 4.0,
    .lora_dropout = 0.05,
    .target_modules = targets,
    .target_count = 2,
};

static const char expected_config[] = "{\n"
                                      "  \"alpha_pattern\": {},\n"
                                      "  \"auto_mapping\": null,\n"
                                      "  \"base_model_name_or_path\": \"owner/base\",\n"
                                      "  \"bias\": \"none\",\n"
                                      "  \"fan_in_fan_out\": false,\n"
                                      "  \"inference_mode\": true,\n"
                                      "  \"init_lora_weights\": true,\n"
                                      "  \"layer_replication\": null,\n"
                                      "  \"layers_pattern\": null,\n"
                                      "  \"layers_to_transform\": null,\n"
                                      "  \"loftq_config\": {},\n"
                                      "  \"lora_alpha\": 4,\n"
                                      "  \"lora_dropout\": 0.05,\n"
                                      "  \"megatron_config\": null,\n"
                                      "  \"megatron_core\": \"megatron.core\",\n"
                                      "  \"modules_to_save\": null,\n"
                                      "  \"peft_type\": \"LORA\",\n"
                                      "  \"r\": 2,\n"
                                      "  \"rank_pattern\": {},\n"
                                      "  \"revision\": \"abc\",\n"
                                      "  \"target_modules\": [\n"
                                      "    \"q_proj\",\n"
                                      "    \"v_proj\"\n"
                                      "  ],\n"
                                      "  \"task_type\": \"CAUSAL_LM\",\n"
                                      "  \"use_dora\": false,\n"
                                      "  \"use_rslora\": false\n"
                                      "}\n";

static void test_peft_config__every_key_is_written_in_order(void **state)
{
    (void)state;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    assert_int_equal(peft_config_print(&config, &out), ERR_OK);
    assert_int_equal(out.size, sizeof expected_config - 1);
    assert_memory_equal(out.data, expected_config, out.size);
    bytes_fini(&out);
}

static enum err parse(const char *text, struct arena *arena, struct peft_config *c,
                      struct err_text *et)
{
    return peft_config_parse(c, span_of_text(text_of(text)), "adapter_config.json", arena, et);
}

static void test_peft_config__patterns_and_rslora_decide_rank_alpha_and_scale(void **state)
{
    (void)state;
    struct arena arena;
    struct peft_config c;
    arena_init(&arena, 1 << 16);
    assert_int_equal(parse("{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8,\"target_modules\":["
                           "\"q_proj\"],\"rank_pattern\":{\"layers.1.q_proj\":16},"
                           "\"alpha_pattern\":{\"k_proj\":2.5},\"use_rslora\":true}",
                           &arena, &c, NULL),
                     ERR_OK);
    assert_int_equal(peft_config_rank_of(&c, TEXT("model.layers.1.q_proj")), 16);
    assert_int_equal(peft_config_rank_of(&c, TEXT("model.layers.11.q_proj")), 4);
    assert_int_equal(peft_config_rank_of(&c, TEXT("layers.1.q_proj")), 16);
    assert_int_equal(peft_config_rank_of(&c, TEXT("xlayers.1.q_proj")), 4);
    assert_true(peft_config_scale_of(&c, TEXT("model.layers.1.q_proj")) == 2.0);
    assert_true(peft_config_scale_of(&c, TEXT("k_proj")) == 1.25);
    c.use_rslora = false;
    assert_true(peft_config_scale_of(&c, TEXT("model.layers.1.q_proj")) == 0.5);
    arena_fini(&arena);
}

static void test_peft_config__what_is_not_ours_to_read_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        const char *message;
    } rows[] = {
        {"{}", ERR_FORMAT, "adapter_config.json: peft_type: expected a text, found nothing"},
        {"{\"peft_type\":\"IA3\"}", ERR_UNSUPPORTED,
         "adapter_config.json: peft_type: expected LORA, found IA3"},
        {"{\"peft_type\":\"LORA\",\"bias\":\"all\"}", ERR_UNSUPPORTED,
         "adapter_config.json: bias: expected none, found all"},
        {"{\"peft_type\":\"LORA\",\"lora_bias\":true}", ERR_UNSUPPORTED,
         "adapter_config.json: lora_bias: expected false, found true"},
        {"{\"peft_type\":\"LORA\",\"r\":0}", ERR_FORMAT,
         "adapter_config.json: r: expected an integer from 1 to 65536, found 0"},
        {"{\"peft_type\":\"LORA\",\"lora_dropout\":1.0}", ERR_FORMAT,
         "adapter_config.json: lora_dropout: expected a probability from 0 up to 1, found 1"},
        {"{\"peft_type\":\"LORA\"}", ERR_FORMAT,
         "adapter_config.json: target_modules: expected a list of module names or one expression, "
         "found nothing"},
        {"{\"peft_type\":\"LORA\",\"target_modules\":[7]}", ERR_FORMAT,
         "adapter_config.json: target_modules[0]: expected a text, found 7"},
        {"{\"peft_type\":\"LORA\",\"target_modules\":[],\"rank_pattern\":{\"a.b\":0}}", ERR_FORMAT,
         "adapter_config.json: rank_pattern.a.b: expected a whole number from 1 to 65536, found 0"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena arena;
        struct peft_config c = {.r = 77};
        struct err_text et = {{0}};
        arena_init(&arena, 1 << 16);
        assert_int_equal(parse(rows[i].text, &arena, &c, &et), rows[i].err);
        assert_string_equal(et.text, rows[i].message);
        assert_int_equal(c.r, 77);
        arena_fini(&arena);
    }
}

static void test_peft_config__every_allocation_may_fail(void **state)
{
    (void)state;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct arena arena;
        struct bytes out;
        struct peft_config c;
        arena_init(&arena, 1 << 20);
        bytes_init(&out, 1 << 16);
        (void)mem_fault_after(n);
        err = parse(expected_config, &arena, &c, NULL);
        if (err == ERR_OK)
            err = peft_config_print(&c, &out);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true(n < 100);
        bytes_fini(&out);
        arena_fini(&arena);
    }
}

/* A folder with an adapter of two modules, and the base weights that it fits. */
struct fixture {
    char folder[32];
    float values[32];
    struct safetensor tensors[4];
    struct safetensor base_tensors[2];
    struct safetensors base;
    struct peft_card card;
    struct peft_content content;
};

static struct safetensor matrix(struct fixture *f, const char *name, uint64_t rows,
                                uint64_t columns)
{
    return (struct safetensor){.name = text_of(name),
                               .dtype = SAFETENSORS_F32,
                               .rank = 2,
                               .shape = {rows, columns},
                               .data = {(const uint8_t *)f->values, rows * columns * 4}};
}

#define Q "base_model.model.model.layers.0.self_attn.q_proj"
#define V "base_model.model.model.layers.0.self_attn.v_proj"

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    memcpy(f->folder, "/tmp/qfleet-test-XXXXXX", sizeof "/tmp/qfleet-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (size_t i = 0; i < COUNT_OF(f->values); i++)
        f->values[i] = (float)i * 0.25f;
    f->tensors[0] = matrix(f, Q ".lora_A.weight", 2, 4);
    f->tensors[1] = matrix(f, Q ".lora_B.weight", 6, 2);
    f->tensors[2] = matrix(f, V ".lora_A.weight", 2, 4);
    f->tensors[3] = matrix(f, V ".lora_B.weight", 3, 2);
    f->base_tensors[0] = matrix(f, "model.layers.0.self_attn.q_proj.weight", 6, 4);
    f->base_tensors[1] = matrix(f, "model.layers.0.self_attn.v_proj.weight", 3, 4);
    f->base.tensors = f->base_tensors;
    f->base.count = 2;
    f->card = (struct peft_card){.title = TEXT("a name"), .config = &config};
    f->content = (struct peft_content){&config, f->tensors, 4, &f->card};
}

static void fixture_fini(struct fixture *f)
{
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, 1 << 20);
    assert_int_equal(folder_list(f->folder, &arena, &listing, NULL), ERR_OK);
    for (size_t i = 0; i < listing.count; i++)
        assert_int_equal(unlink(folder_join(&arena, f->folder, listing.entries[i].name)), 0);
    assert_int_equal(rmdir(f->folder), 0);
    arena_fini(&arena);
}

static void put(const struct fixture *f, const char *name, struct span content)
{
    struct arena arena;
    arena_init(&arena, 4096);
    assert_int_equal(file_write_atomic(folder_join(&arena, f->folder, name), content, NULL),
                     ERR_OK);
    arena_fini(&arena);
}

static void test_peft_write__a_written_folder_passes_the_strict_check_and_reads_back(void **state)
{
    (void)state;
    struct fixture f;
    struct err_text et = {{0}};
    fixture_init(&f);
    assert_int_equal(peft_write_folder(f.folder, &f.content, &et), ERR_OK);
    if (peft_verify_folder(f.folder, &f.base, &et) != ERR_OK)
        fail_msg("%s", et.text);
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, 1 << 16);
    assert_int_equal(folder_list(f.folder, &arena, &listing, NULL), ERR_OK);
    assert_int_equal(listing.count, 3);
    arena_fini(&arena);
    struct peft_adapter adapter;
    assert_int_equal(peft_adapter_open(&adapter, f.folder, &et), ERR_OK);
    assert_int_equal(adapter.count, 2);
    assert_true(text_is(adapter.modules[0].name, "model.layers.0.self_attn.q_proj"));
    assert_int_equal(adapter.modules[0].in, 4);
    assert_int_equal(adapter.modules[0].out, 6);
    assert_int_equal(adapter.modules[1].rank, 2);
    assert_true(adapter.modules[1].scale == 2.0);
    assert_true(span_equal(adapter.modules[1].b->data, f.tensors[3].data));
    peft_adapter_close(&adapter);
    fixture_fini(&f);
}

/* Breaks one thing in a good folder; the verifier must say which. */
static void expect_deviation(struct fixture *f, enum err err, const char *message_part)
{
    struct err_text et = {{0}};
    assert_int_equal(peft_verify_folder(f->folder, &f->base, &et), err);
    if (strstr(et.text, message_part) == NULL)
        fail_msg("expected ...%s..., found %s", message_part, et.text);
}

static void rewrite(struct fixture *f, const struct peft_config *changed)
{
    f->content.config = changed;
    f->card.config = changed;
    assert_int_equal(peft_write_folder(f->folder, &f->content, NULL), ERR_OK);
}

static void test_peft_verify__configs_that_deviate_are_named(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct peft_config changed = config;
    changed.base_model = (struct text){0};
    rewrite(&f, &changed);
    expect_deviation(&f, ERR_FORMAT, "base_model_name_or_path: expected the base model's name");
    changed.base_model = TEXT("/scratch/base");
    rewrite(&f, &changed);
    expect_deviation(&f, ERR_FORMAT, "found the path /scratch/base");
    changed = config;
    changed.target_count = 1;
    rewrite(&f, &changed);
    expect_deviation(&f, ERR_FORMAT,
                     "module model.layers.0.self_attn.q_proj is not among target_modules");
    const struct text three[] = {targets[0], targets[1], TEXT("up_proj")};
    changed = config;
    changed.target_modules = three;
    changed.target_count = 3;
    rewrite(&f, &changed);
    expect_deviation(&f, ERR_FORMAT, "target_modules: up_proj has no tensors");
    changed = config;
    changed.r = 4;
    rewrite(&f, &changed);
    expect_deviation(&f, ERR_SHAPE,
                     "expected rank 4 (adapter_config.json) in dimension 0, found 2");
    rewrite(&f, &config);
    char text[sizeof expected_config];
    memcpy(text, expected_config, sizeof text);
    *strstr(text, "0.05,\n") = '.'; /* no JSON any more */
    put(&f, PEFT_ADAPTER_CONFIG_FILE, span_of_text(text_of(text)));
    expect_deviation(&f, ERR_FORMAT, "adapter_config.json:14:19: not valid JSON");
    const char spaced[] = "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":["
                          "\"q_proj\",\"v_proj\"],\"base_model_name_or_path\":\"owner/base\"}";
    put(&f, PEFT_ADAPTER_CONFIG_FILE, span_of_text(text_of(spaced)));
    expect_deviation(&f, ERR_FORMAT, "adapter_config.json:1: byte 1 is not what the writer prints");
    fixture_fini(&f);
}

static void test_peft_verify__tensors_that_deviate_are_named(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.content.tensor_count = 3;
    rewrite(&f, &config);
    expect_deviation(&f, ERR_FORMAT,
                     V ".lora_A.weight: its other half (.lora_B.weight) is missing");
    f.content.tensor_count = 4;
    f.tensors[3].name = TEXT("base_model.model.lm_head.weight");
    rewrite(&f, &config);
    expect_deviation(&f, ERR_UNSUPPORTED, "tensor base_model.model.lm_head.weight: expected");
    f.tensors[3] = matrix(&f, V ".lora_B.weight", 5, 2);
    rewrite(&f, &config);
    expect_deviation(&f, ERR_SHAPE, "expected out 3 and in 4 as in the base model, found 5 and 4");
    f.tensors[3] = matrix(&f, V ".lora_B.weight", 3, 2);
    f.values[3] = NAN;
    rewrite(&f, &config);
    expect_deviation(&f, ERR_NOT_FINITE, Q ".lora_A.weight: element 3 is not finite");
    f.values[3] = 0.0f;
    struct peft_config turned = config;
    turned.fan_in_fan_out = true;
    rewrite(&f, &turned);
    expect_deviation(&f, ERR_SHAPE, "expected out 4 and in 6 as in the base model, found 6 and 4");
    rewrite(&f, &config);
    f.base.count = 1;
    expect_deviation(&f, ERR_FORMAT, "the base model has no matrix");
    f.base.count = 2;
    struct bytes out;
    bytes_init(&out, 1 << 16);
    const struct safetensors_content bare = {.tensors = f.tensors, .count = 4};
    assert_int_equal(safetensors_write(&bare, file_sink_bytes, &out), ERR_OK);
    put(&f, PEFT_ADAPTER_WEIGHTS_FILE, bytes_span(&out));
    expect_deviation(&f, ERR_FORMAT, "__metadata__: expected {\"format\": \"pt\"}");
    bytes_fini(&out);
    fixture_fini(&f);
}

static void test_peft_verify__cards_that_deviate_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *card;
        const char *message;
    } rows[] = {
        {"", "expected front matter between lines of ---"},
        {"# title\n", "expected front matter between lines of ---"},
        {"---\n---\n", "front matter: expected base_model as in adapter_config.json"},
        {"---\nbase_model: other/base\n---\n", "expected base_model as in adapter_config.json"},
        {"---\nbase_model: owner/base\n---\n", "front matter: expected library_name: peft"},
        {"---\nbase_model: \"owner/base\"\nlibrary_name: peft\n---\n",
         "front matter: expected tags"},
    };
    struct fixture f;
    fixture_init(&f);
    rewrite(&f, &config);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put(&f, PEFT_ADAPTER_CARD_FILE, span_of_text(text_of(rows[i].card)));
        expect_deviation(&f, ERR_FORMAT, rows[i].message);
    }
    fixture_fini(&f);
}

static void test_peft_verify__every_allocation_may_fail(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    rewrite(&f, &config);
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct err_text et = {{0}};
        (void)mem_fault_after(n);
        err = peft_verify_folder(f.folder, &f.base, &et);
        (void)mem_fault_after(0);
        if (err != ERR_OK && err != ERR_OUT_OF_MEMORY)
            fail_msg("allocation %zu: %s", n, et.text);
        assert_true(n < 200);
    }
    fixture_fini(&f);
}

static void test_peft_card__front_matter_is_yaml_whatever_the_names_hold(void **state)
{
    (void)state;
    struct bytes out;
    struct peft_config odd = config;
    const struct text datasets[] = {TEXT("owner/data"), TEXT("no"), TEXT("- a: \"b\"")};
    const struct peft_card_fact facts[] = {{TEXT("eval | loss"), TEXT("1.5\n2")}};
    odd.base_model = TEXT("base: #1");
    const struct peft_card card = {.title = TEXT("t"),
                                   .config = &odd,
                                   .datasets = datasets,
                                   .dataset_count = 3,
                                   .facts = facts,
                                   .fact_count = 1,
                                   .recipe = TEXT("a: 1")};
    bytes_init(&out, 1 << 16);
    assert_int_equal(peft_card_print(&card, &out), ERR_OK);
    bytes_append(&out, "", 1);
    const char *text = (const char *)out.data;
    const char front[] = "---\n"
                         "base_model: \"base: #1\"\n"
                         "base_model_relation: adapter\n"
                         "datasets:\n"
                         "- owner/data\n"
                         "- \"no\"\n"
                         "- \"- a: \\\"b\\\"\"\n"
                         "library_name: peft\n"
                         "pipeline_tag: text-generation\n"
                         "tags:\n- lora\n- peft\n- qfleet\n"
                         "---\n";
    assert_memory_equal(text, front, sizeof front - 1);
    assert_non_null(strstr(text, "| eval \\| loss | 1.5 2 |\n"));
    assert_non_null(strstr(text, "````yaml\na: 1\n````\n"));
    bytes_fini(&out);
}

static void test_peft_adapter__an_adapter_of_peft_itself_is_read(void **state)
{
    (void)state;
    const char *data = getenv("QFLEET_DATA");
    struct arena arena;
    struct err_text et = {{0}};
    arena_init(&arena, 4096);
    char *folder =
        folder_join(&arena, data != NULL ? data : "../shared/data", "adapters/gpt-neo-125m-movies");
    if (!folder_exists(folder)) {
        print_message("skipped: %s is not there\n", folder);
        arena_fini(&arena);
        skip();
    }
    struct peft_adapter adapter;
    if (peft_adapter_open(&adapter, folder, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(adapter.count, 24);
    assert_int_equal(adapter.config.target_count, 2);
    assert_true(text_is(adapter.config.base_model, "EleutherAI/gpt-neo-125M"));
    for (size_t i = 0; i < adapter.count; i++) {
        assert_int_equal(adapter.modules[i].rank, 8);
        assert_int_equal(adapter.modules[i].in, 768);
        assert_int_equal(adapter.modules[i].out, 768);
        assert_true(adapter.modules[i].scale == 2.0);
    }
    peft_adapter_close(&adapter);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peft_config__every_key_is_written_in_order),
        cmocka_unit_test(test_peft_config__patterns_and_rslora_decide_rank_alpha_and_scale),
        cmocka_unit_test(test_peft_config__what_is_not_ours_to_read_is_refused),
        cmocka_unit_test(test_peft_config__every_allocation_may_fail),
        cmocka_unit_test(test_peft_write__a_written_folder_passes_the_strict_check_and_reads_back),
        cmocka_unit_test(test_peft_verify__configs_that_deviate_are_named),
        cmocka_unit_test(test_peft_verify__tensors_that_deviate_are_named),
        cmocka_unit_test(test_peft_verify__cards_that_deviate_are_named),
        cmocka_unit_test(test_peft_verify__every_allocation_may_fail),
        cmocka_unit_test(test_peft_card__front_matter_is_yaml_whatever_the_names_hold),
        cmocka_unit_test(test_peft_adapter__an_adapter_of_peft_itself_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
