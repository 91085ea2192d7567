/* test_stage_note.c - what is said of a stage that shares results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/command/stage_note.h"

static void test_stage_note__says_what_was_taken_over_and_the_key(void **state)
{
    (void)state;
    char note[STAGE_NOTE_BYTES];
    struct stage_row row = {.reused = 4, .total = 6, .reused_from = TEXT("job 1a2b3c4")};
    row.key.v[0] = 0x01;
    row.key.v[5] = 0xab;
    assert_string_equal(stage_note(&row, note),
                        "reused 4 of 6 from job 1a2b3c4 (key 0100000000ab)");
    row.reused = 0;
    assert_string_equal(stage_note(&row, note), "key 0100000000ab");
    row.key = (struct digest){{0}};
    assert_string_equal(stage_note(&row, note), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stage_note__says_what_was_taken_over_and_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
