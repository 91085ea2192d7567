/* tokenizer_model.h - the one form that all tokenizer files are read into; for the files of this
 * folder only. */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_MODEL_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_MODEL_H

#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/added_token.h"
#include "common/formats/tokenizer/bpe.h"
#include "common/formats/tokenizer/component.h"
#include "common/formats/tokenizer/decoder.h"
#include "common/formats/tokenizer/normalizer.h"
#include "common/formats/tokenizer/post_processor.h"
#include "common/formats/tokenizer/pretokenizer.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/unigram.h"
#include "common/formats/tokenizer/vocab.h"

#define TOKENIZER_MODEL_BYTES_MAX ((size_t)1 << 30)

enum tokenizer_model { TOKENIZER_BPE, TOKENIZER_UNIGRAM };

struct tokenizer {
    struct arena arena; /* everything below that is borrowed lies here */
    struct vocab vocab;
    enum tokenizer_model model; /* which of the two is filled */
    struct bpe bpe;
    struct unigram unigram;
    float *scores; /* [score_count] of a SentencePiece vocabulary, else NULL */
    uint32_t score_count;
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct decoder decoder;
    struct post_processor post_processor;
    struct added_token *added; /* [added_count], patterns as the files spell them */
    size_t added_count;
    size_t added_capacity;
    struct added_tokens raw;        /* cut out before normalizing */
    struct added_tokens normalized; /* cut out after it */
    uint8_t *special;               /* [vocab.size] 0 or 1 */
    struct text *decoded;           /* [vocab.size] bytes that a token becomes */
    bool bad_bytes_alone;           /* each byte that is not UTF-8 is a U+FFFD of its own */
    struct tokenizer_roles roles;
    struct text chat_template;
};

/* An empty tokenizer with its own arena and no roles. */
void tokenizer_model_init(struct tokenizer *tokenizer, size_t limit_bytes);

/* Adds a token to the vocabulary and to the list of those that are cut out of texts.
 * ERR_FORMAT when the id has another spelling already; a token added twice is one. */
MUST_CHECK enum err tokenizer_model_add(struct tokenizer *tokenizer, struct added_token token,
                                        struct err_text *et);

/* "left right", with one space in all. */
bool tokenizer_model_part(struct text line, struct text *left, struct text *right);

/* Adds the merge of two spellings; `number` counts from 0 and is its rank. ERR_FORMAT when one of
 * the two or what they make is not in the vocabulary. */
MUST_CHECK enum err tokenizer_model_add_merge(struct tokenizer *tokenizer, struct text left,
                                              struct text right, size_t number,
                                              struct err_text *et);

/* After a reader (tokenizer_json.h, sentencepiece.h): indexes and tables. */
MUST_CHECK enum err tokenizer_model_finish(struct tokenizer *tokenizer, struct err_text *et);

#endif
