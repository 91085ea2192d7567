/* test_tensor_view.c - one tensor in detail, and a histogram as lines. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/stats/histogram_map.h"
#include "cli/stats/histogram_view.h"
#include "cli/stats/tensor_view.h"

enum { COLUMNS = 2, TOKENS = 500, FIXTURE_BYTES = 1 << 14 };

static const struct style plain = {.width = 80};

struct fixture {
    struct recipe recipe;
    struct statistics *stats;
    struct figures figures;
    struct overview overview;
};

/* Values 0.01, -0.02, ... and one of 100. */
static void observe(struct statistics *stats)
{
    static float x[TOKENS * COLUMNS];
    for (size_t i = 0; i < TOKENS * COLUMNS; i++)
        x[i] = (float)(i % 100 + 1) * (i % 2 == 0 ? 0.01f : -0.01f);
    x[7] = 100;
    statistics_start(stats, 0);
    for (size_t i = 0; i < stats->count; i++) {
        struct statistics_seen seen = {.tokens = TOKENS, .x = x};
        assert_int_equal(statistics_observe(stats, i, &seen), ERR_OK);
    }
    assert_int_equal(statistics_end(stats), ERR_OK);
}

static void set_up(struct fixture *f, const char *quantize, unsigned extra_kinds)
{
    char text[512];
    struct recipe_options options = {.file_name = "t.yml"};
    struct err_text et = {""};
    const unsigned kinds = STATISTICS_SUM_X2 | STATISTICS_SUM_ABS | STATISTICS_MAX_ABS |
                           STATISTICS_MIN_MAX | extra_kinds;
    const struct statistics_ask asks[] = {
        {TEXT("model.layers.0.self_attn.q_proj"), COLUMNS, kinds},
        {TEXT("model.layers.10.mlp.down_proj"), COLUMNS, kinds},
    };
    const struct statistics_plan plan = {asks, 2, 1, TEXT("f32/1")};
    (void)snprintf(text, sizeof text,
                   "base_model: m\ncalibration_datasets: [{path: d}]\nquantize: %s\n", quantize);
    if (recipe_read(span_of_text(text_of(text)), &options, &f->recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(statistics_create(&plan, 1, &f->stats), ERR_OK);
    observe(f->stats);
    figures_init(&f->figures);
    assert_int_equal(overview_init(&f->overview, &f->figures, f->stats), ERR_OK);
}

static void tear_down(struct fixture *f)
{
    overview_fini(&f->overview);
    figures_fini(&f->figures);
    statistics_destroy(&f->stats);
    recipe_fini(&f->recipe);
}

static void test_tensor_view__a_part_of_a_name_is_enough_when_one_has_it(void **state)
{
    (void)state;
    static const struct {
        const char *typed;
        enum err err;
        const char *said;
    } rows[] = {
        {"model.layers.0.self_attn.q_proj", ERR_OK, NULL},
        {"q_proj", ERR_OK, NULL},
        {"layers.10", ERR_OK, NULL},
        {"layers.1", ERR_OK, NULL},
        {"proj", ERR_AMBIGUOUS, "more than one tensor"},
        {"model.layers.0.self_attn.q_prjo", ERR_NOT_FOUND,
         "did you mean model.layers.0.self_attn.q_proj?"},
    };
    struct fixture f;
    set_up(&f, "Q4_K_M", 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tensor_view view;
        struct err_text et = {""};
        assert_int_equal(
            tensor_view_find(&f.overview, &f.recipe, f.stats, rows[i].typed, &view, &et),
            rows[i].err);
        if (rows[i].said != NULL && strstr(et.text, rows[i].said) == NULL)
            fail_msg("%s does not say %s", et.text, rows[i].said);
    }
    tear_down(&f);
}

static void
test_tensor_view__clips_are_those_of_the_observers_and_the_recipes_is_chosen(void **state)
{
    (void)state;
    struct fixture f;
    struct tensor_view view;
    set_up(&f, "{scheme: W8A8, activations: static, observer: percentile}", STATISTICS_HISTOGRAM);
    assert_int_equal(tensor_view_find(&f.overview, &f.recipe, f.stats, "q_proj", &view, NULL),
                     ERR_OK);
    assert_true(view.has_histogram);
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        assert_int_equal(view.clips[m].is_chosen, m == RANGE_SEARCH_PERCENTILE);
    assert_true(view.clips[RANGE_SEARCH_MINMAX].limit == 100);
    assert_true(view.clips[RANGE_SEARCH_MINMAX].error.mean_square > 0);
    assert_true(isnan(view.clips[RANGE_SEARCH_MOVING_AVERAGE].limit)); /* no records */
    assert_true(isfinite(view.clips[RANGE_SEARCH_ENTROPY].limit));
    tear_down(&f);
}

static void test_tensor_view__without_a_histogram_the_setting_is_named(void **state)
{
    (void)state;
    struct fixture f;
    struct tensor_view view;
    char text[FIXTURE_BYTES];
    FILE *file = tmpfile();
    assert_non_null(file);
    set_up(&f, "Q4_K_M", 0);
    assert_int_equal(tensor_view_find(&f.overview, &f.recipe, f.stats, "q_proj", &view, NULL),
                     ERR_OK);
    for (size_t m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        assert_false(view.clips[m].is_chosen);
    assert_int_equal(tensor_view_print(&view, &plain, file), ERR_OK);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    assert_non_null(strstr(text, "range   -1 to 100, mean |x| 0.6049"));
    assert_non_null(strstr(text, "activations: static"));
    tear_down(&f);
}

static void test_histogram_map__every_clip_is_a_line_with_its_name(void **state)
{
    (void)state;
    static const char *const parts[] = {">model.layers.0.self_attn.q_proj</text>",
                                        ">minmax 100</text>",
                                        ">percentile 100 (chosen)</text>",
                                        ">entropy ",
                                        ">mse ",
                                        ">100</text>"};
    struct fixture f;
    struct tensor_view view;
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FIXTURE_BYTES * 4);
    set_up(&f, "{scheme: W8A8, activations: static, observer: percentile}", STATISTICS_HISTOGRAM);
    assert_int_equal(tensor_view_find(&f.overview, &f.recipe, f.stats, "q_proj", &view, NULL),
                     ERR_OK);
    assert_int_equal(histogram_map_draw(&view, &picture, NULL), ERR_OK);
    assert_int_equal(picture_write_svg(&picture, &out), ERR_OK);
    bytes_append(&out, "", 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr((const char *)out.data, parts[i]) == NULL)
            fail_msg("no %s in %s", parts[i], (const char *)out.data);
    }
    picture_fini(&picture);
    bytes_fini(&out);
    tear_down(&f);
    set_up(&f, "Q4_K_M", 0);
    assert_int_equal(tensor_view_find(&f.overview, &f.recipe, f.stats, "q_proj", &view, NULL),
                     ERR_OK);
    assert_int_equal(histogram_map_draw(&view, &picture, NULL), ERR_STATE);
    tear_down(&f);
}

static void test_histogram_view__bars_carry_marks_where_ranges_end(void **state)
{
    (void)state;
    const struct histogram_view view = {.step = 0.5, .counts = {100, 10, 0, 1}, .rows = 4};
    const struct histogram_view_mark marks[] = {{"minmax", 2.0, false},
                                                {"percentile", 0.75, true},
                                                {"entropy", 0.6, false},
                                                {"mse", (double)NAN, false}};
    char text[FIXTURE_BYTES];
    FILE *file = tmpfile();
    assert_non_null(file);
    histogram_view_print(&view, marks, 4, &plain, file);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    assert_string_equal(
        text, "         0  ################################################           100\n"
              "       0.5  #########################                                   10"
              "  < percentile 0.75 (chosen)  , entropy 0.6\n"
              "         1                                                               0\n"
              "       1.5  ########                                                     1"
              "  < minmax 2\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_view__a_part_of_a_name_is_enough_when_one_has_it),
        cmocka_unit_test(
            test_tensor_view__clips_are_those_of_the_observers_and_the_recipes_is_chosen),
        cmocka_unit_test(test_tensor_view__without_a_histogram_the_setting_is_named),
        cmocka_unit_test(test_histogram_map__every_clip_is_a_line_with_its_name),
        cmocka_unit_test(test_histogram_view__bars_carry_marks_where_ranges_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
