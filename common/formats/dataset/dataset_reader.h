/* dataset_reader.h - the rows of a file, one after the other, as text with a place.
 *
 * Works on the whole file as mapped, so that any shard can be read alone and any row's line number
 * is known without having read what lies before it (it is counted when a message needs it).
 */
#ifndef COMMON_FORMATS_DATASET_DATASET_READER_H
#define COMMON_FORMATS_DATASET_DATASET_READER_H

#include <stdbool.h>

#include "common/formats/dataset/dataset.h"

struct dataset_reader {
    struct span file;
    const char *file_name; /* for messages */
    enum dataset_format format;
    uint64_t at;
    uint64_t end; /* rows that start at or after it belong to the next shard */
    bool begun;   /* of an array: its bracket has been read */
};

/* Rows that start in [begin, end) of `file`. */
void dataset_reader_init(struct dataset_reader *reader, struct span file, const char *file_name,
                         enum dataset_format format, uint64_t begin, uint64_t end);

/* The next row: a JSON text (not parsed yet), or of plain text all of the shard. *found false at
 * the end. ERR_DATA: an array that is not one, a row that is too long. */
MUST_CHECK enum err dataset_reader_next(struct dataset_reader *reader, struct text *row,
                                        bool *found, struct err_text *et);

/* Line of the byte at `at`, from 1. */
uint64_t dataset_reader_line(const struct dataset_reader *reader, const char *at);

/* Refuses what is no data set at all: empty, compressed, Parquet, UTF-16; "file: ..." */
MUST_CHECK enum err dataset_reader_check_kind(struct span file, const char *file_name,
                                              struct err_text *et);

#endif
