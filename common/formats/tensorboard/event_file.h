/* event_file.h - TensorBoard's event files: what a run logged, for everybody's viewer.
 *
 * A file is a row of records, everything in little-endian order:
 *
 *     u64 length | u32 check of the length | payload | u32 check of the payload
 *
 * A check is the CRC32C of the bytes, turned right by 15 bits, plus 0xa282ead8. A payload is one
 * message Event; the first names the version of the file, the others have a time, a step and
 * values. Viewers take a torn last record for one that is still being written, so a follower
 * appends whole records only, and goes on behind the last whole one.
 * Refuses to know: files, clocks, jobs.
 *
 * Source: TensorFlow core/lib/io/record_writer.cc, core/util/event.proto,
 * core/framework/summary.proto; TensorBoard reads the same.
 */
#ifndef COMMON_FORMATS_TENSORBOARD_EVENT_FILE_H
#define COMMON_FORMATS_TENSORBOARD_EVENT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

enum { EVENT_FILE_HEAD_BYTES = 12, EVENT_FILE_RECORD_BYTES_MAX = 64 << 20 };

struct event_file_scalar {
    const char *tag; /* "train/loss" */
    double value;    /* kept as f32 */
};

/* Counts between ascending limits: counts[i] is of values in [limits[i - 1], limits[i]). */
struct event_file_histogram {
    const char *tag;
    double min, max;
    double total; /* of counts */
    double sum, sum_squares;
    const double *limits;
    const double *counts;
    size_t count;
};

/* Append one record each; times are seconds of the epoch. Failure is kept in `out`. */
void event_file_begin(double wall_s, struct bytes *out);
void event_file_scalars(double wall_s, uint64_t step, const struct event_file_scalar *scalars,
                        size_t count, struct bytes *out);
void event_file_histogram(double wall_s, uint64_t step,
                          const struct event_file_histogram *histogram, struct bytes *out);

/* Appends the record around a payload. */
void event_file_record(struct span payload, struct bytes *out);

/* Check of `content`. */
uint32_t event_file_check(struct span content);

#endif
