/* tokenizer.h - text to token ids and back, as the model's own files say.
 *
 * Reads `tokenizer.json` (BPE and Unigram), the pair `vocab.json` and `merges.txt`,
 * `tokenizer.model` (SentencePiece's, or Llama 3's ranks) and what a GGUF file holds into one form:
 *
 *   text ─▶ added tokens cut out ─▶ normalizer ─▶ pre-tokenizer ─▶ model ─▶ BOS/EOS template ─▶ ids
 *
 * A component it does not know is an error that names it; nothing is ever skipped, since a
 * tokenizer that is almost right ruins a model without a sound.
 *
 * Refuses to know: models, data sets, recipes.
 *
 * A tokenizer is immutable after tokenizer_open: any number of threads may use one, each with its
 * own scratch.
 */
#ifndef COMMON_FORMATS_TOKENIZER_TOKENIZER_H
#define COMMON_FORMATS_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/token_list.h"
#include "common/mem/bytes.h"

struct gguf;
struct tokenizer;
struct tokenizer_scratch;

enum { TOKENIZER_TEXT_BYTES_MAX = 1 << 30 }; /* of one text given to tokenizer_encode */

#define TOKENIZER_NONE UINT32_MAX /* no such token */

enum tokenizer_flag {
    TOKENIZER_ADD_SPECIAL = 1,     /* encode: what the tokenizer puts around a text (BOS, EOS) */
    TOKENIZER_SPECIAL_AS_TEXT = 2, /* encode: "<s>" in the text is three characters, not BOS */
    TOKENIZER_SKIP_SPECIAL = 4,    /* decode: leave special tokens out */
};

/* Opens a GGUF file, or a model folder (tokenizer.json first, then tokenizer.model, then vocab.json
 * with merges.txt; special tokens and the chat template from tokenizer_config.json,
 * special_tokens_map.json, chat_template.jinja, config.json), or one such file. Caller closes *out.
 * On an error *out is as it was and `et` names the file, the component, and what was expected.
 * ERR_NOT_FOUND: no tokenizer file there. ERR_UNSUPPORTED: a component that qfleet does not have.
 * ERR_FORMAT: malformed. */
MUST_CHECK enum err tokenizer_open(const char *path, struct tokenizer **out, struct err_text *et);
void tokenizer_close(struct tokenizer **tokenizer);

/* The tokenizer inside an open GGUF file, which may be closed after. ERR_NOT_FOUND: there is none.
 */
MUST_CHECK enum err tokenizer_open_gguf(const struct gguf *gguf, struct tokenizer **out,
                                        struct err_text *et);

/* Working memory of one thread: buffers and a cache of words, so that many short texts cost no
 * allocations. Results never depend on it. */
MUST_CHECK enum err tokenizer_scratch_create(const struct tokenizer *tokenizer,
                                             struct tokenizer_scratch **out);
void tokenizer_scratch_destroy(struct tokenizer_scratch **scratch);

/* Appends the ids of `text` to *out. Bytes that are not UTF-8 count as U+FFFD each. `scratch` may
 * be NULL (a temporary one is made). `flags` of enum tokenizer_flag. On an error *out is as it was.
 * ERR_LIMIT: the text is larger than TOKENIZER_TEXT_BYTES_MAX or a pattern matched without end.
 * ERR_DATA: a character that a Unigram vocabulary has no token for, nor one for the unknown. */
MUST_CHECK enum err tokenizer_encode(const struct tokenizer *tokenizer,
                                     struct tokenizer_scratch *scratch, struct text text,
                                     unsigned flags, struct token_list *out);

/* Appends the text of ids[0..count) to *out; always UTF-8 (bytes that are not become U+FFFD).
 * ERR_DATA: an id outside the vocabulary. */
MUST_CHECK enum err tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids,
                                     size_t count, unsigned flags, struct bytes *out);

/* Decoding token by token: what has come out is always whole characters, and everything that came
 * out plus the last piece of tokenizer_stream_end equals tokenizer_decode of all ids. */
struct tokenizer_stream {
    const struct tokenizer *tokenizer; /* borrowed */
    unsigned flags;
    bool begun;        /* a token has come */
    size_t strip_left; /* leading characters that may still be stripped */
    size_t held_count;
    uint8_t held[4]; /* the first bytes of a character that is not whole yet */
};

void tokenizer_stream_init(struct tokenizer_stream *stream, const struct tokenizer *tokenizer,
                           unsigned flags);
MUST_CHECK enum err tokenizer_stream_push(struct tokenizer_stream *stream, uint32_t id,
                                          struct bytes *out);
MUST_CHECK enum err tokenizer_stream_end(struct tokenizer_stream *stream, struct bytes *out);

/* One more than the largest id. Models may have more rows than that, never fewer. */
uint32_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer);

/* The token's own spelling ("▁the", "Ġthe", "<0x0A>"), empty for an id without a token.
 * Borrowed until close. */
struct text tokenizer_token(const struct tokenizer *tokenizer, uint32_t id);

/* The bytes that a token becomes inside a text (" the"); of a byte piece they need not be UTF-8.
 * Empty for an id without a token. Borrowed until close. */
struct text tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id);

/* Ids with a role, TOKENIZER_NONE where the files name none. */
struct tokenizer_roles {
    uint32_t bos;
    uint32_t eos;
    uint32_t pad;
    uint32_t unk;
};
struct tokenizer_roles tokenizer_roles(const struct tokenizer *tokenizer);

/* What TOKENIZER_ADD_SPECIAL puts before a text; borrowed until close. */
struct tokenizer_affix {
    const uint32_t *ids;
    size_t count;
};
struct tokenizer_affix tokenizer_prefix(const struct tokenizer *tokenizer);

/* The model's own chat template (Jinja), empty when its files have none. Borrowed until close. */
struct text tokenizer_chat_template(const struct tokenizer *tokenizer);

/* Names of the files of a model folder that decide what tokenizer_open makes of it, NULL after the
 * last: whoever freezes a job hashes those that exist. */
const char *tokenizer_file_name(size_t index);

/* Versions of the Unicode tables that decide bytes here ("utf8proc 2.8.0, pcre2 10.42 2022-12-11"),
 * cut to fit: part of a worker's known answers. */
void tokenizer_unicode_version(char *out, size_t out_bytes);

#endif
