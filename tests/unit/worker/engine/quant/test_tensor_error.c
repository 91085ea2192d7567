/* test_tensor_error.c - figures of small matrices by hand, and of any cut of a large one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/numeric/random.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/quant/tensor_error.h"

static void test_tensor_error__figures_are_those_by_hand(void **state)
{
    (void)state;
    const float w[] = {1, -2, 3, /**/ 0, 4, -1}, values[] = {1, -1, 3.5f, /**/ 0.25f, 4, -3};
    const float importance[] = {4, 0, 2};
    struct tensor_error error = {0};
    tensor_error_add(&error, 2, 3, w, values, importance);
    assert_int_equal(error.count, 6);
    assert_true(error.largest >= 2 && error.largest <= 2);
    double relative = (1 + 0.25 + 0.0625 + 4) / (1 + 4 + 9 + 16 + 1);
    double weighted = (4 * 0.0625 + 2 * (0.25 + 4)) / (4 * 1 + 2 * (9 + 1));
    assert_true(fabs(tensor_error_relative(&error) - relative) < 1e-15);
    assert_true(fabs(tensor_error_relative_weighted(&error) - weighted) < 1e-15);
    assert_true(fabs(tensor_error_bits(&error, 3) - 4) < 1e-15);
}

static void test_tensor_error__without_importance_both_are_one(void **state)
{
    (void)state;
    const float w[] = {1, 2}, values[] = {1, 3}, none[] = {0, 0};
    struct tensor_error plain = {0}, idle = {0};
    tensor_error_add(&plain, 1, 2, w, values, NULL);
    tensor_error_add(&idle, 1, 2, w, values, none); /* a module that never was given anything */
    assert_true(fabs(tensor_error_relative_weighted(&plain) - 0.2) < 1e-15);
    assert_true(fabs(tensor_error_relative_weighted(&idle) - 0.2) < 1e-15);
}

static void test_tensor_error__zeros_and_broken_values_have_figures(void **state)
{
    (void)state;
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    const float zeros[2] = {0}, w[] = {1, 2}, importance[] = {0, 1};
    struct tensor_error error = {0};
    assert_true(tensor_error_bits(&error, 5) <= 0 && tensor_error_relative(&error) <= 0);
    tensor_error_add(&error, 1, 2, zeros, zeros, NULL);
    assert_true(tensor_error_relative(&error) <= 0);
    tensor_error_add(&error, 1, 2, zeros, w, NULL);
    assert_true(isinf(tensor_error_relative(&error)));
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        float values[] = {broken[i], 2};
        error = (struct tensor_error){0};
        tensor_error_add(&error, 1, 2, w, values, importance);
        assert_true(isinf(error.largest) && isinf(tensor_error_relative(&error)));
        assert_true(tensor_error_relative_weighted(&error) <= 0); /* the column has none */
    }
}

static void test_tensor_error__cuts_change_no_bit(void **state)
{
    (void)state;
    enum { ROWS = 37, COLUMNS = 256 };
    static float w[ROWS * COLUMNS], values[ROWS * COLUMNS], importance[COLUMNS];
    struct tensor_error whole = {0}, cut = {0};
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        w[i] = random_normal_f32(1, i);
        values[i] = w[i] + 0.1f * random_normal_f32(2, i);
        importance[i % COLUMNS] = random_uniform_f32(3, i);
    }
    tensor_error_add(&whole, ROWS, COLUMNS, w, values, importance);
    for (size_t row = 0, n = 1; row < ROWS; row += n, n = MIN(n + 2, ROWS - row))
        tensor_error_add(&cut, n, COLUMNS, w + row * COLUMNS, values + row * COLUMNS, importance);
    assert_memory_equal(&cut, &whole, offsetof(struct tensor_error, largest));
    assert_memory_equal(&cut.largest, &whole.largest, sizeof whole.largest);
}

/* The rule of thumb of the header, on blocks of 4.5, 5.5 and 8.5 bits. */
static void test_tensor_error__more_bits_have_less_error(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        double bits, most, least;
    } cases[] = {{DTYPE_Q4_0, 4.5, 2e-2, 3e-3},
                 {DTYPE_Q5_0, 5.5, 5e-3, 5e-4},
                 {DTYPE_Q8_0, 8.5, 1e-4, 1e-6}};
    enum { ROWS = 8, COLUMNS = 512 };
    static float w[ROWS * COLUMNS], values[ROWS * COLUMNS];
    static uint8_t blocks[ROWS * COLUMNS * 2];
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        w[i] = random_normal_f32(7, i);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tensor_error error = {0};
        size_t size = dtype_span_bytes(cases[i].dtype, ROWS * COLUMNS);
        assert_true(size <= sizeof blocks);
        block_encode(cases[i].dtype, ROWS, COLUMNS, w, NULL, blocks);
        block_decode(cases[i].dtype, ROWS * COLUMNS, blocks, values);
        tensor_error_add(&error, ROWS, COLUMNS, w, values, NULL);
        assert_true(fabs(tensor_error_bits(&error, size) - cases[i].bits) < 1e-12);
        assert_true(tensor_error_relative(&error) < cases[i].most);
        assert_true(tensor_error_relative(&error) > cases[i].least);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_error__figures_are_those_by_hand),
        cmocka_unit_test(test_tensor_error__without_importance_both_are_one),
        cmocka_unit_test(test_tensor_error__zeros_and_broken_values_have_figures),
        cmocka_unit_test(test_tensor_error__cuts_change_no_bit),
        cmocka_unit_test(test_tensor_error__more_bits_have_less_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
