/* test_recipe_variant.c - keys that are lists, and the recipes that they stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/recipe/recipe_variant.h"

#define BASE "base_model: m\ndatasets: [d.jsonl]\n"
#define LORA BASE "adapter: lora\nlora_alpha: 8\n"

static struct recipe read_text(const char *text)
{
    struct recipe recipe;
    struct err_text et = {{0}};
    if (recipe_read(span_of_text(text_of(text)), &(struct recipe_options){.file_name = "r.yml"},
                    &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return recipe;
}

static void write_text(const struct recipe *recipe, struct bytes *out)
{
    bytes_init(out, 1 << 20);
    recipe_write(recipe, out);
    bytes_append(out, "", 1);
    assert_int_equal(bytes_status(out), ERR_OK);
}

static void test_recipe_variant__without_lists_there_is_one_without_a_name(void **state)
{
    (void)state;
    struct recipe r = read_text(BASE "learning_rate: 1e-4\n");
    char name[RECIPE_VARIANT_NAME_BYTES];
    assert_int_equal(recipe_variant_count(&r), 1);
    assert_string_equal(recipe_variant_name(&r, 0, name), "");
    recipe_variant_choose(&r, 0);
    assert_true(r.learning_rate == 1e-4);
    recipe_fini(&r);
}

static void test_recipe_variant__a_list_of_one_is_a_value(void **state)
{
    (void)state;
    struct recipe a = read_text(BASE "learning_rate: [1e-4]\n");
    struct recipe b = read_text(BASE "learning_rate: 1e-4\n");
    assert_int_equal(recipe_variant_count(&a), 1);
    assert_true(recipe_equal(&a, &b));
    recipe_fini(&a);
    recipe_fini(&b);
}

static void test_recipe_variant__lists_are_crossed_the_last_one_fastest(void **state)
{
    (void)state;
    static const char *const names[] = {
        "learning_rate=0.0001,lora_r=8,seed=1", "learning_rate=0.0001,lora_r=8,seed=2",
        "learning_rate=0.0001,lora_r=4,seed=1", "learning_rate=0.0001,lora_r=4,seed=2",
        "learning_rate=0.002,lora_r=8,seed=1",  "learning_rate=0.002,lora_r=8,seed=2",
        "learning_rate=0.002,lora_r=4,seed=1",  "learning_rate=0.002,lora_r=4,seed=2",
    };
    struct recipe r = read_text(LORA "learning_rate: [1e-4, 2e-3]\nlora_r: [8, 4]\nseed: [1, 2]\n");
    char name[RECIPE_VARIANT_NAME_BYTES];
    assert_int_equal(recipe_variant_count(&r), COUNT_OF(names));
    for (uint32_t v = 0; v < COUNT_OF(names); v++)
        assert_string_equal(recipe_variant_name(&r, v, name), names[v]);
    assert_int_equal(recipe_variant_place(&r, 6, RECIPE_LIST_learning_rate), 1);
    assert_int_equal(recipe_variant_place(&r, 6, RECIPE_LIST_lora_r), 1);
    assert_int_equal(recipe_variant_place(&r, 6, RECIPE_LIST_seed), 0);
    recipe_fini(&r);
}

static void test_recipe_variant__a_chosen_one_is_the_recipe_with_these_values(void **state)
{
    (void)state;
    struct recipe r = read_text(LORA "learning_rate: [1e-4, 2e-3]\nlora_r: 8\nseed: [1, 2, 3]\n");
    struct recipe alone = read_text(LORA "learning_rate: 2e-3\nlora_r: 8\nseed: 2\n");
    struct bytes a, b;
    recipe_variant_choose(&r, 4);
    assert_int_equal(recipe_variant_count(&r), 1);
    assert_true(recipe_equal(&r, &alone));
    write_text(&r, &a);
    write_text(&alone, &b);
    assert_string_equal((char *)a.data, (char *)b.data);
    bytes_fini(&a);
    bytes_fini(&b);
    recipe_fini(&r);
    recipe_fini(&alone);
}

static void test_recipe_variant__canonical_text_keeps_the_lists(void **state)
{
    (void)state;
    struct recipe r = read_text(LORA "learning_rate: [1e-4, 0.5]\nlora_r: [16, 4]\n"), again;
    struct bytes text;
    struct err_text et = {{0}};
    write_text(&r, &text);
    assert_non_null(strstr((char *)text.data, "learning_rate: [0.0001, 0.5]\n"));
    assert_non_null(strstr((char *)text.data, "lora_r: [16, 4]\n"));
    struct span span = {text.data, text.size - 1};
    assert_int_equal(recipe_parse(span, &again, &et), ERR_OK);
    assert_true(recipe_equal(&r, &again));
    recipe_fini(&again);
    assert_int_equal(recipe_variant_parse(span, 3, &again, &et), ERR_OK);
    assert_true(again.learning_rate == 0.5 && again.lora_r == 4);
    assert_false(recipe_equal(&r, &again));
    recipe_fini(&again);
    assert_int_equal(recipe_variant_parse(span, 4, &again, &et), ERR_RECIPE);
    bytes_fini(&text);
    recipe_fini(&r);
}

static void test_recipe_variant__a_flag_replaces_a_list_and_the_other_way(void **state)
{
    (void)state;
    static const char *const one[] = {"seed=5"}, *const several[] = {"seed=[5, 6]"};
    static const char text[] = BASE "learning_rate: 1e-4\nseed: [1, 2, 3]\n";
    struct recipe r;
    struct err_text et = {{0}};
    struct recipe_options options = {.sets = one, .set_count = 1};
    assert_int_equal(recipe_read(span_of_text(text_of(text)), &options, &r, &et), ERR_OK);
    assert_int_equal(recipe_variant_count(&r), 1);
    assert_int_equal(r.seed, 5);
    recipe_fini(&r);
    options.sets = several;
    assert_int_equal(recipe_read(span_of_text(text_of(text)), &options, &r, &et), ERR_OK);
    assert_int_equal(recipe_variant_count(&r), 2);
    assert_int_equal(r.notice_count > 0, 1);
    recipe_fini(&r);
}

static void test_recipe_variant__what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {BASE "learning_rate: []\n",
         "r.yml:3:16: learning_rate: expected 1 to 48 values, found a list"},
        {BASE "learning_rate: [1e-4, x]\n",
         "r.yml:3:23: learning_rate: expected a number, found \"x\""},
        {BASE "learning_rate: [1e-4, [1]]\n",
         "r.yml:3:23: learning_rate: expected a number, found a list"},
        {BASE "learning_rate: [1e-4, 1_0e-5]\n",
         "r.yml:3:23: learning_rate: expected every value once, found \"1_0e-5\""},
        {BASE "learning_rate: [1e-4, 2000]\n",
         "r.yml:3:23: learning_rate: expected a number from 0.0 to 1000.0, found \"2000\""},
        {BASE
         "seed: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,"
         "30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49]\n",
         "r.yml:3:7: seed: expected 1 to 48 values, found a list"},
        {BASE "learning_rate: [1, 2, 3, 4, 5, 6, 7]\nseed: [1, 2, 3, 4, 5, 6, 7]\n",
         "r.yml:4:1: seed: expected lists with at most 48 combinations, found 49"},
        {BASE "learning_rate: 1e-4\nmax_steps: [1, 2]\n",
         "r.yml:4:12: max_steps: expected one value, found a list"},
        {BASE "learning_rate: 1e-4\nlora_r: [1, 2]\n",
         "r.yml:4:1: lora_r: needs adapter: lora; add that or remove this"},
        {LORA "learning_rate: 1e-4\nlora_r: [1, 2]\nlora_model_dir: a\n",
         "r.yml:6:1: lora_r: a list excludes lora_model_dir, whose adapter has one rank"},
        {BASE "learning_rate: [1e-4, 1e-3]\nquantize: Q8_0\n",
         "r.yml:3:1: learning_rate: a list excludes quantize; quantize the best result afterwards"},
        {LORA "learning_rate: 1e-4\nlora_r: [1, 2]\nmerge: full\n",
         "r.yml:6:1: lora_r: a list excludes merge; merge the best adapter afterwards"},
        {"base_model: m\nquantize: Q8_0\nseed: [1, 2]\n",
         "r.yml:3:1: seed: a list trains once for each value, and this recipe does not train; give "
         "one value"},
        {"base_model: m\nevaluate: only\ntest_datasets: [t]\nseed: [1, 2]\n",
         "r.yml:4:1: seed: a list trains once for each value, and this recipe does not train; give "
         "one value"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct recipe r;
        struct err_text et = {{0}};
        enum err err = recipe_read(span_of_text(text_of(rows[i].text)),
                                   &(struct recipe_options){.file_name = "r.yml"}, &r, &et);
        assert_int_equal(err, ERR_RECIPE);
        assert_string_equal(et.text, rows[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe_variant__without_lists_there_is_one_without_a_name),
        cmocka_unit_test(test_recipe_variant__a_list_of_one_is_a_value),
        cmocka_unit_test(test_recipe_variant__lists_are_crossed_the_last_one_fastest),
        cmocka_unit_test(test_recipe_variant__a_chosen_one_is_the_recipe_with_these_values),
        cmocka_unit_test(test_recipe_variant__canonical_text_keeps_the_lists),
        cmocka_unit_test(test_recipe_variant__a_flag_replaces_a_list_and_the_other_way),
        cmocka_unit_test(test_recipe_variant__what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
