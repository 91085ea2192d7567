/* test_graph.c - lines, lanes and the longest way of a job's stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/graph/graph_lanes.h"
#include "cli/graph/graph_path.h"
#include "common/base/check.h"
#include "common/message/state.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 16 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* A job under construction. */
struct made {
    struct stage_row rows[LIMIT_JOB_STAGES];
    uint32_t count;
};

/* Adds a stage that needs `before` (ends in -1); returns its index. */
static int add(struct made *made, enum stage_kind kind, const char *suffix, uint32_t variant,
               enum stage_state state, const int *before)
{
    struct stage_row *row = &made->rows[made->count];
    const char *word = state_kind_word(kind);
    *row = (struct stage_row){
        .index = made->count, .kind = (uint32_t)kind, .state = (uint32_t)state, .variant = variant};
    row->name = text_of(suffix[0] == '\0' ? word : arena_print(&arena, "%s %s", word, suffix));
    struct stage_set set = {{0}};
    for (; *before >= 0; before++)
        stage_set_add(&set, (uint32_t)*before);
    struct stage_ref *refs = arena_alloc(&arena, LIMIT_JOB_STAGES, sizeof *refs);
    stage_set_to_row(set, refs, LIMIT_JOB_STAGES, row);
    return (int)made->count++;
}

#define AFTER(...) ((const int[]){__VA_ARGS__, -1})
#define FIRST      ((const int[]){-1})

/* prepare, then init, train, evaluate, export for each of `variants`; `done` of them are done, the
 * next two train. With `packs` each has a pack of its own. */
static void make_variants(struct made *made, uint32_t variants, uint32_t done, bool packs)
{
    int pack[LIMIT_VARIANTS];
    made->count = 0;
    int prepare = add(made, STAGE_KIND_PREPARE, "", 0, STAGE_DONE, FIRST);
    for (uint32_t v = 0; v < (packs ? variants : 1); v++) {
        const char *suffix = packs ? arena_print(&arena, "seed=%u", v) : "";
        pack[v] = add(made, STAGE_KIND_PACK, suffix, v, STAGE_DONE, AFTER(prepare));
    }
    for (uint32_t v = 0; v < variants; v++) {
        enum stage_state rest = v < done ? STAGE_DONE : STAGE_WAITING;
        enum stage_state train = v >= done && v < done + 2 ? STAGE_RUNNING : rest;
        const char *suffix = arena_print(&arena, "learning_rate=0.000%u,seed=%u", v / 10 + 1, v);
        int init = add(made, STAGE_KIND_INIT, suffix, v, STAGE_DONE, FIRST);
        int last = add(made, STAGE_KIND_TRAIN, suffix, v, train, AFTER(pack[packs ? v : 0], init));
        int evaluate = add(made, STAGE_KIND_EVALUATE, suffix, v, rest, AFTER(last));
        (void)add(made, STAGE_KIND_EXPORT, suffix, v, rest, AFTER(last, evaluate));
    }
}

/* The graph as text, a line each. */
static const char *draw(const struct made *made, bool folds, uint32_t shown)
{
    struct graph graph;
    struct graph_lanes lanes;
    const char *text = "";
    assert_int_equal(graph_build(made->rows, made->count, folds, &arena, &graph), ERR_OK);
    graph_lanes_init(&lanes, &graph, shown, false);
    for (uint32_t i = 0; i < graph.count; i++) {
        char lane[GRAPH_LANES_BYTES];
        size_t width = graph_lanes_next(&lanes, lane);
        assert_int_equal(strlen(lane), width);
        assert_true(width <= 2 * ((size_t)shown + 1));
        text = arena_print(&arena, "%s%s%s\n", text, lane, graph.lines[i].name);
    }
    assert_int_equal(lanes.count, 0);
    return text;
}

static void test_graph__a_plain_job_is_drawn_as_it_was_planned(void **state)
{
    (void)state;
    struct made made = {.count = 0};
    int prepare = add(&made, STAGE_KIND_PREPARE, "", 0, STAGE_DONE, FIRST);
    int pack = add(&made, STAGE_KIND_PACK, "", 0, STAGE_DONE, AFTER(prepare));
    int init = add(&made, STAGE_KIND_INIT, "", 0, STAGE_DONE, FIRST);
    int train = add(&made, STAGE_KIND_TRAIN, "", 0, STAGE_RUNNING, AFTER(pack, init));
    int evaluate = add(&made, STAGE_KIND_EVALUATE, "", 0, STAGE_WAITING, AFTER(train));
    (void)add(&made, STAGE_KIND_EXPORT, "", 0, STAGE_WAITING, AFTER(train, evaluate));
    assert_string_equal(draw(&made, true, 8), "* prepare\n"
                                              "`-* pack\n"
                                              "| * init\n"
                                              "`-`-* train\n"
                                              "|-* evaluate\n"
                                              "`-`-* export\n");
}

