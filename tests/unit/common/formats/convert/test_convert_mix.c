/* test_convert_mix.c - which format each tensor gets: llama-quantize's own files, and models of
 * which only the shape matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_mix.h"
#include "common/formats/json/json_read.h"
#include "tests/unit/common/formats/convert/convert_folders.h"

static const struct convert_mix_switches plain = {.head = CONVERT_MIX_ANY,
                                                  .embedding = CONVERT_MIX_ANY};

/* Shapes of lm-6m. */
enum { LAYERS = 6, HEADS = 8, KV_HEADS = 4, WIDTH = 256, MLP = 768 };

/* "Q4_K_M-im" -> the mix, and whether there was an importance matrix. */
static const struct convert_mix *mix_of(struct text file, bool *has_importance)
{
    char name[32];
    *has_importance = file.size > 3 && memcmp(file.data + file.size - 3, "-im", 3) == 0;
    (void)snprintf(name, sizeof name, "%.*s", (int)(file.size - (*has_importance ? 3 : 0)),
                   file.data);
    return convert_mix_named(name);
}

static size_t expect_types(const struct convert_family *family, const struct convert_mix *mix,
                           const struct convert_mix_model *model, struct json_value tensors)
{
    struct json_cursor c = {0};
    size_t count = 0;
    while (json_read_next(tensors, &c)) {
        struct convert_place place;
        struct text type;
        assert_int_equal(json_read_as_text(json_read_item(c.value, 0), &type, NULL), ERR_OK);
        assert_true(convert_name_of_gguf(family, c.value.key, &place));
        if (!convert_mix_takes(place, convert_name_kind(place.role) == CONVERT_GAIN ? 1 : 2,
                               &plain)) {
            assert_true(text_is(type, "F32"));
            continue;
        }
        uint64_t columns = place.role == CONVERT_DOWN ? MLP : WIDTH;
        enum block_format found = convert_mix_choose(mix, model, &plain, place, columns);
        if (!text_is(type, block_format_name(found)))
            fail_msg("%s %.*s: expected %.*s, found %s", convert_mix_name(mix),
                     TEXT_ARGS(c.value.key), TEXT_ARGS(type), block_format_name(found));
        count++;
    }
    return count;
}

static void test_mix__files_of_llama_quantize_have_these_types(void **state)
{
    (void)state;
    char path[256];
    struct json_doc *doc = NULL;
    if (!convert_folders_real("reference/lm-6m.tensor-sha256.json", path, sizeof path))
        skip();
    assert_int_equal(json_read_open(path, 64 << 20, &doc, NULL), ERR_OK);
    const struct gguf_arch *arch = gguf_arch_named(TEXT("llama"));
    const struct convert_family *family = convert_name_family(arch, 0);
    struct json_cursor files = {0};
    size_t count = 0, mixes = 0;
    while (json_read_next(json_read_root(doc), &files)) {
        struct convert_mix_model model = {
            .architecture = "llama", .layers = LAYERS, .heads = HEADS, .kv_heads = KV_HEADS};
        const struct convert_mix *mix = mix_of(files.value.key, &model.has_importance);
        if (mix == NULL) {
            assert_true(text_is(files.value.key, "f32"));
            continue;
        }
        mixes++;
        count += expect_types(family, mix, &model, files.value);
    }
    assert_int_equal(mixes, 31);
    assert_int_equal(count, 31 * (7 * LAYERS + 1));
    json_read_close(&doc);
}

