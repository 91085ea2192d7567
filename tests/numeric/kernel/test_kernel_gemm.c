/* test_kernel_gemm.c - the product keeps the contract: one fmaf chain an element, the same bits on
 * every instruction set and number of threads, for all operand types, transpositions and awkward
 * sizes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"

/* One element's bits differ, and it is not two NaN. */
static bool differs(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) != 0 && !(isnan(a) && isnan(b));
}

static float half_value(uint16_t bits, enum dtype dtype)
{
    if (dtype == DTYPE_BF16) {
        uint32_t wide = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &wide, sizeof(value));
        return value;
    }
    int exponent = bits >> 10 & 31;
    float mantissa = (float)(bits & 1023);
    float value = exponent == 0    ? ldexpf(mantissa, -24)
                  : exponent == 31 ? (mantissa == 0.0f ? INFINITY : NAN)
                                   : ldexpf(1024.0f + mantissa, exponent - 25);
    return (bits & 0x8000) != 0 ? -value : value;
}

enum kind { ORDINARY, DENORMAL, HUGE_VALUES, NOT_FINITE };

static float random_value(uint64_t key, uint64_t index, enum kind kind)
{
    float value = random_normal_f32(key, index);
    uint32_t pick = random_u32(key ^ 1, index);
    switch (kind) {
    case ORDINARY:
        return value;
    case DENORMAL:
        return value * (pick % 2 == 0 ? 1e-22f : 1e-41f);
    case HUGE_VALUES:
        return value * (pick % 2 == 0 ? 1e19f : 1e38f);
    case NOT_FINITE:
        return pick % 97 == 0 ? INFINITY : pick % 89 == 0 ? NAN : value;
    }
    return value;
}

struct problem {
    struct kernel_gemm gemm;
    float *a, *c0, *c, *expected;
    void *b;
};

static void problem_fini(struct problem *p)
{
    mem_free(p->a);
    mem_free(p->b);
    mem_free(p->c0);
    mem_free(p->c);
    mem_free(p->expected);
}

static float b_value(const struct kernel_gemm *g, size_t p, size_t j)
{
    size_t offset = p * g->b_row_stride + j * g->b_col_stride;
    if (g->b_dtype == DTYPE_F32)
        return ((const float *)g->b)[offset];
    return half_value(((const uint16_t *)g->b)[offset], g->b_dtype);
}

/* The contract, spelled out. */
static void compute_expected(struct problem *p)
{
    const struct kernel_gemm *g = &p->gemm;
    memcpy(p->expected, p->c0, (g->m + 1) * g->c_row_stride * sizeof(float));
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            float chain = g->accumulate ? p->c0[i * g->c_row_stride + j] : 0.0f;
            for (size_t q = 0; q < g->k; q++)
                chain =
                    fmaf(g->a[i * g->a_row_stride + q * g->a_col_stride], b_value(g, q, j), chain);
            p->expected[i * g->c_row_stride + j] = chain;
        }
}

static void problem_init(struct problem *p, size_t m, size_t n, size_t k, enum dtype dtype,
                         bool turn_a, bool turn_b, bool accumulate, enum kind kind)
{
    uint64_t key =
        random_key(m * 1000003 + n * 1009 + k, RANDOM_TEST, dtype, kind, turn_a + 2u * turn_b);
    size_t ldc = n + 3;
    *p = (struct problem){.a = mem_alloc(m * k + 1, sizeof(float)),
                          .b = mem_alloc(n * k + 1, sizeof(float)),
                          .c0 = mem_alloc((m + 1) * ldc, sizeof(float)),
                          .c = mem_alloc((m + 1) * ldc, sizeof(float)),
                          .expected = mem_alloc((m + 1) * ldc, sizeof(float))};
    assert_true(p->a != NULL && p->b != NULL && p->c0 != NULL && p->c != NULL &&
                p->expected != NULL);
    for (size_t i = 0; i < m * k; i++)
        p->a[i] = random_value(key, i, kind);
    for (size_t i = 0; i < n * k; i++)
        if (dtype == DTYPE_F32)
            ((float *)p->b)[i] = random_value(key + 1, i, kind);
        else if (kind == ORDINARY && dtype == DTYPE_BF16)
            ((uint16_t *)p->b)[i] = (uint16_t)(0x3f00 + (random_u32(key + 1, i) & 0x80ff));
        else
            ((uint16_t *)p->b)[i] = (uint16_t)random_u32(key + 1, i);
    for (size_t i = 0; i < (m + 1) * ldc; i++)
        p->c0[i] = random_value(key + 2, i, kind);
    p->gemm = (struct kernel_gemm){.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = p->a,
                                   .a_row_stride = turn_a ? 1 : k,
                                   .a_col_stride = turn_a ? m : 1,
                                   .b = p->b,
                                   .b_dtype = dtype,
                                   .b_row_stride = turn_b ? 1 : n,
                                   .b_col_stride = turn_b ? k : 1,
                                   .c = p->c,
                                   .c_row_stride = ldc,
                                   .accumulate = accumulate};
    compute_expected(p);
}

