/* awq_trial.h - one trial of AWQ: a module rounded on its grid, and the error of that. */
#ifndef WORKER_ENGINE_SOLVE_AWQ_TRIAL_H
#define WORKER_ENGINE_SOLVE_AWQ_TRIAL_H

#include "worker/engine/solve/awq.h"
#include "worker/engine/solve/gram_form.h"

/* Working memory for modules of at most rows_max rows. */
struct awq_trial {
    struct kernel *kernel;     /* borrowed */
    struct grid_scheme scheme; /* with MINMAX */
    size_t columns, rows_max;
    struct gram_form form; /* owned, of all columns */
    float *delta;          /* owned, (rows_max, columns): what is rounded, then the change */
    float *values;         /* owned, (threads, columns) */
    int8_t *codes;         /* owned, (threads, columns) */
    double *errors;        /* owned, (rows_max) */
};

/* ERR_NOT_FINITE, ERR_OUT_OF_MEMORY: then *trial is to be released all the same. */
MUST_CHECK enum err awq_trial_init(struct awq_trial *trial, struct kernel *kernel,
                                   const struct grid_scheme *scheme, const struct awq_input *input,
                                   size_t rows_max);
void awq_trial_fini(struct awq_trial *trial); /* a zeroed object is allowed */

/* What is tried on one module. */
struct awq_attempt {
    size_t rows;
    const float *weights; /* (rows, columns) */
    const float *times;   /* (columns): x = weights * times is rounded; NULL: ones */
    const float *over;    /* (columns): the change is (Q(x) - x) / over; NULL: ones */
    const float *bounds;  /* (cells): x is clamped to -bound..bound before Q; NULL: not */
};

/* The error E of the whole module. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err awq_trial_error(struct awq_trial *trial, const struct awq_attempt *attempt,
                                    double *error);

#endif
