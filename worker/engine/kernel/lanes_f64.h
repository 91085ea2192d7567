/* lanes_f64.h - the serial product of doubles, one table an instruction set.
 *
 * For factorizations and quadratic forms (engine/solve), where f32 has too few digits. The rule is
 * that of f32/1: an output element is one chain of fused multiply-adds over k, ascending, that
 * starts from the loaded element, so that a caller may cut k, rows and columns as caches ask. All
 * tables agree in every bit.
 */
#ifndef WORKER_ENGINE_KERNEL_LANES_F64_H
#define WORKER_ENGINE_KERNEL_LANES_F64_H

#include <stddef.h>

/* A tile of so many rows and columns fills the registers of every table: panels of these widths,
 * (k, ROWS) and (k, COLUMNS), are read fastest. */
enum { LANES_F64_ROWS = 8, LANES_F64_COLUMNS = 24 };

/* C (m, n) -= A^T B with A (k, m) and B (k, n), rows of each contiguous and so many elements apart.
 * C overlaps neither. */
struct lanes_f64_product {
    size_t m, n, k;
    const double *a;
    size_t a_row;
    const double *b;
    size_t b_row;
    double *c;
    size_t c_row;
};

struct lanes_f64 {
    /* c = fma(-a[p], b[p], c) for p = 0 .. k - 1. Nothing is packed. */
    void (*subtract)(const struct lanes_f64_product *product);
};

extern const struct lanes_f64 lanes_f64_portable;
#if defined(__x86_64__)
extern const struct lanes_f64 lanes_f64_avx2;
extern const struct lanes_f64 lanes_f64_avx512;
#endif

#endif
