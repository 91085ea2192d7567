/* rows_bench.h - one kernel for each instruction set and thread count, and operands for row
 * kernels: what the tests of row kernels share.
 */
#ifndef TESTS_NUMERIC_KERNEL_ROWS_BENCH_H
#define TESTS_NUMERIC_KERNEL_ROWS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"

/* Tokens, width, vocabulary: odd, so that partial lanes take part. */
enum { T = 29, C = 203, V = 17, N = T * C, KERNELS_MAX = 9, BUFFERS = 8 };

struct rows_bench {
    struct kernel *kernel[KERNELS_MAX]; /* owned; the portable one first, the best one last */
    size_t count;
    float *buffer[BUFFERS];   /* owned; N each */
    float *expected, *result; /* owned; 4 N each */
    uint64_t places[T];
    uint32_t ids[T];
};

/* Group fixtures: *state is the bench. */
int rows_bench_setup(void **state);
int rows_bench_teardown(void **state);

/* Fills every buffer with ordinary normal values that depend on `seed`. */
void rows_bench_draw(struct rows_bench *b, uint64_t seed);

/* The kernel of the best instruction set with the most threads. */
struct kernel *rows_bench_best(const struct rows_bench *b);

/* Not the same bits, and not both NaN. */
bool rows_bench_differs(float a, float b);

/* One use of a kernel: writes up to 4 N floats of results. */
typedef void (*rows_bench_use_f)(struct rows_bench *b, struct kernel *kernel, float *out);

/* Fails unless every kernel gives the bits of the portable one on ordinary, denormal, large and not
 * finite operands. */
void rows_bench_compare(struct rows_bench *b, const char *name, rows_bench_use_f use);

#endif
