/* model_overlay.h - a model that has other weights in some places and borrows all else.
 *
 * So quantized weights are tried out without a copy of the model, and layers run on weights that
 * are not in any file yet.
 */
#ifndef WORKER_ENGINE_NN_MODEL_OVERLAY_H
#define WORKER_ENGINE_NN_MODEL_OVERLAY_H

#include "worker/engine/nn/model.h"

/* Other values of one parameter: matrices (rows, columns) = (out, in), row-major, rows in the order
 * of the family's folders, however the base's file holds them; a vector has columns 1, and gains
 * are stored as the base stores them (struct model_shape: norm_offset). */
struct model_override {
    const char *name; /* of the parameter, as struct model_param has it */
    size_t rows, columns;
    const float *data; /* borrowed until the overlay is destroyed */
};

/* Parameters that no override names are those of `base`, which is borrowed and must outlive *out;
 * so must the overrides' data, the list itself not. Modules that see their input rounded (BitNet)
 * go on doing so. Caller owns *out, release with model_destroy.
 * ERR_NOT_FOUND: no parameter has the name, or it is a part of a fused module; ERR_SHAPE: rows and
 * columns are not the parameter's; ERR_DATA: two overrides of one parameter. `et` names it.
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_overlay_create(const struct model *base,
                                         const struct model_override *overrides, size_t count,
                                         struct model **out, struct err_text *et);

#endif
