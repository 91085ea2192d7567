/* scores.h - what comparing a range of rows gave, on its way to whoever folds the ranges.
 *
 * A safetensors file:
 *
 *   counts  U64 [n, 2]  positions and agreements of each row
 *   sums    F64 [n, 4]  base_loss, result_loss, kl, kl_max
 *
 * with notes: kind ("scores/1"), first and total (the rows' place among all), base_bytes and
 * result_bytes (of the files compared), and the rules of the rows (perplexity.h).
 */
#ifndef WORKER_ENGINE_COMPARE_SCORES_H
#define WORKER_ENGINE_COMPARE_SCORES_H

#include "common/formats/dataset/perplexity.h"
#include "common/mem/bytes.h"
#include "worker/engine/compare/compare.h"

struct scores {
    uint64_t first, count, total; /* rows [first, first + count) of total */
    uint64_t base_bytes, result_bytes;
    struct perplexity perplexity;
    const uint64_t *counts; /* borrowed from the blob: (count, 2) */
    const double *sums;     /* (count, 4) */
};

/* Appends a blob; counts and sums of *scores are not looked at, rows: (count). */
MUST_CHECK enum err scores_write(const struct scores *scores, const struct compare_sums *rows,
                                 struct bytes *out);

/* Checks ranges, numbers (finite, not negative where they cannot be) and version. `blob` is aligned
 * to 8 and outlives *out. ERR_FORMAT, ERR_VERSION. */
MUST_CHECK enum err scores_open(struct span blob, const char *name, struct scores *out,
                                struct err_text *et);

/* Row `index` < count. */
struct compare_sums scores_at(const struct scores *scores, uint64_t index);

/* All of `total` rows, from blobs in order without gap, folded along the tree of
 * common/numeric/fold.h. ERR_FORMAT: a gap, an overlap, or blobs under different rules. */
MUST_CHECK enum err scores_fold(const struct scores *parts, size_t count, struct compare_sums *out,
                                struct err_text *et);

#endif