static void test_graph__variants_that_are_alike_are_one_line(void **state)
{
    (void)state;
    static struct made made;
    make_variants(&made, 48, 40, false);
    assert_string_equal(draw(&made, true, 4), "* prepare\n"
                                              "`-* pack\n"
                                              "| * init[0..39]\n"
                                              "|-`-* train[0..39]\n"
                                              "| |-* evaluate[0..39]\n"
                                              "| `-`-* export[0..39]\n"
                                              "| * init learning_rate=0.0005,seed=40\n"
                                              "|-`-* train learning_rate=0.0005,seed=40\n"
                                              "| |-* evaluate learning_rate=0.0005,seed=40\n"
                                              "| `-`-* export learning_rate=0.0005,seed=40\n"
                                              "| * init learning_rate=0.0005,seed=41\n"
                                              "|-`-* train learning_rate=0.0005,seed=41\n"
                                              "| |-* evaluate learning_rate=0.0005,seed=41\n"
                                              "| `-`-* export learning_rate=0.0005,seed=41\n"
                                              "| * init[42..47]\n"
                                              "`-`-* train[42..47]\n"
                                              "|-* evaluate[42..47]\n"
                                              "`-`-* export[42..47]\n");
}

static void test_graph__lines_of_variants_have_their_sums(void **state)
{
    (void)state;
    static struct made made;
    struct graph graph;
    make_variants(&made, 6, 3, false);
    for (uint32_t i = 0; i < made.count; i++) {
        made.rows[i].done = made.rows[i].total = 10;
        made.rows[i].seconds = i;
    }
    assert_int_equal(graph_build(made.rows, made.count, true, &arena, &graph), ERR_OK);
    assert_string_equal(graph.lines[3].name, "train[0..2]");
    assert_int_equal(graph.lines[3].count, 3);
    assert_int_equal(graph.lines[3].done, 30);
    assert_true(graph.lines[3].seconds == 11 && graph.lines[3].seconds_min == 3);
    /* Two that train are too few to be one line. */
    assert_int_equal(graph.count, 2 + 4 + 3 * 4);
}

static void test_graph__gaps_and_many_runs_are_labelled(void **state)
{
    (void)state;
    static struct made made;
    make_variants(&made, 12, 12, false);
    for (uint32_t i = 0; i < made.count; i++) {
        if (made.rows[i].kind == STAGE_KIND_EXPORT && made.rows[i].variant == 5)
            made.rows[i].state = STAGE_FAILED;
    }
    assert_non_null(strstr(draw(&made, true, 4), "* train[0..4,6..11]\n"));
    for (uint32_t i = 0; i < made.count; i++) {
        if (made.rows[i].kind == STAGE_KIND_EXPORT && made.rows[i].variant % 2 == 1)
            made.rows[i].state = STAGE_FAILED;
    }
    assert_non_null(strstr(draw(&made, true, 4), "* train[6 of 12]\n"));
}

static void test_graph__two_hundred_stages_need_few_lanes_in_full_too(void **state)
{
    (void)state;
    static struct made made;
    make_variants(&made, 48, 10, true);
    assert_int_equal(made.count, 1 + 48 + 48 * 4);
    const char *text = draw(&made, false, GRAPH_LANES_MAX);
    uint32_t lines = 0;
    for (const char *at = text; *at != '\0'; lines++) {
        const char *end = strchr(at, '\n');
        const char *node = memchr(at, '*', (size_t)(end - at));
        assert_true(node != NULL && node - at <= 2 * 3); /* prepare, pack or training, init */
        at = end + 1;
    }
    assert_int_equal(lines, made.count);
    /* A pack stands right before what needs it. */
    assert_non_null(strstr(text, "|-* pack seed=7\n| | * init learning_rate=0.0001,seed=7\n"));
    /* One lane is enough to stand for all. */
    assert_non_null(strstr(draw(&made, false, 1), "`-* export learning_rate=0.0005,seed=47\n"));
}

