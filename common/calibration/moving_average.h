/* moving_average.h - a range that follows what it sees, whoever saw it: records folded in order.
 *
 * The usual observer keeps a running value and so depends on which rows one process happened to
 * see. Here every row leaves a record (its least and largest value) and the rule runs once over all
 * records in row order:  v = first;  v = v + c * (record - v), in f32.
 *
 * Source: MovingAverageMinMaxObserver of torch.ao, whose bits these are.
 */
#ifndef COMMON_CALIBRATION_MOVING_AVERAGE_H
#define COMMON_CALIBRATION_MOVING_AVERAGE_H

#include <stddef.h>

#define MOVING_AVERAGE_CONSTANT 0.01f /* torch.ao's and llm-compressor's */

/* Folds `rows` (> 0) records of one channel, (min, max) each; the records of neighbouring rows are
 * 2 * stride floats apart: with records of (rows, columns, 2), column c begins at 2 * c and has
 * stride `columns`. */
void moving_average_fold(float constant, const float *records, size_t rows, size_t stride,
                         float *min, float *max);

#endif
