/* test_attention.c - the small products of attention, and attention itself on every instruction
 * set.
 *
 * That attention is right is shown by logits and gradients; here it must be the same bits whichever
 * way its products are computed.
 */
#include "worker/engine/kernel/attention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/kernel/lanes.h"

enum { SIDE = 80, T = 150, H = 4, G = 2, D = 32 };

static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512};

static float *random_floats(uint64_t key, size_t count)
{
    float *values = mem_alloc(count, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = random_normal_f32(key, i);
    return values;
}

static void compare_product(struct kernel *kernel, size_t m, size_t n, size_t k, bool turned,
                            bool accumulate)
{
    static float a[SIDE * SIDE], b[SIDE * SIDE], c[SIDE * SIDE], wanted[SIDE * SIDE];
    for (size_t i = 0; i < COUNT_OF(a); i++) {
        a[i] = random_normal_f32(1, i);
        b[i] = random_normal_f32(2, i);
        c[i] = wanted[i] = random_normal_f32(3, i);
    }
    size_t a_row = turned ? 1 : SIDE, a_column = turned ? SIDE : 1;
    struct kernel_gemm gemm = {.m = m,
                               .n = n,
                               .k = k,
                               .a = a,
                               .a_row_stride = a_row,
                               .a_col_stride = a_column,
                               .b = b,
                               .b_dtype = DTYPE_F32,
                               .b_row_stride = SIDE,
                               .b_col_stride = 1,
                               .c = wanted,
                               .c_row_stride = SIDE,
                               .accumulate = accumulate};
    struct lanes_product product = {m, n, k, a, a_row, a_column, b, SIDE, c, SIDE, accumulate};
    kernel_gemm(kernel, &gemm);
    kernel_lanes(kernel)->product(&product);
    if (memcmp(c, wanted, sizeof c) != 0)
        fail_msg("%zu x %zu x %zu on %s", m, n, k, kernel_name(kernel));
}

static void test_product__is_the_large_product_bit_for_bit(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4, 6, 15, 16, 17, 48, 64, 79};
    for (size_t s = 0; s < COUNT_OF(isas); s++) {
        struct kernel *kernel = engine_data_kernel(isas[s], 1);
        if (kernel == NULL) {
            print_message("skipped: this processor lacks instruction set %zu\n", s);
            continue;
        }
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            for (size_t j = 0; j < COUNT_OF(sizes); j++) {
                compare_product(kernel, sizes[i], sizes[j], sizes[(i + j) % COUNT_OF(sizes)],
                                (i + j) % 2 != 0, i % 2 != 0);
            }
        }
        kernel_destroy(&kernel);
    }
}

struct results {
    float out[T * H * D], stats[T * H * 2], delta[T * H];
    float dq[T * H * D], dk[T * G * D], dv[T * G * D];
};

static void attend(struct kernel *kernel, size_t window, float cap, struct results *r)
{
    static const struct attention_segment segments[] = {{0, 0, 7, 0}, {7, 7, T - 7, 0}};
    float *q = random_floats(1, T * H * D), *k = random_floats(2, T * G * D);
    float *v = random_floats(3, T * G * D), *dout = random_floats(4, T * H * D);
    struct attention attention = {H, G, D, window, 0.25f, cap, segments, 2, q, k, v};
    attention_forward(kernel, &attention, r->out, r->stats);
    attention_backward(kernel, &attention, r->out, r->stats, dout, r->delta, r->dq, r->dk, r->dv);
    mem_free(q);
    mem_free(k);
    mem_free(v);
    mem_free(dout);
}

static void test_attention__is_the_same_on_every_instruction_set_and_thread_count(void **state)
{
    (void)state;
    struct results *wanted = mem_alloc(1, sizeof *wanted), *got = mem_alloc(1, sizeof *got);
    for (size_t window = 0; window <= 100; window += 50) {
        float cap = window == 50 ? 3.0f : 0.0f;
        struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
        attend(kernel, window, cap, wanted);
        kernel_destroy(&kernel);
        for (size_t s = 0; s < COUNT_OF(isas); s++) {
            kernel = engine_data_kernel(isas[s], (unsigned)s + 1);
            if (kernel == NULL)
                continue;
            attend(kernel, window, cap, got);
            if (memcmp(got, wanted, sizeof *got) != 0)
                fail_msg("window %zu on %s", window, kernel_name(kernel));
            kernel_destroy(&kernel);
        }
    }
    mem_free(wanted);
    mem_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product__is_the_large_product_bit_for_bit),
        cmocka_unit_test(test_attention__is_the_same_on_every_instruction_set_and_thread_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
