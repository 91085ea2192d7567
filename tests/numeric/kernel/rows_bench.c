/* rows_bench.c - see the header. */
#include "tests/numeric/kernel/rows_bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

int rows_bench_setup(void **state)
{
    static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512};
    struct rows_bench *b = mem_alloc(1, sizeof(*b));
    assert_non_null(b);
    for (size_t i = 0; i < COUNT_OF(isas); i++)
        for (unsigned threads = 1; threads <= 3; threads++)
            if (kernel_create(KERNEL_PROFILE_F32, isas[i], threads, &b->kernel[b->count]) == ERR_OK)
                b->count++;
    for (size_t i = 0; i < BUFFERS; i++) {
        b->buffer[i] = mem_alloc(N, sizeof(float));
        assert_non_null(b->buffer[i]);
    }
    b->expected = mem_alloc(4 * N, sizeof(float));
    b->result = mem_alloc(4 * N, sizeof(float));
    assert_true(b->expected != NULL && b->result != NULL);
    for (uint32_t t = 0; t < T; t++) {
        b->places[t] = (uint64_t)(t / 7) << 32 | t % 7;
        b->ids[t] = t * 5 % V;
    }
    *state = b;
    return 0;
}

int rows_bench_teardown(void **state)
{
    struct rows_bench *b = *state;
    for (size_t i = 0; i < b->count; i++)
        kernel_destroy(&b->kernel[i]);
    for (size_t i = 0; i < BUFFERS; i++)
        mem_free(b->buffer[i]);
    mem_free(b->expected);
    mem_free(b->result);
    mem_free(b);
    return 0;
}

enum kind { ORDINARY, DENORMAL, LARGE, NOT_FINITE, KIND_COUNT };

static void draw(float *out, uint64_t seed, enum kind kind)
{
    static const float scales[] = {
        [ORDINARY] = 1.0f, [DENORMAL] = 1e-39f, [LARGE] = 1e37f, [NOT_FINITE] = 1.0f};
    for (size_t i = 0; i < N; i++) {
        out[i] = random_normal_f32(seed, i) * scales[kind];
        if (kind == NOT_FINITE && i % 61 == 0)
            out[i] = i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN;
    }
}

void rows_bench_draw(struct rows_bench *b, uint64_t seed)
{
    for (size_t i = 0; i < BUFFERS; i++)
        draw(b->buffer[i], seed + i, ORDINARY);
}

struct kernel *rows_bench_best(const struct rows_bench *b)
{
    return b->kernel[b->count - 1];
}

bool rows_bench_differs(float a, float b)
{
    return memcmp(&a, &b, sizeof(a)) != 0 && !(isnan(a) && isnan(b));
}

void rows_bench_compare(struct rows_bench *b, const char *name, rows_bench_use_f use)
{
    for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
        for (size_t i = 0; i < BUFFERS; i++)
            draw(b->buffer[i], 100 * kind + i, (enum kind)kind);
        memset(b->expected, 0, 4 * N * sizeof(float));
        use(b, b->kernel[0], b->expected);
        for (size_t k = 1; k < b->count; k++) {
            memset(b->result, 0, 4 * N * sizeof(float));
            use(b, b->kernel[k], b->result);
            for (size_t i = 0; i < 4 * (size_t)N; i++)
                if (rows_bench_differs(b->result[i], b->expected[i]))
                    fail_msg("%s, kind %u, %s, %u threads: element %zu is %a, not %a", name, kind,
                             kernel_name(b->kernel[k]), kernel_threads(b->kernel[k]), i,
                             (double)b->result[i], (double)b->expected[i]);
        }
    }
}
