/* test_random.c - known answers of the generator; numbers, first values and permutations as
 * functions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/permute.h"
#include "common/numeric/random.h"

static void test_philox__gives_the_published_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        uint32_t out[4];
        random_philox(answers[i].counter, answers[i].key, out);
        assert_memory_equal(out, answers[i].out, sizeof(out));
    }
}

static void test_random__key_depends_on_every_part(void **state)
{
    (void)state;
    uint64_t module = random_name(TEXT("model.layers.0.self_attn.q_proj"));
    uint64_t key = random_key(1, RANDOM_DROPOUT, module, 2, 3);
    assert_true(key != random_key(2, RANDOM_DROPOUT, module, 2, 3));
    assert_true(key != random_key(1, RANDOM_INIT, module, 2, 3));
    assert_true(key != random_key(1, RANDOM_DROPOUT, module + 1, 2, 3));
    assert_true(key != random_key(1, RANDOM_DROPOUT, module, 3, 3));
    assert_true(key != random_key(1, RANDOM_DROPOUT, module, 2, 4));
    assert_true(key != random_key(1, RANDOM_DROPOUT, module, 3, 2));
    assert_true(key == random_key(1, RANDOM_DROPOUT, module, 2, 3));
}

static void test_random__uniform_and_normal_have_their_moments(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    double uniform = 0, uniform2 = 0, normal = 0, normal2 = 0, normal4 = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double u = (double)random_uniform_f32(5, i), d = random_uniform_f64(5, i);
        double z = (double)random_normal_f32(5, i);
        assert_true(u >= 0 && u < 1 && d >= 0 && d < 1 && fabs(z) < 8);
        uniform += u;
        uniform2 += d * d;
        normal += z;
        normal2 += z * z;
        normal4 += z * z * z * z;
    }
    assert_true(fabs(uniform / COUNT - 0.5) < 0.003 && fabs(uniform2 / COUNT - 1.0 / 3) < 0.003);
    assert_true(fabs(normal / COUNT) < 0.01 && fabs(normal2 / COUNT - 1) < 0.02);
    assert_true(fabs(normal4 / COUNT - 3) < 0.15);
}

static void test_random__below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    unsigned seen[7] = {0};
    for (uint64_t i = 0; i < 7000; i++)
        seen[random_below(9, i, 7)]++;
    for (size_t i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(random_below(9, i, (uint64_t)1 << 63) < (uint64_t)1 << 63);
    assert_int_equal(random_below(9, 1, 1), 0);
}

static void test_init__is_a_function_of_the_index(void **state)
{
    (void)state;
    float whole[100], part[40];
    init_kaiming_uniform(3, 64, 0, 100, whole);
    init_kaiming_uniform(3, 64, 30, 40, part);
    assert_memory_equal(part, whole + 30, sizeof(part));
    for (size_t i = 0; i < 100; i++)
        assert_true(whole[i] >= -0.125f && whole[i] < 0.125f);
    init_normal(3, 0.02f, 0, 100, whole);
    init_normal(3, 0.02f, 60, 40, part);
    assert_memory_equal(part, whole + 60, sizeof(part));
}

static void test_permute__is_a_permutation_with_its_inverse(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 5, 16, 17, 1000, 4096};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        uint64_t n = sizes[s];
        uint8_t *hit = mem_alloc(n, 1);
        assert_non_null(hit);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t image = permute_index(77, n, i);
            assert_true(image < n && hit[image] == 0);
            hit[image] = 1;
            assert_int_equal(permute_inverse(77, n, image), i);
        }
        mem_free(hit);
    }
    uint64_t large = ((uint64_t)1 << 62) + 12345;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(permute_inverse(1, large, permute_index(1, large, large - 1 - i)),
                         large - 1 - i);
}

static void test_permute__differs_by_key_and_moves_most(void **state)
{
    (void)state;
    unsigned fixed = 0, same = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        fixed += permute_index(1, 1000, i) == i;
        same += permute_index(1, 1000, i) == permute_index(2, 1000, i);
    }
    assert_true(fixed < 10 && same < 10);
}

static void test_random__numbers_are_golden(void **state)
{
    (void)state;
    uint64_t key = random_key(42, RANDOM_INIT, random_name(TEXT("lora_A")), 1, 0), hash = key;
    for (uint64_t i = 0; i < 1000; i++) {
        float z = random_normal_f32(key, i);
        uint32_t bits;
        memcpy(&bits, &z, sizeof(bits));
        hash = (hash ^ bits ^ random_u64(key, i) ^ random_u32(key, i) ^
                permute_index(key, 1000, i) ^ random_dropout(key, i << 32 | i, (uint32_t)i)) *
               0x100000001b3u;
    }
    assert_int_equal(hash, 0x52b884d0d72345aau);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox__gives_the_published_known_answers),
        cmocka_unit_test(test_random__key_depends_on_every_part),
        cmocka_unit_test(test_random__uniform_and_normal_have_their_moments),
        cmocka_unit_test(test_random__below_stays_below_and_reaches_all),
        cmocka_unit_test(test_init__is_a_function_of_the_index),
        cmocka_unit_test(test_permute__is_a_permutation_with_its_inverse),
        cmocka_unit_test(test_permute__differs_by_key_and_moves_most),
        cmocka_unit_test(test_random__numbers_are_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
