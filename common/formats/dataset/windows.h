/* windows.h - streams of token ids cut into rows: text for calibration and for perplexities. */
#ifndef COMMON_FORMATS_DATASET_WINDOWS_H
#define COMMON_FORMATS_DATASET_WINDOWS_H

#include "common/formats/dataset/perplexity.h"
#include "common/mem/bytes.h"

struct windows_options {
    enum perplexity_protocol protocol; /* not ROWS */
    uint32_t length;                   /* tokens of a row, at least 2; llama.cpp: at least 3 */
    uint64_t row_count_min;            /* fewer are refused */
    uint64_t row_count_max; /* those after are left out; 0: all are taken; not for WORDS */
    const char *what;       /* the text, for messages: "calibration text" */
    const char *advice;     /* what to do when it is too short */
};

struct windows_stats {
    uint64_t rows, tokens;
    uint64_t scored;      /* tokens whose prediction counts */
    uint64_t left_tokens; /* ids of the text that no row took: its end, or past row_count_max */
    struct perplexity perplexity;
};

/* Cuts stream blobs (text_stream.h), which follow each other as one text, into a rows blob (rows.h)
 * with the notes of perplexity.h, appended to *out.
 *
 *   WINDOWS    BOS and `length` - 1 ids a row, without a BOS `length` ids; all but a row's first
 *              token are scored. What is left at the end is dropped.
 *   LLAMA_CPP  BOS stands once before the text; rows of `length` follow each other, then BOS
 *              replaces each row's first id; scored are positions length / 2 + 1 and on.
 *   WORDS      each document apart: BOS and its first ids, then rows that begin with the last id
 *              that was scored; the last row begins earlier, to be full. Every id is scored
 *              once (without a BOS not a document's first). Equal to lm-evaluation-harness's
 * rolling windows with a max_length of `length` - 1.
 *
 * ERR_DATA: no row, or fewer than row_count_min: "WHAT too short: expected N windows of L tokens,
 * found M; ADVICE"; ERR_FORMAT: a blob is not one of ours, or of another tokenizer than the first.
 * On an error *out is as it was. */
MUST_CHECK enum err windows_cut(const struct span *streams, size_t stream_count,
                                const struct windows_options *options, struct bytes *out,
                                struct windows_stats *stats, struct err_text *et);

#endif
