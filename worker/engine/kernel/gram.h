/* gram.h - X^T X of the columns of one matrix, added to a sum in f64: what GPTQ and its kin ask of
 * the inputs of a linear module.
 */
#ifndef WORKER_ENGINE_KERNEL_GRAM_H
#define WORKER_ENGINE_KERNEL_GRAM_H

#include <stddef.h>

struct kernel;

enum { GRAM_PANEL = 256 }; /* rows of the matrix that are computed at once */

/* triangle += the upper triangle of x^T x for x (T, C): row i holds its columns i..C-1, one row
 * after the other. Each element of the product is one chain over t ascending in f32 (profile
 * f32/1), then one addition in f64. panel: GRAM_PANEL * C floats of the kernel. */
void gram_add(struct kernel *kernel, size_t T, size_t C, const float *x, float *panel,
              double *triangle);

#endif
