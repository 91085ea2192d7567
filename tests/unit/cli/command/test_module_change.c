/* test_module_change.c - how far modules moved, by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/module_change.h"
#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/bytes.h"

enum { FILE_BYTES_MAX = 1 << 16 };

struct tensor {
    const char *name;
    float values[4];
    size_t count;
};

static void write_state(const struct tensor *tensors, size_t count, struct bytes *out)
{
    struct safetensor rows[8];
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct safetensor){
            .name = text_of(tensors[i].name),
            .dtype = SAFETENSORS_F32,
            .rank = 1,
            .shape = {tensors[i].count},
            .data = {(const uint8_t *)tensors[i].values, tensors[i].count * sizeof(float)}};
    struct safetensors_content content = {.tensors = rows, .count = count};
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(safetensors_write(&content, file_sink_bytes, out), ERR_OK);
}

static bool is_number(double value)
{
    return isfinite(value);
}

static bool is_about(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void test_module_change__factors_are_one_module_and_the_largest_change_is_first(void **state)
{
    (void)state;
    static const struct tensor before[] = {{"weight.l.0.q.lora_A.weight", {3, 0}, 2},
                                           {"weight.l.0.q.lora_B.weight", {4, 0}, 2},
                                           {"weight.l.1.q.lora_A.weight", {1, 1}, 2},
                                           {"weight.norm.weight", {2}, 1},
                                           {"weight.old.weight", {1}, 1},
                                           {"weight.zero.bias", {0}, 1},
                                           {"exp_avg.l.0.q.lora_A.weight", {9, 9}, 2}};
    static const struct tensor after[] = {{"weight.l.0.q.lora_A.weight", {3, 0}, 2},
                                          {"weight.l.0.q.lora_B.weight", {4, 5}, 2},
                                          {"weight.l.1.q.lora_A.weight", {1, 1}, 2},
                                          {"weight.norm.weight", {2, 2}, 2},
                                          {"weight.new.weight", {7}, 1},
                                          {"weight.zero.bias", {1}, 1}};
    static const char *const order[] = {"l.0.q", "l.1.q", "new", "norm", "old", "zero"};
    struct bytes a, b;
    struct arena arena;
    struct module_change *rows;
    struct err_text et = {""};
    uint32_t count;
    write_state(before, COUNT_OF(before), &a);
    write_state(after, COUNT_OF(after), &b);
    arena_init(&arena, 1 << 22);
    assert_int_equal(module_change_list(bytes_span(&a), bytes_span(&b), &arena, &rows, &count, &et),
                     ERR_OK);
    assert_int_equal(count, COUNT_OF(order));
    for (size_t i = 0; i < COUNT_OF(order); i++)
        assert_true(text_is(rows[i].module, order[i]));
    assert_true(is_about(rows[0].change, 1.0)); /* 5 by sqrt(9 + 16) */
    assert_true(is_about(rows[0].norm_before, 5.0) && rows[0].parameters == 4);
    assert_true(rows[1].change <= 0 && rows[1].change >= 0);
    for (size_t i = 2; i < COUNT_OF(order); i++) /* not there, another shape, from nothing */
        assert_false(is_number(rows[i].change));
    assert_false(is_number(rows[2].norm_before));
    assert_false(is_number(rows[4].norm_after));
    assert_true(is_about(rows[5].norm_after, 1.0));
    arena_fini(&arena);
    bytes_fini(&a);
    bytes_fini(&b);
}

static void test_module_change__what_is_no_state_is_an_error_with_its_name(void **state)
{
    (void)state;
    static const struct tensor one[] = {{"weight.a.weight", {1}, 1}};
    struct bytes a;
    struct arena arena;
    struct module_change *rows;
    struct err_text et = {""};
    uint32_t count;
    write_state(one, 1, &a);
    arena_init(&arena, 1 << 22);
    assert_int_not_equal(
        module_change_list(bytes_span(&a), (struct span){a.data, 5}, &arena, &rows, &count, &et),
        ERR_OK);
    assert_non_null(strstr(et.text, "the second checkpoint"));
    arena_fini(&arena);
    bytes_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_module_change__factors_are_one_module_and_the_largest_change_is_first),
        cmocka_unit_test(test_module_change__what_is_no_state_is_an_error_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
