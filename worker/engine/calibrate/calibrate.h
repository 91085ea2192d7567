/* calibrate.h - what the linear modules of a model are given: the leaves of calibration.
 *
 * The leaf of every sum is one row of tokens. A call runs one row and hands out, site by site
 * (nn/model_site.h), what its values say: the same bits on any machine of the profile, with any
 * number of threads. Folding leaves is the caller's (common/calibration).
 *
 * A model runs whole, or layer by layer on hidden states that the caller keeps: then no more than
 * one layer's activations are held, and the layers may be those of different models (overlays).
 *
 * Refuses to know: shards, files, methods of quantization.
 */
#ifndef WORKER_ENGINE_CALIBRATE_CALIBRATE_H
#define WORKER_ENGINE_CALIBRATE_CALIBRATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/batch.h"
#include "worker/engine/nn/model.h"

struct kernel;
struct calibrate;

enum calibrate_sums { /* a set of bits: what is summed of each column */
                      CALIBRATE_SUM_X2 = 1,
                      CALIBRATE_SUM_ABS = 2,
                      CALIBRATE_RANGE = 4, /* min, max */
};

/* One row at one site; all borrowed for the call. Arrays are (columns), NULL unless asked for. */
struct calibrate_leaf {
    unsigned sums; /* what was asked for */
    size_t site;   /* index of model_site() */
    uint64_t row;  /* index of the row */
    size_t tokens, columns;
    const double *sum_x2, *sum_abs; /* one chain over the tokens ascending, from +0 */
    const float *min, *max;
    const float *x; /* (tokens, columns): the values themselves, finite */
};

/* Takes a leaf; sites come in ascending order. An error stops the run, which returns it. */
typedef enum err (*calibrate_leaf_f)(void *context, const struct calibrate_leaf *leaf);

/* For rows of at most `sequence_len` tokens. `sums`: bits of enum calibrate_sums, may be 0. Model
 * and kernel are borrowed and must outlive *out. Caller owns *out. One call at a time on one struct
 * calibrate. ERR_OVERFLOW, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err calibrate_create(const struct model *model, struct kernel *kernel,
                                     unsigned sums, size_t sequence_len, struct calibrate **out);
void calibrate_destroy(struct calibrate **calibrate);

/* Borrowed as it was given. */
const struct model *calibrate_model(const struct calibrate *calibrate);

/* Bytes that calibrate_create will hold, the model's weights aside. ERR_OVERFLOW. */
MUST_CHECK enum err calibrate_size_bytes(const struct model *model, size_t sequence_len,
                                         size_t *size_bytes);

/* Runs a row through the model, without the projection on the vocabulary; its loss mask is not
 * read. ERR_NOT_FINITE: a value at a site, or between two, is not finite: `et` names row, token,
 * layer and site; leaves of the sites before it have been given. ERR_DATA, ERR_LIMIT: as batch_add.
 */
MUST_CHECK enum err calibrate_row(struct calibrate *calibrate, const struct batch_input *row,
                                  calibrate_leaf_f leaf, void *context, struct err_text *et);

/* ---- layer by layer; chained, these give the bits of calibrate_row ---- */

/* hidden: (tokens, width) receives the row's input of layer 0. */
MUST_CHECK enum err calibrate_embed(struct calibrate *calibrate, const struct batch_input *row,
                                    float *hidden, struct err_text *et);

/* Runs one layer: x (tokens, width) is its input for the row, `next` receives its output and may be
 * x. `leaf` sees the layer's sites; NULL: nobody does. Errors as calibrate_row. */
MUST_CHECK enum err calibrate_layer(struct calibrate *calibrate, const struct batch_input *row,
                                    size_t layer, const float *x, float *next,
                                    calibrate_leaf_f leaf, void *context, struct err_text *et);

/* Behind the last layer: `leaf` sees the head's site. x stays as it is. */
MUST_CHECK enum err calibrate_head(struct calibrate *calibrate, const struct batch_input *row,
                                   const float *x, calibrate_leaf_f leaf, void *context,
                                   struct err_text *et);

#endif