static const struct convert_mix_model llama_70b = {"llama", 80, 64, 8, true, false};
static const struct convert_mix_model llama_65b = {"llama", 80, 64, 64, true, false};
static const struct convert_mix_model llama_7b = {"llama", 32, 32, 32, true, false};
static const struct convert_mix_model llama_7b_important = {"llama", 32, 32, 32, true, true};
static const struct convert_mix_model mistral = {"llama", 32, 32, 8, true, false};
static const struct convert_mix_model falcon = {"falcon", 32, 71, 1, true, false};
static const struct convert_mix_model gemma = {"gemma", 18, 8, 1, false, false};
static const struct convert_mix_model phi3 = {"phi3", 32, 32, 32, true, false};
static const struct convert_mix_model bitnet = {"bitnet-b1.58", 30, 20, 5, false, false};
static const struct convert_mix_model bitnet_untied = {"bitnet-b1.58", 30, 20, 5, true, false};

/* By hand, from the rules. */
static const struct {
    const struct convert_mix_model *model;
    const char *mix;
    enum convert_role role;
    uint32_t layer;
    uint64_t columns;
    enum block_format expected;
} cases[] = {
    /* 70B: values of few heads never below Q5_K. */
    {&llama_70b, "Q4_K_M", CONVERT_VALUE, 0, 8192, BLOCK_FORMAT_Q6_K},
    {&llama_70b, "Q4_K_M", CONVERT_VALUE, 10, 8192, BLOCK_FORMAT_Q5_K},
    {&llama_70b, "Q3_K_S", CONVERT_VALUE, 40, 8192, BLOCK_FORMAT_Q5_K},
    {&llama_70b, "Q2_K", CONVERT_VALUE, 40, 8192, BLOCK_FORMAT_Q5_K},
    {&llama_65b, "Q4_K_M", CONVERT_VALUE, 10, 8192, BLOCK_FORMAT_Q4_K},
    {&llama_70b, "Q4_K_M", CONVERT_KEY, 0, 8192, BLOCK_FORMAT_Q4_K},
    /* 7B: the first and last four layers, and every third from the seventh. */
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 3, 11008, BLOCK_FORMAT_Q6_K},
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 4, 11008, BLOCK_FORMAT_Q4_K},
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 6, 11008, BLOCK_FORMAT_Q6_K},
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 27, 11008, BLOCK_FORMAT_Q6_K},
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 26, 11008, BLOCK_FORMAT_Q4_K},
    {&llama_7b, "Q4_K_M", CONVERT_DOWN, 28, 11008, BLOCK_FORMAT_Q6_K},
    {&llama_7b, "Q4_K_S", CONVERT_VALUE, 3, 4096, BLOCK_FORMAT_Q5_K},
    {&llama_7b, "Q4_K_S", CONVERT_VALUE, 4, 4096, BLOCK_FORMAT_Q4_K},
    {&llama_7b, "Q3_K_M", CONVERT_DOWN, 1, 11008, BLOCK_FORMAT_Q5_K},
    {&llama_7b, "Q3_K_M", CONVERT_DOWN, 2, 11008, BLOCK_FORMAT_Q4_K},
    {&llama_7b, "Q2_K", CONVERT_VALUE, 9, 4096, BLOCK_FORMAT_Q3_K},
    {&mistral, "Q2_K", CONVERT_VALUE, 9, 4096, BLOCK_FORMAT_Q4_K},
    {&llama_7b, "Q4_0", CONVERT_DOWN, 0, 11008, BLOCK_FORMAT_Q4_0},
    {&llama_7b_important, "Q4_0", CONVERT_DOWN, 3, 11008, BLOCK_FORMAT_Q4_1},
    {&llama_7b_important, "Q4_0", CONVERT_DOWN, 4, 11008, BLOCK_FORMAT_Q4_0},
    {&llama_7b_important, "Q5_0", CONVERT_DOWN, 3, 11008, BLOCK_FORMAT_Q5_1},
    {&llama_7b, "IQ4_NL", CONVERT_DOWN, 3, 11008, BLOCK_FORMAT_Q5_K},
    {&llama_7b_important, "IQ4_NL", CONVERT_DOWN, 3, 11008, BLOCK_FORMAT_IQ4_NL},
    {&llama_7b, "Q8_0", CONVERT_HEAD, 0, 4096, BLOCK_FORMAT_Q8_0},
    {&llama_7b, "Q4_0", CONVERT_HEAD, 0, 4096, BLOCK_FORMAT_Q6_K},
    {&llama_7b, "Q4_K_M", CONVERT_EMBEDDING, 0, 4096, BLOCK_FORMAT_Q4_K},
    /* Falcon: 4544 columns are no blocks of 256, and it has rules of its own. */
    {&falcon, "Q4_K_M", CONVERT_HEAD, 0, 4544, BLOCK_FORMAT_Q8_0},
    {&falcon, "Q4_K_M", CONVERT_QUERY_KEY_VALUE, 0, 4544, BLOCK_FORMAT_Q5_1},
    {&falcon, "Q4_K_M", CONVERT_OUTPUT, 0, 4544, BLOCK_FORMAT_Q5_0},
    {&falcon, "Q4_K_M", CONVERT_DOWN, 1, 18176, BLOCK_FORMAT_Q6_K},
    {&falcon, "Q4_K_M", CONVERT_DOWN, 2, 18176, BLOCK_FORMAT_Q5_K},
    {&falcon, "Q4_K_M", CONVERT_DOWN, 4, 18176, BLOCK_FORMAT_Q4_K},
    {&falcon, "Q3_K_M", CONVERT_DOWN, 4, 18176, BLOCK_FORMAT_Q3_K},
    {&falcon, "Q3_K_M", CONVERT_DOWN, 6, 18176, BLOCK_FORMAT_Q4_K},
    {&falcon, "Q3_K_L", CONVERT_OUTPUT, 9, 4544, BLOCK_FORMAT_Q5_0},
    {&falcon, "Q2_K", CONVERT_OUTPUT, 9, 4544, BLOCK_FORMAT_IQ4_NL},
    {&falcon, "Q4_K_S", CONVERT_DOWN, 0, 18176, BLOCK_FORMAT_Q4_K},
    {&falcon, "Q6_K", CONVERT_UP, 0, 4544, BLOCK_FORMAT_Q8_0},
    /* Gemma: the embedding makes the logits. */
    {&gemma, "Q4_K_M", CONVERT_EMBEDDING, 0, 2048, BLOCK_FORMAT_Q6_K},
    {&gemma, "Q2_K", CONVERT_VALUE, 0, 2048, BLOCK_FORMAT_Q4_K},
    {&gemma, "Q4_K_M", CONVERT_DOWN, 1, 16384, BLOCK_FORMAT_Q6_K},
    {&gemma, "Q4_K_M", CONVERT_DOWN, 2, 16384, BLOCK_FORMAT_Q4_K},
    {&gemma, "Q4_K_M", CONVERT_DOWN, 15, 16384, BLOCK_FORMAT_Q6_K},
    /* Phi-3: one matrix for queries, keys, values. */
    {&phi3, "Q4_K_M", CONVERT_QUERY_KEY_VALUE, 9, 3072, BLOCK_FORMAT_Q5_K},
    {&phi3, "Q5_K_M", CONVERT_QUERY_KEY_VALUE, 9, 3072, BLOCK_FORMAT_Q6_K},
    {&phi3, "Q3_K_M", CONVERT_QUERY_KEY_VALUE, 9, 3072, BLOCK_FORMAT_Q4_K},
    {&phi3, "Q4_K_M", CONVERT_GATE_UP, 9, 3072, BLOCK_FORMAT_Q4_K},
    /* Ternary: an embedding of its own is Q4_K. */
    {&bitnet, "TQ1_0", CONVERT_EMBEDDING, 0, 2560, BLOCK_FORMAT_Q6_K},
    {&bitnet_untied, "TQ1_0", CONVERT_EMBEDDING, 0, 2560, BLOCK_FORMAT_Q4_K},
    {&bitnet, "TQ2_0", CONVERT_UP, 0, 2560, BLOCK_FORMAT_TQ2_0},
    {&bitnet, "TQ2_0", CONVERT_UP, 0, 2560 + 32, BLOCK_FORMAT_Q4_0},
    {&llama_7b, "Q4_K_M", CONVERT_UP, 0, 100, BLOCK_FORMAT_F16},
};

