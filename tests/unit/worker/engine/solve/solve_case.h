/* solve_case.h - kernels to compare and matrices to solve, for the tests of engine/solve. */
#ifndef TESTS_UNIT_WORKER_ENGINE_SOLVE_SOLVE_CASE_H
#define TESTS_UNIT_WORKER_ENGINE_SOLVE_SOLVE_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/engine/kernel/kernel.h"

enum { SOLVE_KERNELS_MAX = 5 };

/* The fastest of this machine with 1, 2 and 3 threads, then AVX2 and portable with one; what the
 * processor lacks is left out. */
struct solve_kernels {
    size_t count;
    struct kernel *kernel[SOLVE_KERNELS_MAX];
};

void solve_kernels_init(struct solve_kernels *kernels);
void solve_kernels_fini(struct solve_kernels *kernels);

/* Calibration as it might be: tokens whose features share a few causes and differ in size.
 * gram: (columns, columns) of `tokens` draws; scale_spread: the largest feature over the least. */
double *solve_case_gram(uint64_t seed, size_t columns, size_t tokens, double scale_spread);

/* (rows, columns) normal weights of deviation 0.05. */
float *solve_case_weights(uint64_t seed, size_t rows, size_t columns);

#endif
