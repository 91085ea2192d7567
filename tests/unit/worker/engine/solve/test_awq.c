/* test_awq.c - the search for scales against the same search in doubles, and what it promises. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/unit/worker/engine/solve/solve_case.h"
#include "worker/engine/solve/awq.h"

enum { COLUMNS = 96, TOKENS = 400, ROWS_A = 40, ROWS_B = 24, DEAD = 5 };

/* A site whose channels differ in loudness; channel DEAD is silent. Two modules read it. */
struct site {
    double sum_abs[COLUMNS], gram[COLUMNS * COLUMNS];
    float *weights[2];
    struct awq_linear linears[2];
    struct awq_input input;
};

static struct site *site_create(uint64_t seed)
{
    struct site *s = mem_alloc(1, sizeof *s);
    double x[COLUMNS];
    assert_non_null(s);
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            double loud = exp(2.5 * (double)random_normal_f32(seed + 9, c));
            double cause = (double)random_normal_f32(seed + 8, t * 8 + c % 8);
            x[c] =
                c == DEAD ? 0 : loud * ((double)random_normal_f32(seed, t * COLUMNS + c) + cause);
            s->sum_abs[c] += fabs(x[c]);
        }
        for (size_t i = 0; i < COLUMNS; i++) {
            for (size_t j = 0; j < COLUMNS; j++)
                s->gram[i * COLUMNS + j] += x[i] * x[j];
        }
    }
    s->weights[0] = solve_case_weights(seed + 1, ROWS_A, COLUMNS);
    s->weights[1] = solve_case_weights(seed + 2, ROWS_B, COLUMNS);
    s->linears[0] = (struct awq_linear){ROWS_A, s->weights[0]};
    s->linears[1] = (struct awq_linear){ROWS_B, s->weights[1]};
    s->input = (struct awq_input){
        .columns = COLUMNS, .tokens = TOKENS, .sum_abs = s->sum_abs, .gram = s->gram};
    return s;
}

static void site_destroy(struct site *s)
{
    mem_free(s->weights[0]);
    mem_free(s->weights[1]);
    mem_free(s);
}

static const struct grid_scheme symmetric = {.bits = 4,
                                             .symmetric = true,
                                             .strategy = GRID_GROUP,
                                             .group_size = 32,
                                             .scale_dtype = DTYPE_F32};
static const struct grid_scheme affine = {
    .bits = 3, .strategy = GRID_GROUP, .group_size = 48, .scale_dtype = DTYPE_F32};
static const struct grid_scheme channel = {
    .bits = 4, .symmetric = true, .strategy = GRID_CHANNEL, .scale_dtype = DTYPE_F32};

/* ---- the same in doubles ---- */

static size_t run_of(const struct grid_scheme *scheme)
{
    return scheme->strategy == GRID_GROUP ? scheme->group_size : COLUMNS;
}

/* x (run) on its grid, in floats: a row's largest weight lies half way between two codes, and
 * doubles would fall to the other side of it. */