static void check_problem(struct problem *p, struct kernel *kernel, bool on)
{
    const struct kernel_gemm *g = &p->gemm;
    size_t count = (g->m + 1) * g->c_row_stride;
    memcpy(p->c, p->c0, count * sizeof(float));
    if (on)
        kernel_gemm_on(kernel, kernel_threads(kernel) - 1, g);
    else
        kernel_gemm(kernel, g);
    for (size_t i = 0; i < count; i++)
        if (differs(p->c[i], p->expected[i]))
            fail_msg("%s: m %zu n %zu k %zu %s accumulate %d: element %zu is %a, not %a",
                     kernel_name(kernel), g->m, g->n, g->k, dtype_name(g->b_dtype), g->accumulate,
                     i, (double)p->c[i], (double)p->expected[i]);
}

/* Every kernel this machine has: instruction sets by 1, 2 and 3 threads. */
enum { KERNELS_MAX = 9 };
struct kernels {
    struct kernel *kernel[KERNELS_MAX];
    size_t count;
};

static int kernels_setup(void **state)
{
    static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512};
    struct kernels *all = mem_alloc(1, sizeof(*all));
    assert_non_null(all);
    for (size_t i = 0; i < COUNT_OF(isas); i++)
        for (unsigned threads = 1; threads <= 3; threads++) {
            enum err err =
                kernel_create(KERNEL_PROFILE_F32, isas[i], threads, &all->kernel[all->count]);
            if (err == ERR_OK)
                all->count++;
            else
                assert_int_equal(err, ERR_UNSUPPORTED);
        }
    *state = all;
    return 0;
}

static int kernels_teardown(void **state)
{
    struct kernels *all = *state;
    for (size_t i = 0; i < all->count; i++)
        kernel_destroy(&all->kernel[i]);
    mem_free(all);
    return 0;
}

static void check_all(struct kernels *all, size_t m, size_t n, size_t k, enum dtype dtype,
                      bool turn_a, bool turn_b, bool accumulate, enum kind kind)
{
    struct problem p;
    problem_init(&p, m, n, k, dtype, turn_a, turn_b, accumulate, kind);
    for (size_t i = 0; i < all->count; i++) {
        check_problem(&p, all->kernel[i], false);
        check_problem(&p, all->kernel[i], true);
    }
    problem_fini(&p);
}

static void test_gemm__is_one_fmaf_chain_for_odd_sizes_on_every_row(void **state)
{
    static const size_t sizes[][3] = {{1, 1, 1},    {1, 33, 65},  {2, 16, 17},   {5, 31, 7},
                                      {13, 32, 64}, {14, 48, 33}, {15, 65, 129}, {29, 100, 385},
                                      {3, 8, 400},  {64, 8, 96},  {8, 96, 50},   {43, 70, 0}};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (unsigned turn = 0; turn < 8; turn++)
            check_all(*state, sizes[i][0], sizes[i][1], sizes[i][2], DTYPE_F32, (turn & 1) != 0,
                      (turn & 2) != 0, (turn & 4) != 0, ORDINARY);
}

static void test_gemm__decodes_f16_and_bf16_exactly(void **state)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        check_all(*state, 17, 67, 131, DTYPE_F16, false, (turn & 1) != 0, (turn & 2) != 0,
                  ORDINARY);
        check_all(*state, 17, 67, 131, DTYPE_BF16, false, (turn & 1) != 0, (turn & 2) != 0,
                  ORDINARY);
        check_all(*state, 17, 67, 131, DTYPE_BF16, true, (turn & 1) != 0, (turn & 2) != 0,
                  DENORMAL);
    }
}

