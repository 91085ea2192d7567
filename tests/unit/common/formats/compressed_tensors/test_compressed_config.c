/* test_compressed_config.c - quantization_config written, read, refused, and layers found in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/formats/json/json_read.h"

static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct text linear_class[] = {{"Linear", 6}};
static const struct text head[] = {{"lm_head", 7}};

static void test_compressed_config__is_what_readers_expect(void **state)
{
    struct compressed_config_group group = {.targets = linear_class, .target_count = 1};
    const struct compressed_config config = {&group, 1, head, 1};
    struct bytes out;
    (void)state;
    assert_true(quant_scheme_named(TEXT("W8A8"), &group.scheme));
    bytes_init(&out, 1 << 16);
    assert_int_equal(compressed_config_print(&config, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_string_equal((const char *)out.data, "{\n"
                                                "  \"config_groups\": {\n"
                                                "    \"group_0\": {\n"
                                                "      \"format\": \"int-quantized\",\n"
                                                "      \"input_activations\": {\n"
                                                "        \"dynamic\": true,\n"
                                                "        \"group_size\": null,\n"
                                                "        \"num_bits\": 8,\n"
                                                "        \"strategy\": \"token\",\n"
                                                "        \"symmetric\": true,\n"
                                                "        \"type\": \"int\"\n"
                                                "      },\n"
                                                "      \"output_activations\": null,\n"
                                                "      \"targets\": [\n"
                                                "        \"Linear\"\n"
                                                "      ],\n"
                                                "      \"weights\": {\n"
                                                "        \"dynamic\": false,\n"
                                                "        \"group_size\": null,\n"
                                                "        \"num_bits\": 8,\n"
                                                "        \"strategy\": \"channel\",\n"
                                                "        \"symmetric\": true,\n"
                                                "        \"type\": \"int\"\n"
                                                "      }\n"
                                                "    }\n"
                                                "  },\n"
                                                "  \"format\": \"int-quantized\",\n"
                                                "  \"global_compression_ratio\": null,\n"
                                                "  \"ignore\": [\n"
                                                "    \"lm_head\"\n"
                                                "  ],\n"
                                                "  \"kv_cache_scheme\": null,\n"
                                                "  \"quant_method\": \"compressed-tensors\",\n"
                                                "  \"quantization_status\": \"compressed\"\n"
                                                "}\n");
    bytes_fini(&out);
}

static enum err read_text(const char *text, struct compressed_config *config, struct err_text *et)
{
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = "config.json"};
    assert_int_equal(json_read_parse(span_of_text(text_of(text)), &options, &doc, et), ERR_OK);
    enum err err = compressed_config_read(json_read_root(doc), &arena, config, et);
    json_read_close(&doc);
    return err;
}

static void assert_same(const struct quant_scheme *a, const struct quant_scheme *b)
{
    assert_int_equal(a->bits, b->bits);
    assert_int_equal(a->symmetric, b->symmetric);
    assert_int_equal(a->strategy, b->strategy);
    assert_int_equal(a->group_size, b->group_size);
    assert_int_equal(a->block_rows, b->block_rows);
    assert_int_equal(a->layout, b->layout);
    assert_int_equal(a->input, b->input);
}

static void test_compressed_config__presets_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; quant_scheme_name(i) != NULL; i++) {
        struct compressed_config_group group = {.targets = linear_class, .target_count = 1};
        const struct compressed_config config = {&group, 1, head, 1};
        struct compressed_config back;
        struct bytes out;
        assert_true(quant_scheme_named(text_of(quant_scheme_name(i)), &group.scheme));
        bytes_init(&out, 1 << 16);
        assert_int_equal(compressed_config_print(&config, &out), ERR_OK);
        bytes_append(&out, "", 1);
        assert_int_equal(read_text((const char *)out.data, &back, NULL), ERR_OK);
        bytes_fini(&out);
        assert_int_equal(back.group_count, 1);
        assert_same(&back.groups[0].scheme, &group.scheme);
        assert_true(back.ignore_count == 1 && text_is(back.ignore[0], "lm_head"));
    }
}

/* As llm-compressor 0.3 wrote it: keys that later versions leave out, and no format of a group. */
static void test_compressed_config__older_files_are_read(void **state)
{
    struct compressed_config config;
    (void)state;
    assert_int_equal(
        read_text("{\"config_groups\": {\"group_0\": {\"input_activations\": null, "
                  "\"output_activations\": null, \"targets\": [\"Linear\"], \"weights\": "
                  "{\"actorder\": null, \"block_structure\": null, \"dynamic\": false, "
                  "\"group_size\": 128, \"num_bits\": 4, \"observer\": \"minmax\", "
                  "\"observer_kwargs\": {}, \"strategy\": \"group\", \"symmetric\": true, "
                  "\"type\": \"int\"}}}, \"format\": \"pack-quantized\", "
                  "\"global_compression_ratio\": 1.891791164021256, \"ignore\": [\"lm_head\"], "
                  "\"kv_cache_scheme\": null, \"quant_method\": \"compressed-tensors\", "
                  "\"quantization_status\": \"frozen\", \"sparsity_config\": {}, "
                  "\"transform_config\": {}, \"version\": \"0.9.5\"}",
                  &config, NULL),
        ERR_OK);
    assert_int_equal(config.groups[0].scheme.layout, QUANT_SCHEME_PACKED);
    assert_int_equal(config.groups[0].scheme.group_size, 128);
}