static void plain_round(const struct grid_scheme *scheme, size_t run, float *x)
{
    float low = 0, high = 0, half = ldexpf(1, (int)scheme->bits - 1);
    for (size_t i = 0; i < run; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    float scale =
        scheme->symmetric ? fmaxf(-low, high) / (half - 0.5f) : (high - low) / (2 * half - 1);
    float zero = scheme->symmetric ? 0 : nearbyintf(-half - low / scale);
    for (size_t i = 0; i < run && scale > 0; i++)
        x[i] = (fminf(fmaxf(nearbyintf(x[i] / scale + zero), -half), half - 1) - zero) * scale;
}

static double plain_error(const struct grid_scheme *scheme, const struct site *s,
                          const double *scales)
{
    double sum = 0, delta[COLUMNS];
    float x[COLUMNS];
    for (size_t m = 0; m < 2; m++) {
        for (size_t r = 0; r < s->linears[m].rows; r++) {
            const float *w = s->weights[m] + r * COLUMNS;
            for (size_t c = 0; c < COLUMNS; c++)
                x[c] = w[c] * (float)scales[c];
            for (size_t c = 0; c < COLUMNS; c += run_of(scheme))
                plain_round(scheme, run_of(scheme), x + c);
            for (size_t c = 0; c < COLUMNS; c++)
                delta[c] = (double)x[c] / (double)(float)scales[c] - (double)w[c];
            for (size_t i = 0; i < COLUMNS; i++) {
                for (size_t j = 0; j < COLUMNS; j++)
                    sum += delta[i] * s->gram[i * COLUMNS + j] * delta[j];
            }
        }
    }
    return sum / TOKENS;
}

/* Mean over rows of |w| over the largest of its cell. */
static void plain_means(const struct grid_scheme *scheme, const struct site *s, double *means)
{
    memset(means, 0, COLUMNS * sizeof *means);
    for (size_t m = 0; m < 2; m++) {
        for (size_t r = 0; r < s->linears[m].rows; r++) {
            for (size_t c = 0; c < COLUMNS; c++) {
                const float *row = s->weights[m] + r * COLUMNS;
                size_t first = c / run_of(scheme) * run_of(scheme);
                double most = 0;
                for (size_t i = first; i < first + run_of(scheme); i++)
                    most = fmax(most, fabs((double)row[i]));
                means[c] += fabs((double)row[c]) / most / (ROWS_A + ROWS_B);
            }
        }
    }
}

static void plain_scales(const struct site *s, const double *means, double alpha, bool duo,
                         double *scales)
{
    double min = DBL_MAX, max = 0;
    for (size_t c = 0; c < COLUMNS; c++) {
        scales[c] = pow(s->sum_abs[c] / TOKENS, alpha);
        if (duo)
            scales[c] /= pow(means[c], 1 - alpha) + 1e-4;
        if (c != DEAD) {
            min = fmin(min, scales[c]);
            max = fmax(max, scales[c]);
        }
    }
    scales[DEAD] = min;
    for (size_t c = 0; c < COLUMNS; c++)
        scales[c] /= sqrt(min * max);
}

static void test_awq__the_search_is_that_in_doubles(void **state)
{
    (void)state;
    static const struct grid_scheme *schemes[] = {&symmetric, &affine, &channel};
    struct solve_kernels kernels;
    struct awq_options options = awq_defaults();
    solve_kernels_init(&kernels);
    options.duo = AWQ_DUO_BOTH;
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        struct site *s = site_create(10 + i);
        struct awq_choice choice;
        float scales[COLUMNS];
        double plain[COLUMNS], means[COLUMNS], best = DBL_MAX;
        assert_int_equal(awq_search(kernels.kernel[0], schemes[i], &options, &s->input, s->linears,
                                    2, scales, &choice),
                         ERR_OK);
        for (size_t c = 0; c < COLUMNS; c++)
            plain[c] = 1;
        double rtn = plain_error(schemes[i], s, plain);
        plain_means(schemes[i], s, means);
        for (int a = 0; a < 40; a++) {
            plain_scales(s, means, a % 20 / 20.0, a >= 20, plain);
            best = fmin(best, plain_error(schemes[i], s, plain));
        }
        print_message("rounding to nearest %.5g, best %.5g at alpha %.2f%s\n", rtn, choice.error,
                      choice.alpha, choice.duo ? " with weights" : "");
        assert_true(fabs(choice.error_plain / rtn - 1) < 1e-4);
        assert_true(fabs(choice.error / best - 1) < 1e-4);
        assert_true(choice.scaled && choice.error < 0.8 * choice.error_plain);
        plain_scales(s, means, choice.alpha, choice.duo, plain);
        for (size_t c = 0; c < COLUMNS; c++)
            assert_true(fabs((double)scales[c] / plain[c] - 1) < 1e-6);
        site_destroy(s);
    }
    solve_kernels_fini(&kernels);
}

static void test_awq__each_form_alone_is_no_better_than_both(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct site *s = site_create(3);
    struct awq_options options = awq_defaults();
    struct awq_choice choice[3];
    float scales[COLUMNS];
    solve_kernels_init(&kernels);
    for (unsigned duo = AWQ_DUO_OFF; duo <= AWQ_DUO_BOTH; duo++) {
        options.duo = (enum awq_duo)duo;
        assert_int_equal(awq_search(kernels.kernel[0], &symmetric, &options, &s->input, s->linears,
                                    2, scales, &choice[duo]),
                         ERR_OK);
    }
    assert_true(!choice[AWQ_DUO_OFF].duo && choice[AWQ_DUO_ON].duo);
    double best = fmin(choice[AWQ_DUO_OFF].error, choice[AWQ_DUO_ON].error);
    assert_true(choice[AWQ_DUO_BOTH].error <= best && choice[AWQ_DUO_BOTH].error >= best);
    site_destroy(s);
    solve_kernels_fini(&kernels);
}

/* Weights that lie on their grid as they are: no scale can make them better. */
static void test_awq__nothing_is_scaled_where_nothing_is_gained(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct grid_scheme whole = affine;
    struct site *s = site_create(4);
    struct awq_options options = awq_defaults();
    struct awq_choice choice;
    float scales[COLUMNS];
    whole.bits = 4;
    for (size_t i = 0; i < ROWS_A * COLUMNS; i++) {
        float code = floorf(16 * random_uniform_f32(1, i)) - 8;
        s->weights[0][i] = i % 48 == 0 ? -8 : i % 48 == 1 ? 7 : code;
    }
    solve_kernels_init(&kernels);
    assert_int_equal(
        awq_search(kernels.kernel[0], &whole, &options, &s->input, s->linears, 1, scales, &choice),
        ERR_OK);
    assert_true(!choice.scaled && choice.error_plain <= 0 && choice.error <= 0);
    for (size_t c = 0; c < COLUMNS; c++)
        assert_true(scales[c] >= 1 && scales[c] <= 1);
    site_destroy(s);
    solve_kernels_fini(&kernels);
}

