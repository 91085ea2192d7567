/* test_kernel_blocks.c - products, lookups and decoding of block formats: the bits are those of the
 * same call on the matrix decoded to f32 first. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/quant/blocks.h"

/* A matrix of one type beside its values. */
struct matrix {
    enum dtype dtype;
    size_t rows, columns;
    uint8_t *blocks; /* owned, as values: at an odd address */
    float *values;
};

/* Random bytes decode to finite numbers but for the scales, wherever those stand: a scale's largest
 * exponent is avoided by clearing a bit in every byte. */
static void matrix_init(struct matrix *m, enum dtype dtype, size_t rows, size_t columns)
{
    size_t size = dtype_span_bytes(dtype, rows * columns);
    *m = (struct matrix){.dtype = dtype, .rows = rows, .columns = columns};
    m->blocks = mem_alloc(size + 1, 1);
    m->values = mem_alloc(rows * columns, sizeof(float));
    assert_true(m->blocks != NULL && m->values != NULL);
    for (size_t i = 0; i < size; i++)
        m->blocks[1 + i] = (uint8_t)(random_u32(dtype, i) & 0xbf);
    block_decode(dtype, rows * columns, m->blocks + 1, m->values);
}

static void matrix_fini(struct matrix *m)
{
    mem_free(m->blocks);
    mem_free(m->values);
}

static float *random_floats(uint64_t key, size_t count)
{
    float *out = mem_alloc(count, sizeof(float));
    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        out[i] = random_normal_f32(key, i);
    return out;
}

static void assert_same_bits(const struct kernel *kernel, enum dtype dtype, size_t count,
                             const float *got, const float *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(got + i, wanted + i, sizeof got[i]) != 0 && !(isnan(got[i]) && isnan(wanted[i])))
            fail_msg("%s %s: element %zu is %a, not %a", kernel_name(kernel), dtype_name(dtype), i,
                     (double)got[i], (double)wanted[i]);
}

/* x W^T (`turn`, x: (m, columns)) or x W (x: (m, rows)), accumulated on something. */
static void check_product(struct kernel *kernel, const struct matrix *w, size_t m, bool turn,
                          bool on)
{
    size_t n = turn ? w->rows : w->columns, k = turn ? w->columns : w->rows;
    float *a = random_floats(1, m * k), *c = random_floats(2, m * n), *d = random_floats(2, m * n);
    struct kernel_gemm gemm = {.m = m,
                               .n = n,
                               .k = k,
                               .a = a,
                               .a_row_stride = k,
                               .a_col_stride = 1,
                               .b = w->blocks + 1,
                               .b_dtype = w->dtype,
                               .b_row_stride = turn ? 1 : w->columns,
                               .b_col_stride = turn ? w->columns : 1,
                               .c = c,
                               .c_row_stride = n,
                               .accumulate = true};
    if (on)
        kernel_gemm_on(kernel, kernel_threads(kernel) - 1, &gemm);
    else
        kernel_gemm(kernel, &gemm);
    gemm.b = w->values;
    gemm.b_dtype = DTYPE_F32;
    gemm.c = d;
    kernel_gemm(kernel, &gemm);
    assert_same_bits(kernel, w->dtype, m * n, c, d);
    mem_free(a);
    mem_free(c);
    mem_free(d);
}

