/* test_convert_tokenizer.c - files written of a tokenizer are that tokenizer: the same ids for the
 * same texts, the same roles, the same template. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_tokenizer.h"
#include "common/formats/convert/convert_tokenizer_files.h"
#include "common/formats/source/folder.h"
#include "tests/unit/common/formats/convert/convert_folders.h"

#define TEXTS    "tokenizers/gguf/ggml-vocab-llama-spm.gguf.inp"
#define TEXT_END "\n__ggml_vocab_test__\n"

static struct tokenizer *open_tokenizer(const char *path)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {{0}};
    if (tokenizer_open(path, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return tokenizer;
}

static void expect_same_ids(const struct tokenizer *a, const struct tokenizer *b, struct text text,
                            const char *name)
{
    struct token_list x = {0}, y = {0};
    assert_int_equal(tokenizer_encode(a, NULL, text, TOKENIZER_ADD_SPECIAL, &x), ERR_OK);
    assert_int_equal(tokenizer_encode(b, NULL, text, TOKENIZER_ADD_SPECIAL, &y), ERR_OK);
    if (x.count != y.count || memcmp(x.ids, y.ids, x.count * sizeof *x.ids) != 0)
        fail_msg("%s: other ids for \"%.*s\"", name, TEXT_ARGS(text));
    token_list_fini(&x);
    token_list_fini(&y);
}

/* What is special is left out by TOKENIZER_SKIP_SPECIAL. */
static bool is_special(const struct tokenizer *tokenizer, uint32_t id)
{
    struct bytes with, without;
    bytes_init(&with, 1 << 16);
    bytes_init(&without, 1 << 16);
    assert_int_equal(tokenizer_decode(tokenizer, &id, 1, 0, &with), ERR_OK);
    assert_int_equal(tokenizer_decode(tokenizer, &id, 1, TOKENIZER_SKIP_SPECIAL, &without), ERR_OK);
    bool special = with.size != without.size;
    bytes_fini(&with);
    bytes_fini(&without);
    return special;
}

static void expect_same_tokenizer(const struct tokenizer *a, const struct tokenizer *b,
                                  struct text texts, const char *name)
{
    struct tokenizer_roles x = tokenizer_roles(a), y = tokenizer_roles(b);
    assert_int_equal(x.bos, y.bos);
    assert_int_equal(x.eos, y.eos);
    assert_int_equal(x.pad, y.pad);
    assert_true(text_equal(tokenizer_chat_template(a), tokenizer_chat_template(b)));
    for (uint32_t i = 0; i < tokenizer_vocabulary_size(a); i++) {
        if (!text_equal(tokenizer_token(a, i), tokenizer_token(b, i)) ||
            is_special(a, i) != is_special(b, i))
            fail_msg("%s: token %u is %.*s and %.*s", name, i, TEXT_ARGS(tokenizer_token(a, i)),
                     TEXT_ARGS(tokenizer_token(b, i)));
    }
    size_t done = 0;
    for (const char *at = texts.data; at != NULL; done++) {
        const char *end = strstr(at, TEXT_END);
        struct text text = {at, end != NULL ? (size_t)(end - at) : strlen(at)};
        expect_same_ids(a, b, text, name);
        at = end != NULL ? end + strlen(TEXT_END) : NULL;
    }
    assert_true(done > 10);
}

static void check_tokenizer(const char *name, struct text texts)
{
    char path[256];
    struct convert_folders f;
    struct arena arena;
    struct err_text et = {{0}};
    if (!convert_folders_real(name, path, sizeof path))
        skip();
    convert_folders_make(&f);
    arena_init(&arena, 256 << 20);
    assert_int_equal(folder_create(f.back, NULL), ERR_OK);
    struct tokenizer *before = open_tokenizer(path);
    if (convert_tokenizer_files_write(before, f.back, &arena, &et) != ERR_OK)
        fail_msg("%s: %s", name, et.text);
    struct tokenizer *after = open_tokenizer(f.back);
    expect_same_tokenizer(before, after, texts, name);
    tokenizer_close(&before);
    tokenizer_close(&after);
    arena_fini(&arena);
    convert_folders_remove(&f);
}

static void test_convert_tokenizer__files_are_the_same_tokenizer(void **state)
{
    (void)state;
    static const char *const names[] = {
        "tokenizers/gguf/ggml-vocab-llama-spm.gguf", /* SentencePiece */
        "tokenizers/gguf/ggml-vocab-falcon.gguf",    /* byte-level, several splits */
        "models/lm-6m/lm-6m-Q2_K.gguf",
        "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf",
        "tokenizers/hf/gpt2",
        "tokenizers/hf/phi-2",
        "tokenizers/hf/falcon-tokenizer",
        "tokenizers/hf/phi-3-mini",
    };
    char path[256];
    struct bytes texts;
    if (!convert_folders_real(TEXTS, path, sizeof path))
        skip();
    bytes_init(&texts, 1 << 20);
    assert_int_equal(file_read(path, 1 << 20, &texts, NULL), ERR_OK);
    bytes_append(&texts, "", 1);
    assert_int_equal(bytes_status(&texts), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        check_tokenizer(names[i], text_of((const char *)texts.data));
    bytes_fini(&texts);
}

/* Rows of the embedding beyond the tokenizer's tokens get unused ones. */
static void test_convert_tokenizer__spare_rows_are_filled(void **state)
{
    (void)state;
    static struct hf_config config;
    char path[256];
    struct arena arena;
    struct gguf_write w;
    struct bytes out;
    struct gguf g;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", path, sizeof path))
        skip();
    struct tokenizer *tokenizer = open_tokenizer(path);
    arena_init(&arena, 64 << 20);
    gguf_write_init(&w);
    bytes_init(&out, 64 << 20);
    config.vocab_size = 4095;
    assert_int_equal(convert_tokenizer_write(tokenizer, &config, &arena, &w, &et), ERR_SHAPE);
    assert_string_equal(et.text,
                        "the tokenizer has 4096 tokens, more than the 4095 rows of the embedding");
    config.vocab_size = 4098;
    assert_int_equal(convert_tokenizer_write(tokenizer, &config, &arena, &w, &et), ERR_OK);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &out), ERR_OK);
    assert_int_equal(gguf_parse(&g, bytes_span(&out), "x", NULL), ERR_OK);
    const struct gguf_value *tokens = gguf_find(&g, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->count, 4098);
    assert_true(text_is(tokens->texts[4097], "[PAD4097]"));
    assert_int_equal(gguf_item_i64(gguf_find(&g, "tokenizer.ggml.token_type"), 4097), 5);
    gguf_close(&g);
    bytes_fini(&out);
    gguf_write_fini(&w);
    arena_fini(&arena);
    tokenizer_close(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert_tokenizer__files_are_the_same_tokenizer),
        cmocka_unit_test(test_convert_tokenizer__spare_rows_are_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
