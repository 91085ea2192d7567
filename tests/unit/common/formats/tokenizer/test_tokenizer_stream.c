/* test_tokenizer_stream.c - decoding token by token, and round trips, with every tokenizer there
 * is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/mem/mem.h"

enum { PATH_BYTES = 4096, TEXT_BYTES = 1 << 26, RANDOM_IDS = 20000 };

static const struct {
    const char *name;
    bool real;     /* a file of QFLEET_DATA, else of tests/golden */
    bool lossless; /* every text comes back */
} SUBJECTS[] = {
    {"tokenizers/sentencepiece/llama2-tokenizer.model", true, true},
    {"tokenizers/sentencepiece/mistral-v1.model", true, true},
    {"tokenizers/sentencepiece/gemma_export_vocab.spm", true, false},
    {"tokenizers/sentencepiece/test_model.model", true, false},
    {"tokenizers/tiktoken/llama3-tokenizer.model", true, true},
    {"tokenizers/hf/gpt2", true, true},
    {"tokenizers/hf/phi-2", true, true},
    {"tokenizers/hf/phi-3-mini", true, true},
    {"tokenizers/hf/falcon-tokenizer", true, true},
    {"tokenizers/gguf/ggml-vocab-llama-spm.gguf", true, true},
    {"tokenizers/gguf/ggml-vocab-falcon.gguf", true, true},
    {"models/TinyStories-656K", true, false},
    {"models/lm-6m", true, true},
    {"tests/golden/tokenizer/unigram-mapped.model", false, false},
    {"tests/golden/tokenizer/unigram-bytes.model", false, true},
    {"tests/golden/tokenizer/bpe-mapped.model", false, false},
    {"tests/golden/tokenizer/bpe-no-prefix.model", false, true},
    {"tests/golden/tokenizer/hf-unigram-plain.json", false, false},
    {"tests/golden/tokenizer/hf-unigram-bytes.json", false, false},
};

static const char *const TEXTS[] = {
    "tokenizers/gguf/ggml-vocab-llama-spm.gguf.inp",
    "text/botchan.txt",
    "instruct/dolly_151.jsonl",
};

/* Many scripts, joined characters, controls, blanks of all kinds. */
static const char MIXED[] =
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB "
    "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4\n\n\t \xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D"
    "\xE0\xA4\xA4\xE0\xA5\x87 \xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91"
    "\xA7 e\xCC\x81 \x01\x7F \xC2\xA0\xE3\x80\x80   \xEF\xB7\xBA 12345 it's  \xF4\x8F\xBF\xBD\r\n";

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

static struct tokenizer *opened(size_t subject)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {{0}};
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s%s%s", SUBJECTS[subject].real ? data_folder() : "",
                   SUBJECTS[subject].real ? "/" : "", SUBJECTS[subject].name);
    if (SUBJECTS[subject].real && !folder_exists(data_folder())) {
        print_message("skipped: no real data at %s (QFLEET_DATA)\n", data_folder());
        return NULL;
    }
    if (tokenizer_open(path, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return tokenizer;
}

/* What comes out of a stream is whole characters after every token, and the whole in the end. */
static void check_stream(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                         unsigned flags, const char *name)
{
    struct tokenizer_stream stream;
    struct bytes streamed, whole;
    size_t done = 0;
    bytes_init(&streamed, TEXT_BYTES);
    bytes_init(&whole, TEXT_BYTES);
    tokenizer_stream_init(&stream, tokenizer, flags);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tokenizer_stream_push(&stream, ids[i], &streamed), ERR_OK);
        if (streamed.size == done)
            continue;
        struct text piece = {(const char *)streamed.data + done, streamed.size - done};
        if (unicode_valid_prefix(piece) != piece.size)
            fail_msg("%s: token %zu (%u) splits a character", name, i, ids[i]);
        done = streamed.size;
    }
    assert_int_equal(tokenizer_stream_end(&stream, &streamed), ERR_OK);
    assert_int_equal(tokenizer_decode(tokenizer, ids, count, flags, &whole), ERR_OK);
    assert_true(span_equal(bytes_span(&streamed), bytes_span(&whole)));
    bytes_fini(&streamed);
    bytes_fini(&whole);
}

static void check_text(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                       struct text text, size_t subject)
{
    struct token_list ids;
    struct bytes whole;
    token_list_init(&ids);
    bytes_init(&whole, TEXT_BYTES);
    assert_int_equal(tokenizer_encode(tokenizer, scratch, text, TOKENIZER_SPECIAL_AS_TEXT, &ids),
                     ERR_OK);
    check_stream(tokenizer, ids.ids, ids.count, 0, SUBJECTS[subject].name);
    assert_int_equal(tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &whole), ERR_OK);
    if (SUBJECTS[subject].lossless &&
        !text_equal(text, (struct text){(const char *)whole.data, whole.size}))
        fail_msg("%s: a text of %zu bytes comes back as another", SUBJECTS[subject].name,
                 text.size);
    bytes_fini(&whole);
    token_list_fini(&ids);
}

static void test_tokenizer_stream__texts_of_all_scripts_come_back_in_whole_characters(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(SUBJECTS); i++) {
        struct tokenizer_scratch *scratch = NULL;
        struct tokenizer *tokenizer = opened(i);
        if (tokenizer == NULL)
            continue;
        assert_int_equal(tokenizer_scratch_create(tokenizer, &scratch), ERR_OK);
        check_text(tokenizer, scratch, (struct text){MIXED, sizeof(MIXED) - 1}, i);
        for (size_t k = 0; k < COUNT_OF(TEXTS) && folder_exists(data_folder()); k++) {
            struct source source = {0};
            char path[PATH_BYTES];
            (void)snprintf(path, sizeof(path), "%s/%s", data_folder(), TEXTS[k]);
            assert_int_equal(source_open(&source, path, NULL), ERR_OK);
            check_text(tokenizer, scratch,
                       (struct text){(const char *)source.bytes.data, source.bytes.size}, i);
            source_close(&source);
        }
        tokenizer_scratch_destroy(&scratch);
        tokenizer_close(&tokenizer);
    }
}

static void test_tokenizer_stream__no_sequence_of_ids_splits_a_character(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(SUBJECTS); i++) {
        struct tokenizer *tokenizer = opened(i);
        uint32_t *ids = mem_alloc(RANDOM_IDS, sizeof(*ids));
        uint64_t random = i + 1;
        assert_non_null(ids);
        for (size_t k = 0; k < RANDOM_IDS && tokenizer != NULL;) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            uint32_t size = tokenizer_vocabulary_size(tokenizer);
            /* Half of them among the first ids, where pieces of single bytes are. */
            uint32_t top = (random >> 20 & 1) != 0 ? MIN(size, 300u) : size;
            ids[k] = (uint32_t)((random >> 33) % top);
            k += tokenizer_token(tokenizer, ids[k]).size > 0;
        }
        if (tokenizer != NULL) {
            check_stream(tokenizer, ids, RANDOM_IDS, 0, SUBJECTS[i].name);
            check_stream(tokenizer, ids, RANDOM_IDS, TOKENIZER_SKIP_SPECIAL, SUBJECTS[i].name);
        }
        mem_free(ids);
        tokenizer_close(&tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_stream__texts_of_all_scripts_come_back_in_whole_characters),
        cmocka_unit_test(test_tokenizer_stream__no_sequence_of_ids_splits_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
