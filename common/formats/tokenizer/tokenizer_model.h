/* tokenizer_model.h - the one form that all tokenizer files are read into; for the files of this
 * folder only. */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_MODEL_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_MODEL_H

#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/added_token.h"
#include "common/formats/tokenizer/bpe.h"
#include "common/formats/tokenizer/decoder.h"
#include "common/formats/tokenizer/normalizer.h"
#include "common/formats/tokenizer/post_processor.h"
#include "common/formats/tokenizer/pretokenizer.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/vocab.h"

#define TOKENIZER_MODEL_BYTES_MAX ((size_t)1 << 30)

struct tokenizer {
    struct arena arena; /* everything below that is borrowed lies here */
    struct vocab vocab;
    struct bpe bpe; /* the seam for another model: tokenizer_encode calls it in one place */
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct decoder decoder;
    struct post_processor post_processor;
    struct added_token *added; /* [added_count], patterns as the files spell them */
    size_t added_count;
    struct added_tokens raw;        /* cut out before normalizing */
    struct added_tokens normalized; /* cut out after it */
    uint8_t *special;               /* [vocab.size] 0 or 1 */
    struct text *decoded;           /* [vocab.size] bytes that a token becomes */
    struct tokenizer_roles roles;
    struct text chat_template;
};

/* Adds a token to the vocabulary and to the list of those that are cut out of texts.
 * ERR_FORMAT when the id has another spelling already; a token added twice is one. */
MUST_CHECK enum err tokenizer_model_add(struct tokenizer *tokenizer, struct added_token token,
                                        struct err_text *et);

/* After a reader (tokenizer_json.h, sentencepiece.h): indexes and tables. */
MUST_CHECK enum err tokenizer_model_finish(struct tokenizer *tokenizer, struct err_text *et);

#endif
