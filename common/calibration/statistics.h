/* statistics.h - what calibration saw at the inputs of linear layers, as numbers that merge
 * exactly.
 *
 * A site is one input of linear layers (q, k and v share one). What is kept of it is a bit set. One
 * `struct statistics` is one node of the tree of common/numeric/fold.h over the calibration rows:
 * a leaf is one row, in which f64 sums run over the row's tokens in ascending order; a parent is
 * left + right (statistics_fold.h). Extremes, counts and records merge exactly in any order, and so
 * every worker count and every split of the rows ends in the same bytes.
 *
 * A file holds ONE node: rows [i * 2^k, min((i + 1) * 2^k, row_count)). Ranges handed to tasks are
 * therefore aligned powers of two, the last one may be shorter. It is a safetensors file:
 *
 *   <site>.sum_x2, .sum_abs        F64 [columns]            sums of x^2, of |x|
 *   <site>.max_abs, .min, .max     F32 [columns]
 *   <site>.average                 F32 [rows, 1, 2]         a row's least and largest value
 *   <site>.average_channel         F32 [rows, columns, 2]
 *   <site>.histogram               I64 [1, 4096]            signed (histogram.h), whole tensor
 *   <site>.histogram_exponent      I32 [1]
 *   <site>.histogram_channel       I64 [columns, 64]        signed, coarse
 *   <site>.histogram_channel_exponent  I32 [columns]
 *   <site>.columns                 I64 []                   always
 *   notes: format, profile, row_begin, row_end, row_count, tokens
 *
 * Nothing in it varies with time, host or order. Reading checks all of it: types, shapes and sizes
 * before memory is asked for, numbers finite and in order, counts that add up to the tokens.
 *
 * Memory, for a Llama of 7 B (32 layers, 129 sites, 749,568 columns in all) and 512 rows:
 *   sum_x2 6 MB, sum_abs 6 MB, max_abs 3 MB, min and max 6 MB, average 0.5 MB, histogram 4 MB;
 *   histogram_channel 384 MB, average_channel 3 GB: for chosen sites. All is bounded by
 *   LIMIT_STATISTICS_MIB. A fold adds the sums once a level of its tree.
 * Refuses to know: models, tasks, how numbers become scales (range_search.h).
 */
#ifndef COMMON_CALIBRATION_STATISTICS_H
#define COMMON_CALIBRATION_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/calibration/histogram.h"
#include "common/formats/source/file.h"
#include "common/numeric/fold.h"

enum statistics_kind {
    STATISTICS_SUM_X2 = 1 << 0,
    STATISTICS_SUM_ABS = 1 << 1,
    STATISTICS_MAX_ABS = 1 << 2,
    STATISTICS_MIN_MAX = 1 << 3,
    STATISTICS_AVERAGE = 1 << 4,           /* records for moving averages, of whole rows */
    STATISTICS_AVERAGE_CHANNEL = 1 << 5,   /* the same for each column */
    STATISTICS_HISTOGRAM = 1 << 6,         /* of the whole tensor */
    STATISTICS_HISTOGRAM_CHANNEL = 1 << 7, /* of each column */
    STATISTICS_KINDS = (1 << 8) - 1
};

enum {
    STATISTICS_SITES_MAX = 1 << 16,
    STATISTICS_COLUMNS_MAX = 1 << 24,
    STATISTICS_NAME_BYTES_MAX = 512,
    STATISTICS_BINS = 2048,      /* of one sign */
    STATISTICS_BINS_CHANNEL = 32 /* of one sign */
};

/* What is asked of a site. */
struct statistics_ask {
    struct text name; /* UTF-8, 1 to STATISTICS_NAME_BYTES_MAX bytes */
    size_t columns;
    unsigned kinds; /* bits of enum statistics_kind, at least one */
};

/* What is asked of a model. All borrowed. */
struct statistics_plan {
    const struct statistics_ask *asks; /* any order */
    size_t count;
    uint64_t row_count;  /* leaves of the tree: all calibration rows */
    struct text profile; /* numeric profile, "f32/1" */
};

