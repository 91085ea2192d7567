/* bench_quant.c - how fast each block format is encoded, on one thread.
 *
 * usage: bench_quant [repeats [portable|avx2|avx512]]
 *
 * Formats take turns within one process, so that a busy machine slows all; a line shows the medians
 * of the repeats in MB/s of f32 read, without and with an importance matrix, and the seconds that
 * 1.1 billion weights would take. Weights are normal numbers, as in trained models.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"

enum { REPEATS_MAX = 101, ROWS = 64, COLUMNS = 4096, ELEMENTS = ROWS * COLUMNS, RUNS = 2 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), ascending);
    return values[count / 2];
}

static void print_line(enum dtype dtype, double plain_s, double important_s)
{
    double size_mb = (double)ELEMENTS * sizeof(float) / 1e6, scale = 1.1e9 / (double)ELEMENTS;
    printf("%-7s %9.0f %9.0f %12.1f %12.1f\n", dtype_name(dtype), size_mb / plain_s,
           size_mb / important_s, plain_s * scale, important_s * scale);
}

static enum kernel_isa isa_of(const char *name)
{
    return strcmp(name, "portable") == 0 ? KERNEL_ISA_PORTABLE
           : strcmp(name, "avx2") == 0   ? KERNEL_ISA_AVX2
           : strcmp(name, "avx512") == 0 ? KERNEL_ISA_AVX512
                                         : KERNEL_ISA_BEST;
}

int main(int argc, char **argv)
{
    static double seconds[DTYPE_FILE_COUNT][RUNS][REPEATS_MAX];
    size_t repeats = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 7;
    struct kernel *kernel = NULL;
    float *x = mem_alloc(ELEMENTS, sizeof(*x)), *importance = mem_alloc(COLUMNS, sizeof(float));
    uint8_t *out = mem_alloc(ELEMENTS, sizeof(float));
    repeats = MAX(MIN(repeats, (size_t)REPEATS_MAX), (size_t)1);
    if (x == NULL || importance == NULL || out == NULL ||
        kernel_create(KERNEL_PROFILE_F32, isa_of(argc > 2 ? argv[2] : ""), 1, &kernel) != ERR_OK) {
        (void)fprintf(stderr, "bench_quant: no memory, or not on this processor\n");
        return 1;
    }
    for (size_t i = 0; i < ELEMENTS; i++)
        x[i] = random_normal_f32(1, i) * 0.02f;
    for (size_t i = 0; i < COLUMNS; i++)
        importance[i] = random_uniform_f32(2, i) + 0.01f;
    for (size_t r = 0; r < repeats; r++)
        for (unsigned d = DTYPE_F16; d < DTYPE_FILE_COUNT; d++)
            for (size_t run = 0; run < RUNS; run++) {
                double start = now_s();
                kernel_encode(kernel, (enum dtype)d, ROWS, COLUMNS, x, run == 1 ? importance : NULL,
                              out);
                seconds[d][run][r] = now_s() - start;
            }
    printf("%s, one thread, median of %zu\n", kernel_name(kernel), repeats);
    printf("%-7s %9s %9s %12s %12s\n", "", "MB/s", "weighed", "s per 1.1e9", "weighed");
    for (unsigned d = DTYPE_F16; d < DTYPE_FILE_COUNT; d++)
        print_line((enum dtype)d, median(seconds[d][0], repeats), median(seconds[d][1], repeats));
    kernel_destroy(&kernel);
    mem_free(x);
    mem_free(importance);
    mem_free(out);
    return 0;
}
