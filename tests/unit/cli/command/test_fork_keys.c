/* test_fork_keys.c - what a fork may change, and what differs between two recipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/fork_keys.h"
#include "common/base/check.h"

struct seen {
    char text[256];
    size_t used;
};

static enum err see(void *context, struct text key)
{
    struct seen *seen = context;
    seen->used += (size_t)snprintf(seen->text + seen->used, sizeof seen->text - seen->used, "%.*s ",
                                   TEXT_ARGS(key));
    return text_is(key, "stop") ? ERR_STATE : ERR_OK;
}

static const char *changed(const char *before, const char *after, enum err expected)
{
    static _Thread_local struct seen seen;
    seen = (struct seen){.used = 0};
    assert_int_equal(
        fork_keys_compare(span_of_text(text_of(before)), span_of_text(text_of(after)), see, &seen),
        expected);
    return seen.text;
}

static void test_fork_keys__changed_added_and_removed_keys_are_named_once_in_order(void **state)
{
    (void)state;
    assert_string_equal(changed("a: 1\nb: 2\n", "a: 1\nb: 2\n", ERR_OK), "");
    assert_string_equal(changed("a: 1\nb: 2\n", "a: 1\nb: 3\n", ERR_OK), "b ");
    assert_string_equal(changed("a: 1\nc: 2\n", "b: 1\nc: 3\n", ERR_OK), "a b c ");
    assert_string_equal(changed("", "a: 1\nb: 2", ERR_OK), "a b ");
    assert_string_equal(changed("a: 1\nb: 2", "", ERR_OK), "a b ");
    assert_string_equal(changed("d:\n  - path: x\n    type: y\ne: 1\n",
                                "d:\n  - path: x\n    type: z\ne: 1\n", ERR_OK),
                        "d ");
    assert_string_equal(changed("max: 1\n", "max: 1\nmax_steps: 2\n", ERR_OK), "max_steps ");
    assert_string_equal(changed("a: 1\nstop: 1\nz: 1\n", "a: 2\nstop: 2\nz: 2\n", ERR_STATE),
                        "a stop ");
}

/* Whoever adds a key decides here what it means for a fork; what nobody decided is refused. */
static void test_fork_keys__what_decides_shapes_or_the_model_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        enum fork_keys_class class;
    } cases[] = {
        {"learning_rate", FORK_KEYS_FREE},     {"max_steps", FORK_KEYS_FREE},
        {"save_total_limit", FORK_KEYS_FREE},  {"seed", FORK_KEYS_DATA},
        {"micro_batch_size", FORK_KEYS_DATA},  {"lora_r", FORK_KEYS_REFUSED},
        {"base_model", FORK_KEYS_REFUSED},     {"profile", FORK_KEYS_REFUSED},
        {"load_in_4bit", FORK_KEYS_REFUSED},   {"datasets", FORK_KEYS_REFUSED},
        {"a_key_of_later", FORK_KEYS_REFUSED},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(fork_keys_class(text_of(cases[i].key)), cases[i].class);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork_keys__changed_added_and_removed_keys_are_named_once_in_order),
        cmocka_unit_test(test_fork_keys__what_decides_shapes_or_the_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
