/* imatrix.h - importance matrices as llama.cpp keeps them: for each weight the sums of x^2 of its
 * input columns over calibration text.
 *
 *   legacy  i32 entries | entries | i32 last chunk, i32 length, name of the text (may be missing)
 *           entry: i32 length, name, i32 calls, i32 values, f32 values: mean of x^2 times calls
 *   GGUF    general.type "imatrix", imatrix.{datasets, chunk_count, chunk_size}; of a weight W the
 *           tensors W.in_sum2 (matrices, columns), sums, and W.counts (matrices, 1), tokens
 *
 * A weight of several experts has a matrix each. Sums and counts of files of one kind add up.
 * Names and counts are checked against the file before memory is asked for; every number is finite
 * and not negative. Values stay what they were: a file that is read and written again is the same.
 * Refuses to know: how sums come about, what they weigh.
 *
 * Source: llama.cpp tools/imatrix, tools/quantize.
 */
#ifndef COMMON_FORMATS_IMATRIX_IMATRIX_H
#define COMMON_FORMATS_IMATRIX_IMATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/source/file.h"
#include "common/mem/arena.h"

enum { IMATRIX_NAME_BYTES_MAX = 255, IMATRIX_ENTRIES_MAX = 1 << 20 };

struct imatrix_entry {
    struct text name; /* of the weight, "blk.0.attn_q.weight" */
    size_t columns;
    size_t matrices; /* 1, or the experts */
    float *sums;     /* [matrices * columns] */
    float *counts;   /* [matrices]: tokens, or calls in a legacy file */
};

/* Read-only for callers; everything in it is valid until imatrix_close. */
struct imatrix {
    struct imatrix_entry *entries; /* sorted by name */
    size_t count;
    struct text *datasets; /* names of the calibration texts */
    size_t dataset_count;
    uint32_t chunk_count;
    uint32_t chunk_size; /* tokens of a chunk; 0: legacy, counts are of calls */
    struct arena arena;  /* owned */
};

/* Opens a file of either kind. ERR_NOT_FOUND, ERR_DENIED, ERR_IO; ERR_TRUNCATED, ERR_FORMAT,
 * ERR_LIMIT, ERR_SHAPE, ERR_NOT_FINITE, with the file, the entry, expected and found in `et`;
 * ERR_OUT_OF_MEMORY. On failure *m is untouched. */
MUST_CHECK enum err imatrix_open(struct imatrix *m, const char *path, struct err_text *et);

/* A file in memory, which is not needed afterwards; `name` is for messages. */
MUST_CHECK enum err imatrix_parse(struct imatrix *m, struct span content, const char *name,
                                  struct err_text *et);

/* A zeroed or closed object is allowed. */
void imatrix_close(struct imatrix *m);

/* NULL when there is none. */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, struct text name);

/* out: [matrices * columns], mean squares; 1 for a matrix that nothing has gone through. */
void imatrix_mean(const struct imatrix_entry *entry, float *out);

/* The sums of `count` (> 0) matrices; weights that some lack are those of the others. Names are in
 * the order of the parts. ERR_UNSUPPORTED: counts of calls and of tokens; ERR_SHAPE: a weight has
 * two widths; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err imatrix_merge(const struct imatrix *const *parts, size_t count,
                                  struct imatrix *out, struct err_text *et);

enum imatrix_form { IMATRIX_LEGACY, IMATRIX_GGUF };

/* Sends the file. Legacy files hold one text, no experts, at most 2^24 calls; a GGUF file needs
 * counts of tokens: ERR_UNSUPPORTED otherwise. Passes on the sink's errors. */
MUST_CHECK enum err imatrix_write(const struct imatrix *m, enum imatrix_form form, file_sink_f sink,
                                  void *context);

#endif