static void test_graph__rows_from_elsewhere_cannot_break_it(void **state)
{
    (void)state;
    static struct made made;
    struct graph graph;
    struct stage_ref later = {.stage = 3};
    make_variants(&made, 3, 3, true);
    made.rows[0].after = &later; /* forwards */
    made.rows[0].after_count = 1;
    made.rows[2].variant = UINT32_MAX;
    made.rows[5].kind = 4711;
    made.rows[6].state = 99;
    assert_int_equal(graph_build(made.rows, made.count, true, &arena, &graph), ERR_OK);
    assert_true(graph.count > 0);
    assert_true(stage_set_is_empty(graph.lines[0].after));
    assert_int_equal(graph_build(made.rows, 0, true, &arena, &graph), ERR_OK);
    assert_int_equal(graph.count, 0);
    assert_int_equal(graph_build(made.rows, LIMIT_JOB_STAGES + 1, true, &arena, &graph), ERR_LIMIT);
}

/* Any graph whose edges point backwards: every stage is on one line, and lines follow their needs.
 */
static void test_graph__random_graphs_are_drawn_whole(void **state)
{
    (void)state;
    static struct made made;
    uint32_t random = 1;
    for (int round = 0; round < 200; round++) {
        struct graph graph;
        uint32_t stages = 0;
        made.count = 0;
        while (made.count < 40) {
            int before[4] = {-1, -1, -1, -1};
            for (int i = 0; i < 3 && made.count > 0; i++) {
                random = random * 1664525 + 1013904223;
                before[i] = (int)((random >> 8) % made.count);
            }
            uint32_t variant = random >> 20 & 7;
            (void)add(&made, (enum stage_kind)(random >> 12 & 3), variant == 0 ? "" : "x", variant,
                      (enum stage_state)(random >> 16 & 1), before);
        }
        assert_int_equal(graph_build(made.rows, made.count, round % 2 == 0, &arena, &graph),
                         ERR_OK);
        for (uint32_t i = 0; i < graph.count; i++) {
            stages += graph.lines[i].count;
            for (uint32_t n = i; n < LIMIT_JOB_STAGES; n++)
                assert_false(stage_set_has(graph.lines[i].after, n));
        }
        assert_int_equal(stages, made.count);
        (void)draw(&made, round % 2 == 0, 1 + (uint32_t)round % 5);
        arena_reset(&arena);
    }
}

static void test_path__goes_by_measured_times_and_estimates_the_rest(void **state)
{
    (void)state;
    static struct made made;
    struct graph_step steps[LIMIT_JOB_STAGES];
    make_variants(&made, 3, 1, false);
    for (uint32_t i = 0; i < made.count; i++) {
        struct stage_row *row = &made.rows[i];
        if (row->kind == STAGE_KIND_PREPARE)
            row->seconds = 5;
        if (row->kind == STAGE_KIND_INIT)
            row->seconds = 1;
        if (row->kind == STAGE_KIND_TRAIN && row->variant == 0)
            row->seconds = 100;
        if (row->kind == STAGE_KIND_TRAIN && row->variant == 1) { /* slower than the first */
            row->seconds = 60;
            row->done = 25;
            row->total = 50;
        }
    }
    assert_int_equal(graph_path(made.rows, made.count, steps), 5);
    static const enum stage_kind kinds[] = {STAGE_KIND_PREPARE, STAGE_KIND_PACK, STAGE_KIND_TRAIN,
                                            STAGE_KIND_EVALUATE, STAGE_KIND_EXPORT};
    for (uint32_t i = 0; i < COUNT_OF(kinds); i++)
        assert_int_equal(made.rows[steps[i].stage].kind, kinds[i]);
    assert_int_equal(made.rows[steps[2].stage].variant, 1);
    assert_true(steps[0].seconds == 5 && steps[0].time == GRAPH_MEASURED);
    assert_true(steps[2].seconds == 120 && steps[2].time == GRAPH_ESTIMATED);
    assert_true(steps[1].seconds == 0 && steps[1].time == GRAPH_UNKNOWN);
    /* One that waits takes what its fellow took. */
    made.rows[steps[2].stage].seconds = 0;
    made.rows[steps[2].stage].state = STAGE_WAITING;
    assert_int_equal(graph_path(made.rows, made.count, steps), 5);
    assert_true(steps[2].seconds == 100);
    assert_int_equal(graph_path(made.rows, 0, steps), 0);
}

#define GRAPH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GRAPH_TEST(test_graph__a_plain_job_is_drawn_as_it_was_planned),
        GRAPH_TEST(test_graph__variants_that_are_alike_are_one_line),
        GRAPH_TEST(test_graph__lines_of_variants_have_their_sums),
        GRAPH_TEST(test_graph__gaps_and_many_runs_are_labelled),
        GRAPH_TEST(test_graph__two_hundred_stages_need_few_lanes_in_full_too),
        GRAPH_TEST(test_graph__rows_from_elsewhere_cannot_break_it),
        GRAPH_TEST(test_graph__random_graphs_are_drawn_whole),
        GRAPH_TEST(test_path__goes_by_measured_times_and_estimates_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