static void test_gemm__keeps_denormals_overflow_and_not_finite(void **state)
{
    for (unsigned kind = DENORMAL; kind <= NOT_FINITE; kind++)
        for (unsigned turn = 0; turn < 4; turn++)
            check_all(*state, 19, 45, 77, DTYPE_F32, (turn & 1) != 0, (turn & 2) != 0, false,
                      (enum kind)kind);
}

static void test_gemm__continues_chains_across_blocks_of_k(void **state)
{
    check_all(*state, 30, 90, 1500, DTYPE_F32, false, true, true, ORDINARY);
    check_all(*state, 1, 700, 800, DTYPE_BF16, false, true, false, ORDINARY);
    check_all(*state, 3, 5, 20000, DTYPE_F32, false, true, false, ORDINARY);
}

static void test_gemm__takes_strides_on_both_axes(void **state)
{
    struct kernels *all = *state;
    struct problem p;
    problem_init(&p, 21, 18, 26, DTYPE_F32, false, false, false, ORDINARY);
    p.gemm.m = 7; /* every third row of A, every second column of both */
    p.gemm.n = 9;
    p.gemm.k = 13;
    p.gemm.a_row_stride *= 3;
    p.gemm.a_col_stride = 2;
    p.gemm.b_row_stride *= 2;
    p.gemm.b_col_stride = 2;
    compute_expected(&p);
    for (size_t i = 0; i < all->count; i++)
        check_problem(&p, all->kernel[i], false);
    problem_fini(&p);
}

static void test_gemm__ignores_the_callers_rounding_and_flush_flags(void **state)
{
#if defined(__x86_64__)
    struct kernels *all = *state;
    struct problem p;
    problem_init(&p, 16, 40, 50, DTYPE_F32, false, true, false, DENORMAL);
    unsigned before = __builtin_ia32_stmxcsr();
    for (size_t i = 0; i < all->count; i++) {
        const struct kernel_gemm *g = &p.gemm;
        __builtin_ia32_ldmxcsr(before | 0x8040 |
                               0x6000); /* flush, denormals are zero, toward zero */
        kernel_gemm(all->kernel[i], g);
        __builtin_ia32_ldmxcsr(before);
        for (size_t r = 0; r < g->m; r++)
            for (size_t j = 0; j < g->n; j++)
                assert_false(
                    differs(p.c[r * g->c_row_stride + j], p.expected[r * g->c_row_stride + j]));
    }
    problem_fini(&p);
#else
    (void)state;
    skip();
#endif
}

static void test_gemm__profile_blas_agrees_within_rounding(void **state)
{
    (void)state;
    struct kernel *kernel;
    assert_int_equal(kernel_create(KERNEL_PROFILE_BLAS, KERNEL_ISA_BEST, 2, &kernel), ERR_OK);
    for (unsigned turn = 0; turn < 16; turn++) {
        struct problem p;
        enum dtype dtype = (turn & 8) != 0 ? DTYPE_BF16 : DTYPE_F32;
        problem_init(&p, 33, 65, 200, dtype, (turn & 1) != 0, (turn & 2) != 0, (turn & 4) != 0,
                     ORDINARY);
        memcpy(p.c, p.c0, 34 * p.gemm.c_row_stride * sizeof(float));
        kernel_gemm(kernel, &p.gemm);
        for (size_t i = 0; i < 34 * p.gemm.c_row_stride; i++)
            assert_true(fabsf(p.c[i] - p.expected[i]) < 1e-3f);
        problem_fini(&p);
    }
    kernel_destroy(&kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm__is_one_fmaf_chain_for_odd_sizes_on_every_row),
        cmocka_unit_test(test_gemm__decodes_f16_and_bf16_exactly),
        cmocka_unit_test(test_gemm__keeps_denormals_overflow_and_not_finite),
        cmocka_unit_test(test_gemm__continues_chains_across_blocks_of_k),
        cmocka_unit_test(test_gemm__takes_strides_on_both_axes),
        cmocka_unit_test(test_gemm__ignores_the_callers_rounding_and_flush_flags),
        cmocka_unit_test(test_gemm__profile_blas_agrees_within_rounding),
    };
    return cmocka_run_group_tests(tests, kernels_setup, kernels_teardown);
}
