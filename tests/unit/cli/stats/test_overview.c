/* test_overview.c - tensors found by their names, joined with their inputs, sorted, advised on and
 * drawn. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/stats/advice.h"
#include "cli/stats/error_map.h"
#include "cli/stats/overview.h"

enum { COLUMNS = 4, TOKENS = 2, TEXT_BYTES_MAX = 1 << 20 };

static void test_tensor_place__names_of_both_vocabularies_mean_the_same_place(void **state)
{
    (void)state;
    static const struct {
        const char *name, *module;
        bool in_layer;
        unsigned layer;
        enum tensor_place_input input;
    } rows[] = {
        {"blk.12.ffn_down.weight", "ffn_down", true, 12, TENSOR_PLACE_DOWN},
        {"model.layers.12.mlp.down_proj.weight", "ffn_down", true, 12, TENSOR_PLACE_DOWN},
        {"model.layers.3.self_attn.q_proj", "attn_q", true, 3, TENSOR_PLACE_ATTENTION},
        {"blk.3.attn_qkv.weight", "attn_qkv", true, 3, TENSOR_PLACE_ATTENTION},
        {"transformer.h.0.mlp.c_fc", "ffn_up", true, 0, TENSOR_PLACE_MLP},
        {"blk.0.attn_output.weight", "attn_output", true, 0, TENSOR_PLACE_OUTPUT},
        {"token_embd.weight", "token_embd", false, 0, TENSOR_PLACE_OTHER},
        {"lm_head.weight", "output", false, 0, TENSOR_PLACE_OTHER},
        {"what.is.this", "what.is.this", false, 0, TENSOR_PLACE_OTHER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tensor_place place = tensor_place_of(text_of(rows[i].name));
        assert_string_equal(place.module, rows[i].module);
        assert_int_equal(place.in_layer, rows[i].in_layer);
        assert_int_equal(place.layer, rows[i].layer);
        assert_int_equal(place.input, rows[i].input);
    }
}

/* Two layers of a parallel family with one norm have no input of their MLP; here layer 0 has one,
 * layer 1 has none. */
static struct statistics *make_statistics(void)
{
    static const float rows[3][TOKENS * COLUMNS] = {
        {1, -2, 3, -4, 1, 2, -3, 4}, {10, 0, 0, 0, 0, 0, 0, 0.5f}, {1, 1, 1, 1, 1, 1, 1, 1}};
    const unsigned kinds =
        STATISTICS_SUM_X2 | STATISTICS_SUM_ABS | STATISTICS_MAX_ABS | STATISTICS_MIN_MAX;
    const struct statistics_ask asks[] = {
        {TEXT("model.layers.0.mlp.gate_proj"), COLUMNS, kinds},
        {TEXT("model.layers.0.self_attn.q_proj"), COLUMNS, kinds},
        {TEXT("model.layers.1.self_attn.q_proj"), COLUMNS, kinds},
    };
    const struct statistics_plan plan = {asks, 3, 1, TEXT("f32/1")};
    struct statistics *stats = NULL;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_OK);
    statistics_start(stats, 0);
    for (size_t i = 0; i < 3; i++) {
        struct statistics_seen seen = {.tokens = TOKENS, .x = rows[i]};
        assert_int_equal(statistics_observe(stats, i, &seen), ERR_OK);
    }
    assert_int_equal(statistics_end(stats), ERR_OK);
    return stats;
}

#define FIGURE(tensor, format, columns, weighted, relative)                                        \
    "{\"tensor\": \"" tensor "\", \"format\": \"" format                                           \
    "\", \"rows\": 256, \"columns\": " columns                                                     \
    ", \"size_bytes\": 36864, \"bits_per_weight\": 4.5, \"relative_error\": " relative             \
    ", \"weighted_error\": " weighted ", \"max_error\": 0.5, \"parts\": []}"

