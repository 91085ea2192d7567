/* dataset_check.h - reads a data set to its end and reports, before a worker is taken. */
#ifndef COMMON_FORMATS_DATASET_DATASET_CHECK_H
#define COMMON_FORMATS_DATASET_DATASET_CHECK_H

#include "common/formats/dataset/dataset.h"
#include "common/formats/tokenizer/tokenizer.h"

enum { DATASET_CHECK_PROBLEMS_MAX = 20 };

struct dataset_problem {
    uint64_t line; /* from 1; of a JSON array the line where the row starts */
    char text[256];
};

struct dataset_report {
    enum dataset_format format; /* settled */
    enum dataset_type type;
    bool uses_template;           /* its rows are rendered by a chat template */
    struct dataset_counts counts; /* with a tokenizer; else rows only */
    /* Lengths of rows before any cut: tokens with a tokenizer, else bytes. */
    uint64_t length_min, length_median, length_p99, length_max;
    uint64_t bad_rows;
    size_t problem_count; /* the first ones, at most DATASET_CHECK_PROBLEMS_MAX */
    struct dataset_problem problems[DATASET_CHECK_PROBLEMS_MAX];
};

/* Reads every row of `file` (whole) and fills *report; bad rows are counted and the first ones
 * named, none is dropped in silence. `tokenizer` may be NULL. ERR_DATA when the file as a whole
 * cannot be read (no rows, not UTF-8, no type fits); ERR_OK also with bad rows. */
MUST_CHECK enum err dataset_check(struct span file, const struct dataset_options *options,
                                  const struct tokenizer *tokenizer, struct dataset_report *report,
                                  struct err_text *et);

#endif