/* Arrays are NULL where their kind was not asked for. */
struct statistics_site {
    struct text name;
    size_t columns;
    unsigned kinds;
    double *sum_x2, *sum_abs;           /* [columns] */
    float *max_abs, *min, *max;         /* [columns] */
    float *average;                     /* [rows, 1, 2] */
    float *average_channel;             /* [rows, columns, 2] */
    struct histogram histogram;         /* one channel */
    struct histogram histogram_channel; /* a channel each column */
    uint64_t tokens;                    /* seen */
};

/* Read-only for callers. */
struct statistics {
    struct statistics_site *sites; /* in byte order of their names, whatever the order asked */
    size_t count;
    struct fold_node rows; /* the node; begin == end: nothing finished yet */
    uint64_t row_count;    /* of the tree */
    uint64_t tokens;       /* of all rows of the node */
    struct text profile;
    uint64_t room; /* rows that the records have memory for */
    double *sums;  /* all sum_x2 and sum_abs, one after the other */
    size_t sum_count;
    void *memory; /* owned: all of the above */
};

/* Bytes that statistics_create takes for records of `room` rows. ERR_OVERFLOW. */
MUST_CHECK enum err statistics_size(const struct statistics_plan *plan, uint64_t room,
                                    size_t *size_bytes);

/* Statistics of nothing, with memory for records of `room` rows: 1 for a leaf. Copies what it
 * needs of `plan`. ERR_LIMIT (sites, columns, names, LIMIT_STATISTICS_MIB), ERR_STATE (no site, no
 * kind, no column, no row), ERR_EXISTS (two sites of one name), ERR_OUT_OF_MEMORY. Release with
 * statistics_destroy. */
MUST_CHECK enum err statistics_create(const struct statistics_plan *plan, uint64_t room,
                                      struct statistics **out);

/* NULL and *stats NULL are allowed. */
void statistics_destroy(struct statistics **stats);

/* NULL when there is none. Its place in `sites` is the index for statistics_observe, and the same
 * in all statistics of one plan. */
const struct statistics_site *statistics_find(const struct statistics *stats, struct text name);

/* Forgets everything; the node is empty and begins at `row`. */
void statistics_clear(struct statistics *stats, uint64_t row);

/* Begins a leaf: forgets everything, takes row `row` < row_count (asserted). */
void statistics_start(struct statistics *leaf, uint64_t row);

/* A whole row at one site. What is NULL is computed from x; who has the sums already (the engine,
 * with its threads) hands them in: they are the same bits. */
struct statistics_seen {
    size_t tokens;                  /* more than 0 */
    const float *x;                 /* (tokens, columns); may be NULL when all that is asked for
                                     * follows from the rest: histograms never do */
    const double *sum_x2, *sum_abs; /* (columns) from +0 over the tokens ascending: sum + x * x and
                                     * sum + |x| in f64, not contracted */
    const float *min, *max;         /* (columns), both or none */
};

/* Adds the leaf's row at site `index`, once a row (asserted). ERR_NOT_FINITE: nothing was added;
 * the caller names row and site. */
MUST_CHECK enum err statistics_observe(struct statistics *leaf, size_t index,
                                       const struct statistics_seen *seen);

/* Ends the leaf: every site has seen the same number of tokens, else ERR_STATE. */
MUST_CHECK enum err statistics_end(struct statistics *leaf);

/* The site's least and largest value over all columns. False without MIN_MAX or anything seen. */
bool statistics_range(const struct statistics_site *site, float *min, float *max);

/* Sends the file. Passes on the sink's errors; ERR_STATE while there are no rows. */
MUST_CHECK enum err statistics_write(const struct statistics *stats, file_sink_f sink,
                                     void *context);

/* A file in memory, which is not needed afterwards; `name` is for messages. ERR_TRUNCATED,
 * ERR_FORMAT, ERR_SHAPE, ERR_LIMIT, ERR_NOT_FINITE with the file, the tensor, expected and found in
 * `et`; ERR_OUT_OF_MEMORY. Release with statistics_destroy. */
MUST_CHECK enum err statistics_parse(struct span content, const char *name, struct statistics **out,
                                     struct err_text *et);

#endif
