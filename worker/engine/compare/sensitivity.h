/* sensitivity.h - how far a model moves when one of its parameters becomes something else.
 *
 * A few rows go through the base once; what enters the layer of the parameter, and what leaves the
 * last, is kept. Each version of the parameter then costs only the layers from there on and the
 * head. Every token of a row counts: KL(base || changed) of the next token's distributions, which
 * needs no label, so a row says more here than a loss does.
 *
 * The leaf is one row, rows are added in their order; neither threads nor the instruction set
 * change a bit. Memory: two times the rows' hidden states, and the activations of one row.
 *
 * Refuses to know: formats, and what is done with the figures.
 */
#ifndef WORKER_ENGINE_COMPARE_SENSITIVITY_H
#define WORKER_ENGINE_COMPARE_SENSITIVITY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/batch.h"
#include "worker/engine/nn/model.h"

struct kernel;
struct sensitivity;

struct sensitivity_sums {
    uint64_t positions;
    double kl; /* natural log */
    double kl_max;
};

/* Runs the rows through `base`, whose parameter `param` is the one that will change. Model and
 * kernel are borrowed and must outlive *out, the rows and what they point to also. Caller owns
 * *out. ERR_NOT_FINITE: `et` names module, layer and row; ERR_DATA, ERR_LIMIT: as batch_add;
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err sensitivity_create(const struct model *base, struct kernel *kernel,
                                       size_t param, const struct batch_input *rows, size_t count,
                                       struct sensitivity **out, struct err_text *et);
void sensitivity_destroy(struct sensitivity **sensitivity);

/* Overwrites *sums. `changed` is the base with other values of the parameter (an overlay). Errors
 * as sensitivity_create. */
MUST_CHECK enum err sensitivity_measure(struct sensitivity *sensitivity,
                                        const struct model *changed, struct sensitivity_sums *sums,
                                        struct err_text *et);

/* Most bytes of hidden states, activations and logits held so far. */
size_t sensitivity_peak_bytes(const struct sensitivity *sensitivity);

#endif