static void test_mix__rules_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct convert_mix *mix = convert_mix_named(cases[i].mix);
        assert_non_null(mix);
        struct convert_place place = {.role = cases[i].role, .layer = cases[i].layer};
        enum block_format found =
            convert_mix_choose(mix, cases[i].model, &plain, place, cases[i].columns);
        if (found != cases[i].expected)
            fail_msg("case %zu, %s: expected %s, found %s", i, cases[i].mix,
                     block_format_name(cases[i].expected), block_format_name(found));
    }
}

static void test_mix__switches_stand_above_the_rules(void **state)
{
    (void)state;
    const struct convert_mix *mix = convert_mix_named("q4_k_m");
    const struct convert_place head = {.role = CONVERT_HEAD}, table = {.role = CONVERT_EMBEDDING};
    const struct convert_place value = {.role = CONVERT_VALUE};
    struct convert_mix_switches s = plain;
    s.pure = true;
    assert_int_equal(convert_mix_choose(mix, &llama_7b, &s, head, 4096), BLOCK_FORMAT_Q4_K);
    assert_int_equal(convert_mix_choose(mix, &llama_7b, &s, value, 4096), BLOCK_FORMAT_Q4_K);
    s.head = BLOCK_FORMAT_Q8_0;
    s.embedding = BLOCK_FORMAT_Q2_K;
    assert_int_equal(convert_mix_choose(mix, &llama_7b, &s, head, 4096), BLOCK_FORMAT_Q8_0);
    assert_int_equal(convert_mix_choose(mix, &llama_7b, &s, table, 4096), BLOCK_FORMAT_Q2_K);
    s = plain;
    s.head = BLOCK_FORMAT_Q5_K;
    assert_int_equal(convert_mix_choose(mix, &gemma, &s, table, 2048), BLOCK_FORMAT_Q5_K);
    s.leave_head = true;
    assert_false(convert_mix_takes(head, 2, &s));
    assert_true(convert_mix_takes(table, 2, &s));
}

