/* perplexity.h - what names a perplexity: the rules by which text became rows.
 *
 * One text and one model have as many perplexities as there are ways to cut and to count: which
 * tokenizer, how much context, which tokens are scored, where BOS stands, what the sum is divided
 * by. A number is never shown without these.
 *
 * The rules travel as notes of a rows blob (rows.h) and of what is measured on it.
 */
#ifndef COMMON_FORMATS_DATASET_PERPLEXITY_H
#define COMMON_FORMATS_DATASET_PERPLEXITY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/bytes.h"

enum perplexity_protocol {
    PERPLEXITY_ROWS,      /* samples as training sees them; what is supervised is scored */
    PERPLEXITY_WINDOWS,   /* consecutive windows, BOS before each, every id scored */
    PERPLEXITY_LLAMA_CPP, /* llama-perplexity: BOS in place of a window's first id, the second half
                             scored, from position length / 2 + 1 on */
    PERPLEXITY_WORDS,     /* lm-evaluation-harness's rolling word perplexity: documents apart, every
                             id scored, the sum divided by the number of words */
    PERPLEXITY_PROTOCOL_COUNT,
};

enum { PERPLEXITY_TOKENIZER_BYTES = 17, PERPLEXITY_NOTES = 5 };

struct perplexity {
    enum perplexity_protocol protocol;
    uint32_t length;                            /* most tokens of a row; 0: not told */
    bool has_bos;                               /* the tokenizer has one */
    uint64_t words;                             /* WORDS: pieces of the text between white space */
    char tokenizer[PERPLEXITY_TOKENIZER_BYTES]; /* start of its vocabulary's digest; "": not told */
};

/* "windows", as recipes spell it; static. */
const char *perplexity_protocol_name(enum perplexity_protocol protocol);

/* The notes of a blob. Texts are kept in `storage`. Returns their number. */
struct perplexity_notes {
    struct safetensors_note notes[PERPLEXITY_NOTES];
    char storage[2][24];
};
size_t perplexity_notes(const struct perplexity *perplexity, struct perplexity_notes *out);

/* Reads the notes; without any the rows are those of training (PERPLEXITY_ROWS). ERR_FORMAT: they
 * are not ours. `name` is for messages. */
MUST_CHECK enum err perplexity_read(const struct safetensors *st, const char *name,
                                    struct perplexity *out, struct err_text *et);

/* The same from a rows blob. */
MUST_CHECK enum err perplexity_of_rows(struct span blob, struct perplexity *out,
                                       struct err_text *et);

/* Copies the name of a tokenizer; false unless it is at most 16 hexadecimal digits. */
bool perplexity_tokenizer_read(struct text text, char out[PERPLEXITY_TOKENIZER_BYTES]);

bool perplexity_equal(const struct perplexity *a, const struct perplexity *b);

/* exp of the summed loss over scored tokens, or over words where that is the protocol; the same
 * bits everywhere. NaN with nothing to divide by. */
double perplexity_value(const struct perplexity *perplexity, double loss_sum, double scored);

/* Appends the rules: "windows of 256 tokens, BOS each, all scored, per token, tokenizer 1f0c...".
 */
void perplexity_print_rules(const struct perplexity *perplexity, struct bytes *out);

/* Appends one line without its end: "perplexity 21.0741 (windows of ...)". */
void perplexity_print(const struct perplexity *perplexity, double loss_sum, double scored,
                      struct bytes *out);

#endif
