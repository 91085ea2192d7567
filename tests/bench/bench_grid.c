/* bench_grid.c - speed of the integer grids' searches and codes, one thread.
 *
 * usage: bench_grid [repeats]
 *
 * A line shows the median in MB/s of f32 read, ranges found and codes taken, and the seconds
 * that 1.1 billion weights would take.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/quant/grid.h"

enum { ROWS = 512, COLUMNS = 4096, ELEMENTS = ROWS * COLUMNS, REPEATS_MAX = 31 };

static const struct {
    const char *name;
    enum grid_preset preset;
    enum grid_range range;
} rows[] = {
    {"W8A8 minmax", GRID_PRESET_W8A8, GRID_MINMAX},
    {"W4A16 minmax", GRID_PRESET_W4A16, GRID_MINMAX},
    {"W4A16 mse", GRID_PRESET_W4A16, GRID_MSE},
    {"W4A16 importance", GRID_PRESET_W4A16, GRID_IMPORTANCE},
    {"W4A16_ASYM mse", GRID_PRESET_W4A16_ASYM, GRID_MSE},
};

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run(const struct grid_scheme *scheme, const float *x, const float *importance,
                int8_t *codes)
{
    struct grid grid;
    if (grid_init(&grid, scheme, ROWS, COLUMNS, "bench", NULL) != ERR_OK)
        return;
    grid_find(&grid, x, importance);
    for (size_t row = 0; row < ROWS; row++)
        grid_encode_row(&grid, row, x + row * COLUMNS, codes + row * COLUMNS);
    grid_fini(&grid);
}

int main(int argc, char **argv)
{
    double seconds[COUNT_OF(rows)][REPEATS_MAX];
    size_t repeats = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 5;
    float *x = mem_alloc(ELEMENTS, sizeof *x), *importance = mem_alloc(COLUMNS, sizeof *importance);
    int8_t *codes = mem_alloc(ELEMENTS, 1);
    repeats = MAX(MIN(repeats, (size_t)REPEATS_MAX), (size_t)1);
    if (x == NULL || importance == NULL || codes == NULL)
        return 1;
    for (size_t i = 0; i < ELEMENTS; i++)
        x[i] = random_normal_f32(1, i) * 0.02f;
    for (size_t i = 0; i < COLUMNS; i++)
        importance[i] = random_uniform_f32(2, i) + 0.01f;
    for (size_t r = 0; r < repeats; r++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            struct grid_scheme scheme = grid_preset_scheme(rows[i].preset);
            scheme.range = rows[i].range;
            double start = now_s();
            run(&scheme, x, importance, codes);
            seconds[i][r] = now_s() - start;
        }
    printf("%-18s %9s %12s\n", "one thread", "MB/s", "s per 1.1e9");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        qsort(seconds[i], repeats, sizeof(double), compare);
        double median = seconds[i][repeats / 2];
        printf("%-18s %9.0f %12.1f\n", rows[i].name, ELEMENTS * 4e-6 / median,
               median * 1.1e9 / ELEMENTS);
    }
    mem_free(x);
    mem_free(importance);
    mem_free(codes);
    return 0;
}