static void test_mix__vectors_norms_and_positions_take_no_part(void **state)
{
    (void)state;
    struct convert_place place = {.role = CONVERT_QUERY};
    assert_true(convert_mix_takes(place, 2, &plain));
    assert_false(convert_mix_takes(place, 1, &plain));
    place.is_bias = true;
    assert_false(convert_mix_takes(place, 2, &plain));
    place = (struct convert_place){.role = CONVERT_POSITION};
    assert_false(convert_mix_takes(place, 2, &plain));
    place = (struct convert_place){.role = CONVERT_FINAL_NORM};
    assert_false(convert_mix_takes(place, 2, &plain));
}

static void test_mix__names_are_known_in_any_case(void **state)
{
    (void)state;
    char choices[256];
    assert_ptr_equal(convert_mix_named("Q4_K"), convert_mix_named("q4_k_m"));
    assert_null(convert_mix_named("Q4_K_X"));
    assert_null(convert_mix_named("f16"));
    assert_true(convert_mix_needs_importance(convert_mix_named("Q2_K_S")));
    assert_false(convert_mix_needs_importance(convert_mix_named("Q2_K")));
    convert_mix_choices(choices, sizeof choices);
    assert_non_null(strstr(choices, "Q4_0, Q4_1"));
    assert_non_null(strstr(choices, "TQ2_0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mix__files_of_llama_quantize_have_these_types),
        cmocka_unit_test(test_mix__rules_by_hand),
        cmocka_unit_test(test_mix__switches_stand_above_the_rules),
        cmocka_unit_test(test_mix__vectors_norms_and_positions_take_no_part),
        cmocka_unit_test(test_mix__names_are_known_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
