/* task_site.h - the linear layers of one site become small, together with what feeds them: the unit
 * of work of a quantize task towards a folder.
 *
 * What comes out is a safetensors file of the tensors as the result will hold them: the layers'
 * own, and the norm where the site's scales were moved into it. Internal to task.
 */
#ifndef WORKER_TASK_TASK_SITE_H
#define WORKER_TASK_TASK_SITE_H

#include "worker/task/task_run.h"
#include "worker/task/task_scheme.h"

/* What is known of the site's input. Borrowed; NULL where it was not measured. */
struct task_site_measure {
    uint64_t tokens;
    const double *sum_x2, *sum_abs; /* (columns) */
    const float *max_abs;           /* (columns) */
    const double *gram;             /* (columns, columns) */
    float input_scale;              /* of static activations */
};

/* Quantizes the site's layers by the scheme and hands in "tensors" and "figures". ERR_SHAPE: groups
 * do not divide a layer; ERR_NOT_FINITE: a weight, with its layer; errors of the solvers. */
MUST_CHECK enum err task_site_quantize(struct task_run *run, const struct model *model,
                                       const struct task_scheme *scheme,
                                       const struct model_site *site,
                                       const struct task_site_measure *measure,
                                       struct err_text *et);

#endif
