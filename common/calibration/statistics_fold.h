/* statistics_fold.h - nodes of statistics, in ascending order of rows, folded along the tree.
 *
 * Sums wait on a stack until their sibling comes (left + right, common/numeric/fold.h); extremes,
 * counts and records go straight into the result. What a worker does with the rows of its range and
 * what the reducer does with the ranges of all workers is this one thing.
 */
#ifndef COMMON_CALIBRATION_STATISTICS_FOLD_H
#define COMMON_CALIBRATION_STATISTICS_FOLD_H

#include "common/calibration/statistics.h"

struct statistics_fold;

/* For the node `rows` of the tree over plan->row_count: a task's range, or all rows. ERR_STATE: not
 * a node; errors of statistics_create. Release with statistics_fold_destroy. */
MUST_CHECK enum err statistics_fold_create(const struct statistics_plan *plan,
                                           struct fold_node rows, struct statistics_fold **out);

/* The same for sites, kinds and tree of `like`, a node that was read from a file. */
MUST_CHECK enum err statistics_fold_create_like(const struct statistics *like,
                                                struct fold_node rows,
                                                struct statistics_fold **out);

/* NULL and *fold NULL are allowed. */
void statistics_fold_destroy(struct statistics_fold **fold);

/* Adds the next node: a finished leaf, or a parsed file. ERR_STATE: not where the last one ended,
 * not a node, outside the fold's rows, or not finished; ERR_SHAPE: other sites, columns or kinds;
 * ERR_OVERFLOW; ERR_OUT_OF_MEMORY. On error the fold is as it was. */
MUST_CHECK enum err statistics_fold_push(struct statistics_fold *fold,
                                         const struct statistics *node, struct err_text *et);

/* The next row that push expects. */
uint64_t statistics_fold_next(const struct statistics_fold *fold);

/* The node of all rows pushed; borrowed until the fold is destroyed. ERR_STATE while rows are
 * missing, ERR_NOT_FINITE when a sum left the range of f64. */
MUST_CHECK enum err statistics_fold_finish(struct statistics_fold *fold,
                                           const struct statistics **out);

#endif
