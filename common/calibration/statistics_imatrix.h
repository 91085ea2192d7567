/* statistics_imatrix.h - an importance matrix of llama.cpp from sums of squares. */
#ifndef COMMON_CALIBRATION_STATISTICS_IMATRIX_H
#define COMMON_CALIBRATION_STATISTICS_IMATRIX_H

#include "common/calibration/statistics.h"
#include "common/formats/imatrix/imatrix.h"

/* A weight in the words of GGUF and the site whose input it multiplies: several weights may share
 * one. */
struct statistics_imatrix_entry {
    struct text weight; /* "blk.0.attn_q.weight" */
    struct text site;
};

struct statistics_imatrix_options {
    uint32_t chunk_size; /* tokens of a row: what a chunk is to llama.cpp; at least 1 */
    struct text dataset; /* name of the calibration text; no entry when empty */
};

/* Sums as f32, counts as tokens; imatrix_write writes both forms of it. ERR_NOT_FOUND (a site that
 * is not there), ERR_STATE (a site without SUM_X2, no rows, chunk_size 0), ERR_EXISTS (two entries
 * of one weight), ERR_LIMIT, ERR_OUT_OF_MEMORY. Release with imatrix_close. */
MUST_CHECK enum err statistics_imatrix(const struct statistics *stats,
                                       const struct statistics_imatrix_entry *entries, size_t count,
                                       const struct statistics_imatrix_options *options,
                                       struct imatrix *out, struct err_text *et);

#endif
