/* solve_case.c - see solve_case.h. */
#include "tests/unit/worker/engine/solve/solve_case.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

void solve_kernels_init(struct solve_kernels *kernels)
{
    static const struct {
        enum kernel_isa isa;
        unsigned threads;
    } wanted[] = {{KERNEL_ISA_BEST, 1},
                  {KERNEL_ISA_BEST, 2},
                  {KERNEL_ISA_BEST, 3},
                  {KERNEL_ISA_AVX2, 1},
                  {KERNEL_ISA_PORTABLE, 1}};
    kernels->count = 0;
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        enum err err = kernel_create(KERNEL_PROFILE_F32, wanted[i].isa, wanted[i].threads,
                                     &kernels->kernel[kernels->count]);
        if (err == ERR_UNSUPPORTED)
            continue;
        assert_int_equal(err, ERR_OK);
        kernels->count++;
    }
}

void solve_kernels_fini(struct solve_kernels *kernels)
{
    for (size_t i = 0; i < kernels->count; i++)
        kernel_destroy(&kernels->kernel[i]);
}

enum { CAUSES = 4 };

static double *numbers(size_t count)
{
    double *made = mem_alloc(count, sizeof *made);
    assert_non_null(made);
    return made;
}

/* One token: what the columns have in common, and each by itself. */
static void draw(uint64_t seed, size_t columns, size_t token, const double *effects,
                 const double *scales, double *x)
{
    double causes[CAUSES];
    for (size_t c = 0; c < CAUSES; c++)
        causes[c] = (double)random_normal_f32(seed + 1, token * CAUSES + c);
    for (size_t i = 0; i < columns; i++) {
        double sum = (double)random_normal_f32(seed, token * columns + i);
        for (size_t c = 0; c < CAUSES; c++)
            sum += causes[c] * effects[i * CAUSES + c];
        x[i] = sum * scales[i];
    }
}

double *solve_case_gram(uint64_t seed, size_t columns, size_t tokens, double scale_spread)
{
    double *gram = numbers(columns * columns), *x = numbers(columns);
    double *effects = numbers(columns * CAUSES), *scales = numbers(columns);
    for (size_t i = 0; i < columns * CAUSES; i++)
        effects[i] = (double)random_normal_f32(seed + 2, i);
    for (size_t i = 0; i < columns; i++)
        scales[i] = 1 + (scale_spread - 1) * random_uniform_f64(seed + 3, i);
    for (size_t t = 0; t < tokens; t++) {
        draw(seed, columns, t, effects, scales, x);
        for (size_t i = 0; i < columns; i++)
            for (size_t j = 0; j <= i; j++)
                gram[i * columns + j] += x[i] * x[j];
    }
    for (size_t i = 0; i < columns; i++)
        for (size_t j = i + 1; j < columns; j++)
            gram[i * columns + j] = gram[j * columns + i];
    mem_free(x);
    mem_free(effects);
    mem_free(scales);
    return gram;
}

float *solve_case_weights(uint64_t seed, size_t rows, size_t columns)
{
    float *w = mem_alloc(rows * columns, sizeof(*w));
    assert_non_null(w);
    for (size_t i = 0; i < rows * columns; i++)
        w[i] = 0.05f * random_normal_f32(seed, i);
    return w;
}