enum { KERNELS_MAX = 6 };
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
        for (unsigned threads = 1; threads <= 3; threads += 2) {
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

static void check_shape(struct kernels *all, enum dtype dtype, size_t rows, size_t columns,
                        size_t m)
{
    struct matrix w;
    matrix_init(&w, dtype, rows, columns);
    for (size_t i = 0; i < all->count; i++) {
        check_product(all->kernel[i], &w, m, true, false);
        check_product(all->kernel[i], &w, m, false, false);
        check_product(all->kernel[i], &w, m, true, true);
        check_product(all->kernel[i], &w, m, false, true);
    }
    matrix_fini(&w);
}

static void test_blocks__products_have_the_bits_of_decoded_matrices(void **state)
{
    for (unsigned d = 0; d < DTYPE_COUNT; d++) {
        if (dtype_is_plain((enum dtype)d))
            continue;
        check_shape(*state, (enum dtype)d, 1, 256, 1);
        check_shape(*state, (enum dtype)d, 67, 768, 17);
        check_shape(*state, (enum dtype)d, 403, 1024, 5);
    }
    check_shape(*state, DTYPE_Q8_0, 45, 32, 9);
    check_shape(*state, DTYPE_Q4_0, 33, 2080, 3);
    check_shape(*state, DTYPE_IQ4_NL, 700, 416, 2);
    check_shape(*state, DTYPE_Q6_K, 35, 16640, 3);
    check_shape(*state, DTYPE_Q5_K, 0, 256, 3);
}

static void test_blocks__profile_blas_agrees_within_rounding(void **state)
{
    (void)state;
    struct kernel *blas, *ours;
    assert_int_equal(kernel_create(KERNEL_PROFILE_BLAS, KERNEL_ISA_BEST, 2, &blas), ERR_OK);
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 2, &ours), ERR_OK);
    for (unsigned turn = 0; turn < 2; turn++) {
        struct matrix w;
        matrix_init(&w, DTYPE_TQ2_0, 4352, 1280);
        size_t m = 7, n = turn ? w.rows : w.columns, k = turn ? w.columns : w.rows;
        float *a = random_floats(1, m * k), *c = random_floats(2, m * n);
        float *d = random_floats(3, m * n);
        struct kernel_gemm gemm = {.m = m, .n = n, .k = k, .a = a, .a_row_stride = k};
        gemm.a_col_stride = 1;
        gemm.b = w.blocks + 1;
        gemm.b_dtype = w.dtype;
        gemm.b_row_stride = turn ? 1 : w.columns;
        gemm.b_col_stride = turn ? w.columns : 1;
        gemm.c = c;
        gemm.c_row_stride = n;
        kernel_gemm(blas, &gemm);
        gemm.c = d;
        kernel_gemm(ours, &gemm);
        double far = 0, norm = 0;
        for (size_t i = 0; i < m * n; i++) {
            far += pow((double)c[i] - (double)d[i], 2);
            norm += pow((double)d[i], 2);
        }
        assert_true(norm > 0 && far < 1e-10 * norm);
        mem_free(a);
        mem_free(c);
        mem_free(d);
        matrix_fini(&w);
    }
    kernel_destroy(&blas);
    kernel_destroy(&ours);
}

static void test_blocks__lookups_and_decoding_take_whole_rows(void **state)
{
    enum { ROWS = 37, COLUMNS = 512, TOKENS = 50 };
    struct kernels *all = *state;
    uint32_t ids[TOKENS];
    for (uint32_t t = 0; t < TOKENS; t++)
        ids[t] = t * 11 % ROWS;
    float *got = random_floats(1, TOKENS * COLUMNS), *wanted = random_floats(1, TOKENS * COLUMNS);
    for (unsigned d = 0; d < DTYPE_COUNT; d++)
        for (size_t i = 0; i < all->count; i++) {
            struct matrix w;
            matrix_init(&w, (enum dtype)d, ROWS, COLUMNS);
            uint8_t *aligned = mem_alloc(dtype_span_bytes(w.dtype, ROWS * COLUMNS), 1);
            assert_non_null(aligned);
            memcpy(aligned, w.blocks + 1, dtype_span_bytes(w.dtype, ROWS * COLUMNS));
            kernel_gather(all->kernel[i], TOKENS, COLUMNS, ids, aligned, w.dtype, got);
            for (size_t t = 0; t < TOKENS; t++)
                memcpy(wanted + t * COLUMNS, w.values + ids[t] * COLUMNS, COLUMNS * sizeof(float));
            assert_same_bits(all->kernel[i], w.dtype, (size_t)TOKENS * COLUMNS, got, wanted);
            kernel_decode(all->kernel[i], (size_t)ROWS * COLUMNS, w.dtype, aligned, got);
            assert_same_bits(all->kernel[i], w.dtype, (size_t)ROWS * COLUMNS, got, w.values);
            mem_free(aligned);
            matrix_fini(&w);
        }
    mem_free(got);
    mem_free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks__products_have_the_bits_of_decoded_matrices),
        cmocka_unit_test(test_blocks__profile_blas_agrees_within_rounding),
        cmocka_unit_test(test_blocks__lookups_and_decoding_take_whole_rows),
    };
    return cmocka_run_group_tests(tests, kernels_setup, kernels_teardown);
}