#define GROUP(weights)                                                                             \
    "{\"format\": \"int-quantized\", \"config_groups\": {\"g\": {\"targets\": [\"Linear\"], "      \
    "\"weights\": " weights "}}}"

static void test_compressed_config__what_is_not_supported_is_named(void **state)
{
    static const struct {
        const char *text;
        enum err code;
        const char *message;
    } rows[] = {
        {GROUP("{\"type\": \"float\"}"), ERR_UNSUPPORTED,
         "config.json: config_groups.g.weights.type: expected \"int\", found the text \"float\""},
        {GROUP("{\"num_bits\": 9}"), ERR_UNSUPPORTED,
         "config.json: config_groups.g.weights.num_bits: expected 2 to 8, found 9"},
        {GROUP("{\"strategy\": \"tensor_group\"}"), ERR_UNSUPPORTED,
         "config.json: config_groups.g.weights.strategy: expected \"tensor\", \"channel\", "
         "\"group\" or \"block\", found the text \"tensor_group\""},
        {GROUP("{\"strategy\": \"group\"}"), ERR_FORMAT,
         "config.json: config_groups.g.weights.group_size: expected a size above 0, found nothing"},
        {GROUP("{\"strategy\": \"block\", \"block_structure\": [2]}"), ERR_FORMAT,
         "config.json: config_groups.g.weights.block_structure: expected two sizes, found an "
         "array"},
        {"{\"format\": \"nvfp4-pack-quantized\", \"config_groups\": {\"g\": {}}}", ERR_UNSUPPORTED,
         "config.json: format: expected \"int-quantized\" or \"pack-quantized\", found the text "
         "\"nvfp4-pack-quantized\""},
        {"{\"format\": \"int-quantized\", \"config_groups\": {}}", ERR_FORMAT,
         "config.json: config_groups: expected one to 1024 groups, found an object"},
        {"{\"format\": \"int-quantized\", \"config_groups\": {}, \"kv_cache_scheme\": {\"a\": 1}}",
         ERR_UNSUPPORTED,
         "config.json: kv_cache_scheme: expected null, for nothing else is supported, found an "
         "object"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct compressed_config config;
        struct err_text et = {""};
        assert_int_equal(read_text(rows[i].text, &config, &et), rows[i].code);
        assert_string_equal(et.text, rows[i].message);
    }
}

static void test_compressed_config__layers_are_found_by_name_pattern_and_class(void **state)
{
    static const struct text down[] = {{"re:.*down_proj$", 15}};
    static const struct text one[] = {{"model.layers.0.self_attn.q_proj", 31}};
    static const struct text ignored[] = {{"lm_head", 7}, {"re:model.layers.3", 17}};
    const struct compressed_config_group groups[] = {{.targets = down, .target_count = 1},
                                                     {.targets = one, .target_count = 1},
                                                     {.targets = linear_class, .target_count = 1}};
    static const struct {
        const char *module;
        int group;
    } rows[] = {
        {"model.layers.0.mlp.down_proj", 0},
        {"model.layers.0.self_attn.q_proj", 1},
        {"model.layers.1.self_attn.q_proj", 2},
        {"model.layers.3.mlp.down_proj", -1},
        {"lm_head", -1},
        {"model.layers.0.mlp.down_proj_extra", 2},
    };
    const struct compressed_config config = {groups, 3, ignored, 2};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct compressed_config_group *found = NULL;
        assert_int_equal(compressed_config_find(&config, rows[i].module, &found, NULL), ERR_OK);
        assert_ptr_equal(found, rows[i].group < 0 ? NULL : &groups[rows[i].group]);
    }
}

static void test_compressed_config__patterns_that_are_none_are_refused(void **state)
{
    static const struct text bad[] = {{"re:(?:a)", 8}};
    static const struct text counted[] = {{"re:a{9999}", 10}};
    struct compressed_config_group group = {.targets = bad, .target_count = 1};
    const struct compressed_config config = {&group, 1, NULL, 0};
    const struct compressed_config_group *found = NULL;
    (void)state;
    assert_int_equal(compressed_config_find(&config, "m", &found, NULL), ERR_UNSUPPORTED);
    group.targets = counted;
    assert_int_equal(compressed_config_find(&config, "m", &found, NULL), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressed_config__is_what_readers_expect),
        cmocka_unit_test(test_compressed_config__presets_come_back),
        cmocka_unit_test(test_compressed_config__older_files_are_read),
        cmocka_unit_test(test_compressed_config__what_is_not_supported_is_named),
        cmocka_unit_test(test_compressed_config__layers_are_found_by_name_pattern_and_class),
        cmocka_unit_test(test_compressed_config__patterns_that_are_none_are_refused),
    };
    return cmocka_run_group_tests_name("compressed_config", tests, open_arena, close_arena);
}
