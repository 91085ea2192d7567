/* test_plan_reuse.c - which lines of a recipe decide what a task computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/plan/plan_reuse.h"

static const char recipe[] = "base_model: \"m\"\n"
                             "calibration_datasets:\n"
                             "  - path: \"c.txt\"\n"
                             "    type: auto\n"
                             "learning_rate: 0.001\n"
                             "quantize:\n"
                             "  activations: auto\n"
                             "  ignore: [\"re:a: b\"]\n"
                             "  scheme: \"Q4_K_M\"\n"
                             "random_init: false\n"
                             "sequence_len: 64\n";

static struct digest key_of(const char *text, enum stage_kind kind)
{
    return plan_reuse_key(span_of_text(text_of(text)), 0, kind);
}

/* The key of the recipe with one line in another's place. */
static struct digest key_with(const char *old, const char *new, enum stage_kind kind)
{
    char text[sizeof recipe + 64];
    const char *at = strstr(recipe, old);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - recipe), recipe, new,
                   at + strlen(old));
    return key_of(text, kind);
}

static void test_plan_reuse__calibration_depends_on_what_it_looks_at(void **state)
{
    (void)state;
    struct digest key = key_of(recipe, STAGE_KIND_CALIBRATE);
    assert_false(digest_equal(
        key, key_with("  activations: auto\n", "  activations: static\n", STAGE_KIND_CALIBRATE)));
}

static void test_plan_reuse__calibration_does_not_depend_on_other_keys(void **state)
{
    (void)state;
    static const char *const others[][2] = {
        {"  ignore: [\"re:a: b\"]\n", ""},
        {"  scheme: \"Q4_K_M\"\n", "  scheme: \"Q8_0\"\n"},
        {"learning_rate: 0.001\n", "activations: static\n"},
        {"  - path: \"c.txt\"\n", "  - activations: d.txt\n"},
    };
    struct digest key = key_of(recipe, STAGE_KIND_CALIBRATE);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_true(digest_equal(key, key_with(others[i][0], others[i][1], STAGE_KIND_CALIBRATE)));
}

/* How fast and how long is trained is nothing to it; how the base is stored is. */
static void
test_plan_reuse__reference_depends_on_the_base_and_the_adapter_it_starts_from(void **state)
{
    (void)state;
    static const char fresh[] = "adapter: lora\nload_in_4bit: false\nlora_alpha: 8\n"
                                "lora_target_modules:\n  - q_proj\nseed: 1\n";
    static const struct {
        const char *text;
        bool is_same;
    } others[] = {
        {"adapter: lora\nload_in_4bit: false\nlora_alpha: 9\nseed: 2\n", true},
        {"adapter: lora\nload_in_4bit: true\nlora_alpha: 8\nseed: 1\n", false},
    };
    struct digest key = key_of(fresh, STAGE_KIND_REFERENCE);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(digest_equal(key, key_of(others[i].text, STAGE_KIND_REFERENCE)),
                         others[i].is_same);
    static const char going_on[] = "lora_alpha: 8\nlora_model_dir: a\nlora_target_modules:\n"
                                   "  - q_proj\n";
    static const char *const differ[] = {
        "lora_alpha: 9\nlora_model_dir: a\nlora_target_modules:\n  - q_proj\n",
        "lora_alpha: 8\nlora_model_dir: a\nlora_target_modules:\n  - v_proj\n",
        "lora_alpha: 8\nlora_model_dir: a\nlora_target_modules:\n  - q_proj\n"
        "qat:\n  weight_dtype: q4_0\n"};
    key = key_of(going_on, STAGE_KIND_REFERENCE);
    for (size_t i = 0; i < sizeof differ / sizeof differ[0]; i++)
        assert_false(digest_equal(key, key_of(differ[i], STAGE_KIND_REFERENCE)));
    assert_true(digest_equal(key, key_of("learning_rate: 1\nlora_alpha: 8\nlora_model_dir: b\n"
                                         "lora_target_modules:\n  - q_proj\n",
                                         STAGE_KIND_REFERENCE)));
}

static void test_plan_reuse__random_model_depends_on_every_line(void **state)
{
    (void)state;
    char text[sizeof recipe + 64];
    const char *at = strstr(recipe, "random_init: false\n");
    (void)snprintf(text, sizeof text, "%.*srandom_init: true\n%s", (int)(at - recipe), recipe,
                   at + strlen("random_init: false\n"));
    struct digest key = key_of(text, STAGE_KIND_CALIBRATE);
    text[strlen(text) - 2] = '5'; /* sequence_len: 65 */
    assert_false(digest_equal(key, key_of(text, STAGE_KIND_CALIBRATE)));
}

static void test_plan_reuse__unlisted_kind_depends_on_every_line(void **state)
{
    (void)state;
    struct digest key = key_of(recipe, STAGE_KIND_QUANTIZE);
    static const char *const lines[] = {"base_model: \"m\"\n", "  - path: \"c.txt\"\n",
                                        "    type: auto\n", "sequence_len: 64\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_false(digest_equal(key, key_with(lines[i], "", STAGE_KIND_QUANTIZE)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_reuse__calibration_depends_on_what_it_looks_at),
        cmocka_unit_test(test_plan_reuse__calibration_does_not_depend_on_other_keys),
        cmocka_unit_test(
            test_plan_reuse__reference_depends_on_the_base_and_the_adapter_it_starts_from),
        cmocka_unit_test(test_plan_reuse__random_model_depends_on_every_line),
        cmocka_unit_test(test_plan_reuse__unlisted_kind_depends_on_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