static void test_awq__tied_channels_share_a_factor(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct site *s = site_create(5);
    struct awq_options options = awq_defaults();
    struct awq_choice choice;
    float scales[COLUMNS];
    s->input.ties = (struct channel_ties){.width = 8, .repeat = 3};
    solve_kernels_init(&kernels);
    assert_int_equal(awq_search(kernels.kernel[0], &symmetric, &options, &s->input, s->linears, 2,
                                scales, &choice),
                     ERR_OK);
    assert_true(choice.scaled && choice.error < choice.error_plain);
    for (size_t c = 0; c < COLUMNS; c++) {
        size_t first = c / 24 * 24 + c % 8;
        assert_true(scales[c] >= scales[first] && scales[c] <= scales[first]);
    }
    assert_true(scales[0] < scales[24] || scales[0] > scales[24]);
    site_destroy(s);
    solve_kernels_fini(&kernels);
}

/* Cells of all shapes, on all kernels. */
static void test_awq__bits_depend_on_neither_threads_nor_instruction_set(void **state)
{
    (void)state;
    static const struct grid_scheme schemes[] = {
        {.bits = 4,
         .symmetric = true,
         .strategy = GRID_GROUP,
         .group_size = 32,
         .scale_dtype = DTYPE_BF16,
         .range = GRID_MSE},
        {.bits = 8, .strategy = GRID_TENSOR, .scale_dtype = DTYPE_F16},
        {.bits = 4,
         .strategy = GRID_BLOCK,
         .group_size = 16,
         .block_rows = 8,
         .scale_dtype = DTYPE_F32}};
    struct solve_kernels kernels;
    struct site *s = site_create(6);
    struct awq_options options = awq_defaults();
    solve_kernels_init(&kernels);
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        float first[COLUMNS], scales[COLUMNS];
        struct awq_choice wanted = {0}, choice = {0};
        for (size_t k = 0; k < kernels.count; k++) {
            assert_int_equal(awq_search(kernels.kernel[k], &schemes[i], &options, &s->input,
                                        s->linears, 2, k == 0 ? first : scales,
                                        k == 0 ? &wanted : &choice),
                             ERR_OK);
            if (k == 0)
                continue;
            assert_memory_equal(scales, first, sizeof first);
            assert_memory_equal(&choice.error, &wanted.error, sizeof wanted.error);
            assert_memory_equal(&choice.error_plain, &wanted.error_plain, sizeof wanted.error);
        }
        assert_true(wanted.scaled);
    }
    site_destroy(s);
    solve_kernels_fini(&kernels);
}

static void test_awq__what_fails_writes_nothing(void **state)
{
    (void)state;
    struct solve_kernels kernels;
    struct site *s = site_create(7);
    struct awq_options options = {.duo = AWQ_DUO_BOTH, .steps = 2};
    struct grid_scheme uneven = symmetric;
    float scales[COLUMNS] = {42};
    struct awq_choice choice = {.alpha = 42};
    size_t faults = 0;
    solve_kernels_init(&kernels);
    uneven.group_size = 36;
    assert_int_equal(
        awq_search(kernels.kernel[0], &uneven, &options, &s->input, s->linears, 2, scales, &choice),
        ERR_SHAPE);
    for (enum err err = ERR_OUT_OF_MEMORY; err != ERR_OK; faults++) {
        assert_true(scales[0] > 41 && choice.alpha > 41);
        (void)mem_fault_after(faults + 1);
        err = awq_search(kernels.kernel[0], &symmetric, &options, &s->input, s->linears, 2, scales,
                         &choice);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    }
    assert_true(faults > 8 && scales[0] < 41);
    s->gram[COLUMNS * 7 + 3] = NAN;
    assert_int_equal(awq_search(kernels.kernel[0], &symmetric, &options, &s->input, s->linears, 2,
                                scales, &choice),
                     ERR_NOT_FINITE);
    site_destroy(s);
    solve_kernels_fini(&kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_awq__the_search_is_that_in_doubles),
        cmocka_unit_test(test_awq__each_form_alone_is_no_better_than_both),
        cmocka_unit_test(test_awq__nothing_is_scaled_where_nothing_is_gained),
        cmocka_unit_test(test_awq__tied_channels_share_a_factor),
        cmocka_unit_test(test_awq__bits_depend_on_neither_threads_nor_instruction_set),
        cmocka_unit_test(test_awq__what_fails_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
