/* model_values.h - the numbers of a parameter, whatever file they lie in.
 *
 * Files differ in type, in the order of rows and in which way a matrix is turned (struct
 * model_param). Who works on weights as numbers, and does not multiply by them, reads them here.
 */
#ifndef WORKER_ENGINE_NN_MODEL_VALUES_H
#define WORKER_ENGINE_NN_MODEL_VALUES_H

#include "worker/engine/nn/model.h"

/* Rows [first, first + count) of a parameter that has data, as (count, columns) in out: exact
 * values of the file's type (of ternary weights, times their scale), rows and columns as in a
 * linear module's (out, in), rows in the order of the family's folders. Any thread. */
void model_values_read(const struct model *model, size_t param, size_t first, size_t count,
                       float *out);

#endif
