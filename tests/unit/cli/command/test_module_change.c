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

/* A file in memory; counts the bytes that were asked for. */
struct file {
    struct span content;
    size_t read;
};

static enum err read_file(void *context, uint64_t begin, void *out, size_t size,
                          struct err_text *et)
{
    struct file *file = context;
    (void)et;
    assert_true(begin <= file->content.size && size <= file->content.size - begin);
    memcpy(out, file->content.data + begin, size);
    file->read += size;
    return ERR_OK;
}

static enum err list(struct span before, struct span after, struct arena *arena,
                     struct module_change **rows, uint32_t *count, struct err_text *et)
{
    struct file files[2] = {{before, 0}, {after, 0}};
    const struct module_change_state a = {before.size, read_file, &files[0]};
    const struct module_change_state b = {after.size, read_file, &files[1]};
    return module_change_list(&a, &b, arena, rows, count, et);
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
    assert_int_equal(list(bytes_span(&a), bytes_span(&b), &arena, &rows, &count, &et), ERR_OK);
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

static void test_module_change__tensors_are_read_in_pieces_and_moments_not_at_all(void **state)
{
    (void)state;
    enum { COUNT = 100003 };
    static float values[2][COUNT];
    struct bytes files[2];
    struct file reads[2];
    struct arena arena;
    struct module_change *rows;
    struct err_text et = {""};
    uint32_t count;
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < COUNT; i++)
            values[side][i] = side == 0 ? 2 : 3;
        const struct span data = {(const uint8_t *)values[side], sizeof values[side]};
        struct safetensor tensors[] = {
            {TEXT("exp_avg.a.weight"), SAFETENSORS_F32, 1, {COUNT}, data},
            {TEXT("weight.a.weight"), SAFETENSORS_F32, 1, {COUNT}, data}};
        struct safetensors_content content = {.tensors = tensors, .count = 2};
        bytes_init(&files[side], 1 << 20);
        assert_int_equal(safetensors_write(&content, file_sink_bytes, &files[side]), ERR_OK);
        reads[side] = (struct file){bytes_span(&files[side]), 0};
    }
    const struct module_change_state a = {files[0].size, read_file, &reads[0]};
    const struct module_change_state b = {files[1].size, read_file, &reads[1]};
    arena_init(&arena, 1 << 22);
    assert_int_equal(module_change_list(&a, &b, &arena, &rows, &count, &et), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(is_about(rows[0].change, 0.5) && rows[0].parameters == COUNT);
    assert_true(reads[0].read < sizeof values[0] + 4096 && reads[1].read < sizeof values[1] + 4096);
    arena_fini(&arena);
    bytes_fini(&files[0]);
    bytes_fini(&files[1]);
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
    for (size_t size = 0; size < a.size; size += 5) { /* however short it was cut */
        assert_int_not_equal(
            list(bytes_span(&a), (struct span){a.data, size}, &arena, &rows, &count, &et), ERR_OK);
        assert_non_null(strstr(et.text, "the second checkpoint"));
    }
    memset(a.data, 0xff, 8);
    assert_int_not_equal(list(bytes_span(&a), bytes_span(&a), &arena, &rows, &count, &et), ERR_OK);
    assert_non_null(strstr(et.text, "the first checkpoint"));
    arena_fini(&arena);
    bytes_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_module_change__factors_are_one_module_and_the_largest_change_is_first),
        cmocka_unit_test(test_module_change__tensors_are_read_in_pieces_and_moments_not_at_all),
        cmocka_unit_test(test_module_change__what_is_no_state_is_an_error_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
