/* bench_solve.c - the Cholesky factor against LAPACK's (OpenBLAS), and what one matrix costs in
 * GPTQ and in the error of its outputs.
 *
 * usage: bench_solve [threads [n [rows [repeats]]]]
 *
 * Both factorizations run in turns within one process on the same threads, so that a busy machine
 * slows both; a line shows medians of the repeats and the median of the paired ratios. Seconds are
 * those of processors, so rates are those of one core. The matrix of GPTQ and of the error is
 * (rows, n) on a 4-bit grid in groups of 128.
 */
#include <cblas.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/solve/cholesky.h"
#include "worker/engine/solve/gptq.h"
#include "worker/engine/solve/gram_error.h"

enum { REPEATS_MAX = 101 };

void dpotrf_(const char *triangle, const int *n, double *a, const int *stride, int *info);

/* Processor time of all threads: what others do on the machine counts least. */
static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), ascending);
    return values[count / 2];
}

/* Dominant diagonal, neighbours correlated. */
static void draw(size_t n, double *gram)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double value = random_uniform_f64(1, i * n + j) - 0.5;
            value = i == j ? (double)n : i - j < 8 ? (double)n / 40 : value;
            gram[i * n + j] = gram[j * n + i] = value;
        }
}

static bool run_factors(struct kernel *kernel, size_t n, size_t repeats, const double *gram,
                        double *a)
{
    double ours[REPEATS_MAX], theirs[REPEATS_MAX], ratio[REPEATS_MAX];
    double flops = (double)n * (double)n * (double)n / 3e9;
    int size = (int)n, info = 0;
    for (size_t r = 0; r < repeats; r++) {
        memcpy(a, gram, n * n * sizeof(*a));
        double start = now_s();
        if (cholesky_factor(kernel, n, a, NULL) != ERR_OK)
            return false;
        ours[r] = flops / (now_s() - start);
        memcpy(a, gram, n * n * sizeof(*a));
        start = now_s();
        dpotrf_("L", &size, a, &size, &info); /* row-major above is column-major below */
        theirs[r] = flops / (now_s() - start);
        if (info != 0)
            return false;
        ratio[r] = ours[r] / theirs[r];
    }
    printf("factor  n %6zu   %7.1f GFLOP/s %8.2f s   LAPACK %7.1f   ratio %.3f\n", n,
           median(ours, repeats), flops / median(ours, repeats), median(theirs, repeats),
           median(ratio, repeats));
    return true;
}

static enum err run_gptq(struct kernel *kernel, size_t rows, size_t n, const double *gram)
{
    struct grid_scheme scheme = {.bits = 4,
                                 .symmetric = true,
                                 .strategy = n % 128 == 0 ? GRID_GROUP : GRID_CHANNEL,
                                 .group_size = 128,
                                 .scale_dtype = DTYPE_BF16};
    struct gptq_options options = {.damp = 0.01};
    struct gptq *gptq = NULL;
    struct gptq_result result = {0};
    double flops = (double)rows * (double)n * (double)n / 1e9, error, start;
    enum err err = ERR_OK;
    float *w = mem_alloc(rows * n, sizeof(*w));
    if (w == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < rows * n; i++)
        w[i] = random_uniform_f32(2, i) - 0.5f;
    start = now_s();
    TRY_OUT(gptq_create(kernel, &options, n, gram, &gptq));
    printf("prepare n %6zu                     %8.2f s\n", n, now_s() - start);
    start = now_s();
    TRY_OUT(gptq_quantize(kernel, gptq, &scheme, rows, w, NULL, "w", NULL, &result));
    printf("round   n %6zu   %7.1f GFLOP/s %8.2f s   rows %zu\n", n, flops / (now_s() - start),
           now_s() - start, rows);
    start = now_s();
    TRY_OUT(gram_error(kernel, rows, n, w, result.values, gram, NULL, &error));
    printf("error   n %6zu   %7.1f GFLOP/s %8.2f s   rows %zu   %.9g against %.9g\n", n,
           flops / (now_s() - start), now_s() - start, rows, error, result.error);
out:
    gptq_result_fini(&result);
    gptq_destroy(&gptq);
    mem_free(w);
    return err;
}

static size_t argument(int count, char **words, int index, size_t otherwise, size_t most)
{
    unsigned long value = count > index ? strtoul(words[index], NULL, 10) : otherwise;
    return value >= 1 && value <= most ? value : otherwise;
}

int main(int count, char **words)
{
    size_t threads = argument(count, words, 1, 1, KERNEL_THREADS_MAX);
    size_t n = argument(count, words, 2, 4096, 1 << 15);
    size_t rows = argument(count, words, 3, n, 1 << 20);
    size_t repeats = argument(count, words, 4, 3, REPEATS_MAX);
    struct kernel *kernel = NULL;
    double *gram = mem_alloc(n * n, sizeof(*gram)), *a = mem_alloc(n * n, sizeof(*a));
    enum err err = gram != NULL && a != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    if (err == ERR_OK)
        err = kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, (unsigned)threads, &kernel);
    if (err == ERR_OK) {
        openblas_set_num_threads((int)threads);
        printf("%s, %zu threads, medians of %zu\n", kernel_name(kernel), threads, repeats);
        draw(n, gram);
        if (!run_factors(kernel, n, repeats, gram, a))
            err = ERR_NOT_POSITIVE;
    }
    mem_free(a);
    if (err == ERR_OK)
        err = run_gptq(kernel, rows, n, gram);
    if (err != ERR_OK)
        fprintf(stderr, "bench_solve: %s\n", error_text(err));
    kernel_destroy(&kernel);
    mem_free(gram);
    return err == ERR_OK ? 0 : 1;
}
