/* event_reader.h - event files read back, record by record.
 *
 * A file may end within a record, when its writer still writes or was killed: that is no damage,
 * and `good_bytes` says where the last whole record ends. A record whose checks or messages are
 * wrong is.
 * Refuses to know: which tags there are; values of other kinds than ours are passed over.
 */
#ifndef COMMON_FORMATS_TENSORBOARD_EVENT_READER_H
#define COMMON_FORMATS_TENSORBOARD_EVENT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct event_reader {
    struct span file; /* borrowed */
    size_t good_bytes;
    size_t record_count;
    bool is_torn; /* what follows the last record is the beginning of another */
};

/* One Event; texts and spans lie in the file. */
struct event_reader_event {
    double wall_s;
    uint64_t step;
    struct text file_version; /* of the first record, else empty */
    struct span summary;
};

enum event_reader_kind { EVENT_READER_SCALAR, EVENT_READER_HISTOGRAM, EVENT_READER_OTHER };

struct event_reader_value {
    struct text tag;
    enum event_reader_kind kind;
    double scalar;
    double min, max, total, sum, sum_squares;
    struct span limits, counts; /* f64 each, little-endian, equally many */
};

static inline struct event_reader event_reader_of(struct span file)
{
    return (struct event_reader){.file = file};
}

/* The next record. *is_end: there is none, *out is as it was. ERR_DIGEST: a check is wrong;
 * ERR_FORMAT: a message is; ERR_LIMIT; each with record and offset in `et`. */
MUST_CHECK enum err event_reader_next(struct event_reader *reader, struct event_reader_event *out,
                                      bool *is_end, struct err_text *et);

/* Takes the next value off `summary`, which was a whole one at first. False: none is left. */
bool event_reader_value(struct span *summary, struct event_reader_value *out);

/* Number `index` of a list. */
double event_reader_f64(struct span list, size_t index);

#endif
