/* test_float_rules.c - a thread's rounding is what it said, whatever it found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fenv.h>

#include "common/numeric/float_rules.h"

static float third(void)
{
    volatile float one = 1, three = 3;
    return one / three;
}

static float half_of_smallest_normal(void)
{
    volatile float smallest = 0x1p-126f, half = 0.5f;
    return smallest * half;
}

static void test_float_rules__entered_they_hold_and_left_the_old_ones_hold_again(void **state)
{
    (void)state;
    float nearest = third();
    assert_int_equal(fesetround(FE_DOWNWARD), 0);
    assert_true(third() < nearest);
    struct float_rules before = float_rules_enter();
    assert_true(third() == nearest);
    float_rules_leave(before);
    assert_true(third() < nearest);
    float_rules_set();
    assert_true(third() == nearest);
}

#if defined(__x86_64__)
static void test_float_rules__denormals_are_kept(void **state)
{
    (void)state;
    unsigned flush = 0x1f80 | 0x8040; /* flush to zero, denormals are zero */
    __builtin_ia32_ldmxcsr(flush);
    assert_true(half_of_smallest_normal() == 0);
    float_rules_set();
    assert_true(half_of_smallest_normal() == 0x1p-127f);
}
#else
static void test_float_rules__denormals_are_kept(void **state)
{
    (void)state;
    float_rules_set();
    assert_true(half_of_smallest_normal() == 0x1p-127f);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_rules__entered_they_hold_and_left_the_old_ones_hold_again),
        cmocka_unit_test(test_float_rules__denormals_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