static void add(struct figures *figures, const char *text)
{
    struct err_text et = {""};
    if (figures_add(figures, span_of_text(text_of(text)), "figures", &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static void make_figures(struct figures *figures)
{
    figures_init(figures);
    add(figures,
        "{\"tensors\": [" FIGURE("blk.0.attn_k.weight", "Q4_K", "256", "0.002", "0.003") "]}");
    add(figures, "{\"tensors\": [" FIGURE("blk.0.ffn_up.weight", "Q4_K", "256", "0.004",
                                          "0.002") ", " FIGURE("blk.1.ffn_up.weight", "Q5_0", "96",
                                                               "0.001", "0.001") "]}");
    add(figures,
        "{\"tensors\": [" FIGURE("token_embd.weight", "Q6_K", "256", "0.0001", "0.0001") "]}");
}

static void test_figures__a_field_that_is_missing_is_named(void **state)
{
    (void)state;
    struct figures figures;
    struct err_text et = {""};
    figures_init(&figures);
    assert_int_equal(figures_add(&figures,
                                 span_of_text(TEXT("{\"tensors\": [{\"tensor\": \"a\"}]}")),
                                 "figures", &et),
                     ERR_FORMAT);
    assert_non_null(strstr(et.text, "format"));
    assert_int_equal(figures.count, 0);
    figures_fini(&figures);
}

static void test_figures__zeros_of_a_method_that_measures_nothing_are_unknown(void **state)
{
    (void)state;
    struct figures figures;
    figures_init(&figures);
    add(&figures,
        "{\"tensors\": [{\"tensor\": \"a\", \"format\": \"NF4\", \"rows\": 1, \"columns\": 64, "
        "\"size_bytes\": 36, \"bits_per_weight\": 4.5, \"relative_error\": 0.0, "
        "\"weighted_error\": 0.0, \"max_error\": 0.0, \"parts\": []}]}");
    assert_true(isnan(figures.items[0].weighted));
    assert_true(isnan(figures.items[0].output));
    figures_fini(&figures);
}

static void test_overview__tensors_meet_the_input_that_they_share(void **state)
{
    (void)state;
    struct statistics *stats = make_statistics();
    struct figures figures;
    struct overview overview;
    make_figures(&figures);
    assert_int_equal(overview_init(&overview, &figures, stats), ERR_OK);
    assert_int_equal(overview.count, 4); /* every input has a reader */
    overview_sort(&overview, OVERVIEW_PLACE);
    static const struct {
        const char *name, *site;
    } rows[] = {{"blk.0.attn_k.weight", "model.layers.0.self_attn.q_proj"},
                {"blk.0.ffn_up.weight", "model.layers.0.mlp.gate_proj"},
                {"blk.1.ffn_up.weight", "model.layers.1.self_attn.q_proj"},
                {"token_embd.weight", NULL}};
    for (size_t i = 0; i < overview.count; i++) {
        assert_true(text_is(overview.rows[i].name, rows[i].name));
        assert_int_equal(overview.rows[i].site == NULL, rows[i].site == NULL);
        if (rows[i].site != NULL)
            assert_true(text_is(overview.rows[i].site->name, rows[i].site));
    }
    const struct overview_site *seen = &overview.rows[1].seen;
    assert_int_equal(seen->tokens, TOKENS);
    assert_true(seen->min == -4 && seen->max == 4 && seen->mean_abs == 2.5);
    assert_true(seen->outlier == 4 / 2.5);
    overview_fini(&overview);
    figures_fini(&figures);
    statistics_destroy(&stats);
}

static void test_overview__inputs_without_a_tensor_have_a_row_of_their_own(void **state)
{
    (void)state;
    struct statistics *stats = make_statistics();
    struct figures none;
    struct overview overview;
    figures_init(&none);
    assert_int_equal(overview_init(&overview, &none, stats), ERR_OK);
    assert_int_equal(overview.count, 3);
    overview_sort(&overview, OVERVIEW_OUTLIER);
    assert_true(text_is(overview.rows[0].name, "model.layers.0.self_attn.q_proj"));
    assert_null(overview.rows[0].figure);
    overview_fini(&overview);
    figures_fini(&none);
    statistics_destroy(&stats);
}

static void test_overview__the_worst_come_first_and_unknown_ones_last(void **state)
{
    (void)state;
    static const struct {
        enum overview_key key;
        const char *first, *last;
    } rows[] = {
        {OVERVIEW_WEIGHTED, "blk.0.ffn_up.weight", "token_embd.weight"},
        {OVERVIEW_ERROR, "blk.0.attn_k.weight", "token_embd.weight"},
        {OVERVIEW_OUTLIER, "blk.0.attn_k.weight", "token_embd.weight"},
        {OVERVIEW_PLACE, "blk.0.attn_k.weight", "token_embd.weight"},
    };
    struct statistics *stats = make_statistics();
    struct figures figures;
    struct overview overview;
    make_figures(&figures);
    assert_int_equal(overview_init(&overview, &figures, stats), ERR_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        overview_sort(&overview, rows[i].key);
        assert_true(text_is(overview.rows[0].name, rows[i].first));
        assert_true(text_is(overview.rows[3].name, rows[i].last));
    }
    assert_int_equal(overview_key_find("outlier"), OVERVIEW_OUTLIER);
    assert_int_equal(overview_key_find("worst"), OVERVIEW_KEY_COUNT);
    overview_fini(&overview);
    figures_fini(&figures);
    statistics_destroy(&stats);
}

static void check_advice(const struct figures *figures, const char *quantize, const char *expected,
                         uint64_t extra_expected)
{
    char text[512];
    struct recipe recipe;
    struct recipe_options options = {.file_name = "t.yml"};
    struct overview overview;
    struct bytes out;
    struct err_text et = {""};
    uint64_t extra;
    (void)snprintf(text, sizeof text,
                   "base_model: m\ncalibration_datasets: [{path: d}]\nquantize: %s\n", quantize);
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    bytes_init(&out, TEXT_BYTES_MAX);
    assert_int_equal(overview_init(&overview, figures, NULL), ERR_OK);
    overview_sort(&overview, OVERVIEW_WEIGHTED);
    assert_int_equal(advice_print(&overview, &recipe, &out, &extra), ERR_OK);
    bytes_append(&out, "", 1);
    assert_string_equal((const char *)out.data, expected);
    assert_int_equal(extra, extra_expected);
    overview_fini(&overview);
    bytes_fini(&out);
    recipe_fini(&recipe);
}

static void test_advice__the_worst_tensors_get_better_types_before_those_of_the_recipe(void **state)
{
    (void)state;
    struct figures figures;
    make_figures(&figures);
    check_advice(&figures, "{scheme: Q4_K_M, tensor_type: {'attn_v': Q8_0}}",
                 "tensor_type: {'^blk\\.0\\.ffn_up\\.': Q6_K, '^blk\\.0\\.attn_k\\.': Q6_K, "
                 "'^blk\\.1\\.ffn_up\\.': Q8_0, 'attn_v': Q8_0}\n",
                 2 * (53760 - 36864));
    figures_fini(&figures);
}

static void test_advice__layers_that_share_an_input_stay_together(void **state)
{
    (void)state;
    struct figures figures;
    figures_init(&figures);
    add(&figures,
        "{\"tensors\": [" FIGURE("model.layers.0.self_attn.v_proj.weight", "W4A16", "256", "0.002",
                                 "0.003") ", " FIGURE("model.layers.0.self_attn.q_proj.weight",
                                                      "W4A16", "256", "0.001", "0.001") "]}");
    check_advice(&figures, "{scheme: W4A16}",
                 "ignore: [lm_head, model.layers.0.self_attn.v_proj, "
                 "model.layers.0.self_attn.q_proj]\n",
                 2 * (131072 - 36864));
    check_advice(&figures, "{scheme: W4A16, ignore: [lm_head, 're:.*fc$']}",
                 "ignore: ['lm_head', 're:.*fc$', model.layers.0.self_attn.v_proj, "
                 "model.layers.0.self_attn.q_proj]\n",
                 2 * (131072 - 36864));
    figures_fini(&figures);
}

static void test_error_map__every_tensor_is_a_cell_with_its_value(void **state)
{
    (void)state;
    static const char *const parts[] = {
        ">demo: weighted error</text>",
        ">layer 1</text>",
        ">attn_k</text>",
        ">token_embd</text>",
        "<title>blk.0.ffn_up.weight: 0.004, Q4_K, 4.50 bits a weight</title>",
        "<title>token_embd.weight: 0.0001, Q6_K, 4.50 bits a weight</title>",
        ">0.0040</text>",
    };
    struct figures figures;
    struct picture picture;
    struct bytes out, again;
    make_figures(&figures);
    bytes_init(&out, TEXT_BYTES_MAX);
    bytes_init(&again, TEXT_BYTES_MAX);
    for (unsigned i = 0; i < 2; i++) {
        struct err_text et = {""};
        assert_int_equal(error_map_draw(&figures, ERROR_MAP_WEIGHTED, TEXT("demo"), &picture, &et),
                         ERR_OK);
        assert_int_equal(picture_write_svg(&picture, i == 0 ? &out : &again), ERR_OK);
        picture_fini(&picture);
    }
    assert_true(span_equal(bytes_span(&out), bytes_span(&again)));
    bytes_append(&out, "", 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr((const char *)out.data, parts[i]) == NULL)
            fail_msg("no %s in %s", parts[i], (const char *)out.data);
    }
    bytes_fini(&out);
    bytes_fini(&again);
    figures_fini(&figures);
}

static void test_error_map__an_error_that_nobody_measured_is_refused(void **state)
{
    (void)state;
    struct figures figures;
    struct picture picture;
    struct err_text et = {""};
    make_figures(&figures);
    assert_int_equal(error_map_draw(&figures, ERROR_MAP_OUTPUT, TEXT("demo"), &picture, &et),
                     ERR_STATE);
    figures_fini(&figures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_place__names_of_both_vocabularies_mean_the_same_place),
        cmocka_unit_test(test_figures__a_field_that_is_missing_is_named),
        cmocka_unit_test(test_figures__zeros_of_a_method_that_measures_nothing_are_unknown),
        cmocka_unit_test(test_overview__tensors_meet_the_input_that_they_share),
        cmocka_unit_test(test_overview__inputs_without_a_tensor_have_a_row_of_their_own),
        cmocka_unit_test(test_overview__the_worst_come_first_and_unknown_ones_last),
        cmocka_unit_test(
            test_advice__the_worst_tensors_get_better_types_before_those_of_the_recipe),
        cmocka_unit_test(test_advice__layers_that_share_an_input_stay_together),
        cmocka_unit_test(test_error_map__every_tensor_is_a_cell_with_its_value),
        cmocka_unit_test(test_error_map__an_error_that_nobody_measured_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
