/* statistics_shard.h - how calibration rows are shared out, for who plans and for who computes. */
#ifndef COMMON_CALIBRATION_STATISTICS_SHARD_H
#define COMMON_CALIBRATION_STATISTICS_SHARD_H

/* Rows of one task, from a multiple of it on: a power of two, so that every task folds a node of
 * the tree over all rows (common/numeric/fold.h). */
enum { STATISTICS_SHARD_ROWS = 4 };

#endif
