/* test_retention.c - which checkpoints the rules keep. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "coordinator/sched/retention.h"

enum { ROWS = 8, HOUR_MS = 3600000 };

/* Steps 10 to 80, an hour apart, the last one just now. Held-out losses: none, 5, 4, 4, 3, 6, 3, 7.
 */
struct fixture {
    struct checkpoint_row rows[ROWS];
    const struct checkpoint_row *list[ROWS];
    uint64_t now_unix_ms;
};

static void make(struct fixture *f)
{
    static const double losses[ROWS] = {(double)NAN, 5, 4, 4, 3, 6, 3, 7};
    f->now_unix_ms = 100 * (uint64_t)HOUR_MS;
    for (size_t i = 0; i < ROWS; i++) {
        f->rows[i] =
            (struct checkpoint_row){.step = 10 * (i + 1),
                                    .eval_loss = losses[i],
                                    .created_unix_ms = f->now_unix_ms - (ROWS - 1 - i) * HOUR_MS};
        f->list[i] = &f->rows[i];
    }
}

/* "30 50 80" of those that stay. */
static const char *kept(const struct fixture *f, struct retention rules)
{
    static _Thread_local char text[128];
    unsigned masks[ROWS];
    size_t used = 0;
    retention_judge(&rules, f->list, ROWS, f->now_unix_ms, masks);
    text[0] = '\0';
    for (size_t i = 0; i < ROWS; i++) {
        if (masks[i] != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", used > 0 ? " " : "",
                                     (int)f->rows[i].step);
    }
    return text;
}

static void test_retention__each_rule_keeps_its_own_beside_the_latest_and_the_best(void **state)
{
    (void)state;
    static const struct {
        struct retention rules;
        const char *kept;
    } cases[] = {
        {{.keep_last = 1}, "50 80"},
        {{.keep_last = 3}, "50 60 70 80"},
        {{.keep_last = 100}, "10 20 30 40 50 60 70 80"},
        {{.keep_best = 1}, "50 80"},
        {{.keep_best = 2}, "50 70 80"},
        {{.keep_best = 4}, "30 40 50 70 80"},
        {{.keep_every = 40}, "40 50 80"},
        {{.keep_within_ms = 2 * HOUR_MS}, "50 60 70 80"},
        {{.keep_first = true}, "10 50 80"},
        {{.keep_tag = {"x", 1}}, "50 80"},
        {{.keep_last = 2, .keep_every = 20, .keep_first = true}, "10 20 40 50 60 70 80"},
    };
    struct fixture f;
    make(&f);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(retention_has_rule(&cases[i].rules));
        assert_string_equal(kept(&f, cases[i].rules), cases[i].kept);
    }
    assert_false(retention_has_rule(&(struct retention){0}));
}

static void test_retention__a_tag_keeps_also_what_is_undone(void **state)
{
    (void)state;
    struct fixture f;
    make(&f);
    f.rows[1].tags = TEXT("good,kept");
    assert_string_equal(kept(&f, (struct retention){.keep_last = 1}), "20 50 80");
    for (size_t i = 4; i < ROWS; i++)
        f.rows[i].undone = true;
    f.rows[6].tags = TEXT("later");
    assert_string_equal(kept(&f, (struct retention){.keep_last = 2}), "20 30 40 70");
}

static void test_retention__without_evaluations_there_is_no_best(void **state)
{
    (void)state;
    struct fixture f;
    make(&f);
    for (size_t i = 0; i < ROWS; i++)
        f.rows[i].eval_loss = (double)NAN;
    assert_string_equal(kept(&f, (struct retention){.keep_best = 3}), "80");
}

static void test_retention__reasons_have_words(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 16);
    assert_string_equal(retention_words(0, &arena), "");
    assert_string_equal(retention_words(RETENTION_LATEST | RETENTION_TAG | RETENTION_FIRST, &arena),
                        "latest, tag, first");
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retention__each_rule_keeps_its_own_beside_the_latest_and_the_best),
        cmocka_unit_test(test_retention__a_tag_keeps_also_what_is_undone),
        cmocka_unit_test(test_retention__without_evaluations_there_is_no_best),
        cmocka_unit_test(test_retention__reasons_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
