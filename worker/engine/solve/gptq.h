/* gptq.h - a matrix on an integer grid with least error at the outputs of its layer (GPTQ).
 *
 * Frantar et al. 2022 (arXiv 2210.17323): columns are rounded one after the other, and each time
 * the columns that are still free move so that the error sum over rows of d G d^T is least, where d
 * is a row's difference and G = sum over calibration tokens of x x^T. (The paper's H is 2 G over
 * the number of tokens; a factor changes nothing here, so a plain sum is asked for.)
 *
 * The paper walks along the upper Cholesky factor of H's inverse. Chee et al. 2023 (QuIP, arXiv
 * 2307.13304) show that this is rounding with linear feedback: with G = R D R^T, R unit upper
 * triangular, column j is rounded at
 *
 *   t_j = w_j + sum over k < j of (w_k - q_k) R_kj         one chain in doubles, k ascending
 *
 * Ours is that form: no inverse is taken, half the work and fewer digits lost, and no block size is
 * part of the result. Rows of the matrix do not depend on each other. Bits depend on neither
 * threads nor instruction set. Refuses to know: where G comes from, files, models.
 */
#ifndef WORKER_ENGINE_SOLVE_GPTQ_H
#define WORKER_ENGINE_SOLVE_GPTQ_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/quant/grid.h"

enum gptq_order {
    GPTQ_ORDER_COLUMNS,  /* as they stand; scales of a GROUP are found where it starts, from the
                            weights as moved so far */
    GPTQ_ORDER_DIAGONAL, /* largest diagonal of G first, equal ones as they stand; scales are found
                            before, from the original weights: "static" act-order, groups stay runs
                            of columns */
};

struct gptq_options {
    double damp; /* >= 0: this part of the mean diagonal is added to it; usually 0.01 */
    enum gptq_order order;
};

/* G made ready, for all matrices that share the input. */
struct gptq;

/* gram: (columns, columns), columns > 0; only what is on and below its diagonal is read. A column
 * whose diagonal is 0 is dead: it never multiplied anything, its weights become 0, and the mean
 * diagonal is that of the others. Where the damped matrix is not positive definite, ten times, then
 * a hundred times the damping (0.01 where it was 0) is tried.
 * ERR_NOT_FINITE: an element of G is, or a diagonal below 0. ERR_NOT_POSITIVE: all three failed.
 * ERR_OUT_OF_MEMORY. Asks for 1.5 times the memory of gram, and keeps a third of that. */
MUST_CHECK enum err gptq_create(struct kernel *kernel, const struct gptq_options *options,
                                size_t columns, const double *gram, struct gptq **out);
void gptq_destroy(struct gptq **gptq);

/* The part of the mean diagonal that was added in the end, and the number of dead columns. */
double gptq_damp(const struct gptq *gptq);
size_t gptq_dead_count(const struct gptq *gptq);

struct gptq_result {
    struct grid grid;
    int8_t *codes; /* owned; (rows, columns) */
    float *values; /* owned; (rows, columns): what codes and grid say */
    double error;  /* sum over rows of d G d^T, d = values - w, dead columns of w taken as 0 */
};

/* w: (rows, columns), finite. importance: (columns) for GRID_IMPORTANCE, or NULL. `name` is the
 * tensor's, for `et`. The scales of TENSOR, CHANNEL and BLOCK are found before, from the original
 * weights. Errors as grid_init; *result is then untouched. Costs rows * columns^2 operations. */
MUST_CHECK enum err gptq_quantize(struct kernel *kernel, const struct gptq *gptq,
                                  const struct grid_scheme *scheme, size_t rows, const float *w,
                                  const float *importance, const char *name, struct err_text *et,
                                  struct gptq_result *result);
void gptq_result_fini(struct gptq_result *result); /* a zeroed object is allowed */

#endif
