/* test_tokenizer_export.c - what we say of real tokenizers against GGUF files of the same ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/formats/gguf/gguf.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/tokenizer_export.h"

enum { PATH_BYTES = 4096 };

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

static bool real(char out[PATH_BYTES], const char *name)
{
    (void)snprintf(out, PATH_BYTES, "%s/%s", data_folder(), name);
    if (folder_exists(data_folder()))
        return true;
    print_message("skipped: no real data at %s (QFLEET_DATA)\n", data_folder());
    return false;
}

/* Items of a file's array that are not what we say. */
static void check_columns(const struct tokenizer_export *made, const struct gguf *gguf, bool scored)
{
    const struct gguf_value *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
    const struct gguf_value *types = gguf_find(gguf, "tokenizer.ggml.token_type");
    const struct gguf_value *scores = gguf_find(gguf, "tokenizer.ggml.scores");
    const struct gguf_value *merges = gguf_find(gguf, "tokenizer.ggml.merges");
    assert_int_equal(tokens->count, made->count);
    for (uint32_t i = 0; i < made->count; i++) {
        assert_true(text_equal(tokens->texts[i], made->tokens[i]));
        if (gguf_item_i64(types, i) != made->types[i])
            fail_msg("token %u ('%.*s') has type %u", i, TEXT_ARGS(made->tokens[i]),
                     made->types[i]);
        if (scored)
            assert_true(gguf_item_f64(scores, i) == (double)made->scores[i]);
    }
    assert_int_equal(made->merge_count, merges == NULL ? 0 : merges->count);
    for (uint32_t i = 0; i < made->merge_count; i++)
        assert_true(text_equal(merges->texts[i], made->merges[i]));
}

static void test_tokenizer_export__says_what_reference_files_say(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *file;
        const char *model;
        const char *pre;
        bool scored;
        bool add_bos;
        bool add_space_prefix;
    } rows[] = {
        {"tokenizers/sentencepiece/llama2-tokenizer.model",
         "tokenizers/gguf/ggml-vocab-llama-spm.gguf", "llama", "default", true, true, true},
        {"models/lm-6m/tokenizer.model", "models/lm-6m/lm-6m-Q2_K.gguf", "llama", "default", true,
         true, true},
        {"tokenizers/hf/falcon-tokenizer", "tokenizers/gguf/ggml-vocab-falcon.gguf", "gpt2",
         "falcon", false, false, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[PATH_BYTES];
        struct tokenizer *tokenizer = NULL;
        struct tokenizer_export made;
        struct gguf gguf = {0};
        struct arena arena;
        struct err_text et = {{0}};
        if (!real(path, rows[i].from))
            return;
        arena_init(&arena, 256 << 20);
        if (tokenizer_open(path, &tokenizer, &et) != ERR_OK ||
            tokenizer_export_make(tokenizer, &arena, &made, &et) != ERR_OK)
            fail_msg("%s", et.text);
        (void)real(path, rows[i].file);
        assert_int_equal(gguf_open(&gguf, path, &et), ERR_OK);
        assert_string_equal(made.model, rows[i].model);
        assert_string_equal(made.pre, rows[i].pre);
        assert_int_equal(made.add_bos, rows[i].add_bos);
        assert_false(made.add_eos);
        assert_int_equal(made.add_space_prefix, rows[i].add_space_prefix);
        assert_false(made.remove_extra_whitespaces);
        assert_int_equal(made.charsmap.size, 0);
        check_columns(&made, &gguf, rows[i].scored);
        gguf_close(&gguf);
        arena_fini(&arena);
        tokenizer_close(&tokenizer);
    }
}

static void write_keys(struct gguf_write *w, const struct tokenizer_export *made,
                       struct tokenizer_roles roles)
{
    gguf_write_text(w, "tokenizer.ggml.model", text_of(made->model));
    gguf_write_text(w, "tokenizer.ggml.pre", text_of(made->pre));
    gguf_write_array(w, "tokenizer.ggml.tokens", GGUF_TEXT, made->count);
    for (uint32_t i = 0; i < made->count; i++)
        gguf_write_item_text(w, made->tokens[i]);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, made->count);
    for (uint32_t i = 0; i < made->count; i++)
        gguf_write_item_i32(w, made->types[i]);
    if (made->scores != NULL) {
        gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, made->count);
        for (uint32_t i = 0; i < made->count; i++)
            gguf_write_item_f32(w, made->scores[i]);
    }
    if (made->merges != NULL) {
        gguf_write_array(w, "tokenizer.ggml.merges", GGUF_TEXT, made->merge_count);
        for (uint32_t i = 0; i < made->merge_count; i++)
            gguf_write_item_text(w, made->merges[i]);
    }
    if (made->charsmap.size > 0) {
        struct gguf_value value = {.key = TEXT("tokenizer.ggml.precompiled_charsmap"),
                                   .type = GGUF_U8,
                                   .is_array = true,
                                   .count = made->charsmap.size,
                                   .data = made->charsmap};
        gguf_write_value(w, &value);
    }
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", made->add_bos);
    gguf_write_bool(w, "tokenizer.ggml.add_eos_token", made->add_eos);
    gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", made->add_space_prefix);
    gguf_write_bool(w, "tokenizer.ggml.remove_extra_whitespaces", made->remove_extra_whitespaces);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", roles.bos);
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", roles.eos);
    gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", roles.unk);
}

/* The same tokenizer through a GGUF file. */
static struct tokenizer *through_gguf(const struct tokenizer *tokenizer)
{
    struct tokenizer *out = NULL;
    struct tokenizer_export made;
    struct gguf_write w;
    struct gguf gguf = {0};
    struct arena arena;
    struct bytes file;
    struct err_text et = {{0}};
    arena_init(&arena, 256 << 20);
    bytes_init(&file, 256 << 20);
    gguf_write_init(&w);
    if (tokenizer_export_make(tokenizer, &arena, &made, &et) != ERR_OK)
        fail_msg("%s", et.text);
    write_keys(&w, &made, tokenizer_roles(tokenizer));
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &file), ERR_OK);
    if (gguf_parse(&gguf, bytes_span(&file), "made.gguf", &et) != ERR_OK ||
        tokenizer_open_gguf(&gguf, &out, &et) != ERR_OK)
        fail_msg("%s", et.text);
    gguf_close(&gguf);
    gguf_write_fini(&w);
    bytes_fini(&file);
    arena_fini(&arena);
    return out;
}

static void check_same_ids(const struct tokenizer *a, const struct tokenizer *b, struct text text)
{
    struct token_list first, second;
    token_list_init(&first);
    token_list_init(&second);
    assert_int_equal(tokenizer_encode(a, NULL, text, TOKENIZER_ADD_SPECIAL, &first), ERR_OK);
    assert_int_equal(tokenizer_encode(b, NULL, text, TOKENIZER_ADD_SPECIAL, &second), ERR_OK);
    for (size_t i = 0; i < first.count && i < second.count; i++)
        if (first.ids[i] != second.ids[i])
            fail_msg("token %zu is %u, expected %u", i, second.ids[i], first.ids[i]);
    assert_int_equal(first.count, second.count);
    token_list_fini(&first);
    token_list_fini(&second);
}

static void test_tokenizer_export__ids_are_the_same_through_gguf(void **state)
{
    (void)state;
    static const char *const names[] = {
        "tokenizers/sentencepiece/llama2-tokenizer.model",
        "tokenizers/sentencepiece/test_model.model",
        "tokenizers/hf/phi-3-mini",
        "tokenizers/hf/phi-2",
        "tokenizers/hf/gpt2",
        "tokenizers/hf/falcon-tokenizer",
        "tokenizers/tiktoken/llama3-tokenizer.model",
        "models/TinyStories-656K",
        "models/lm-6m",
    };
    static const char *const texts[] = {
        "text/botchan.txt",
        "text/tinyshakespeare.txt",
        "tokenizers/gguf/ggml-vocab-llama-spm.gguf.inp",
    };
    char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tokenizer *tokenizer = NULL;
        struct err_text et = {{0}};
        if (!real(path, names[i]))
            return;
        if (tokenizer_open(path, &tokenizer, &et) != ERR_OK)
            fail_msg("%s", et.text);
        struct tokenizer *again = through_gguf(tokenizer);
        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
            struct source source = {0};
            (void)real(path, texts[k]);
            assert_int_equal(source_open(&source, path, &et), ERR_OK);
            check_same_ids(tokenizer, again,
                           (struct text){(const char *)source.bytes.data, source.bytes.size});
            source_close(&source);
        }
        tokenizer_close(&again);
        tokenizer_close(&tokenizer);
    }
}

/* Cut between two pieces, every field is whole; what follows the pieces is missed. */
static void test_tokenizer_export__a_model_cut_between_pieces_is_refused(void **state)
{
    (void)state;
    static const uint8_t cut[] = {0x0a, 0x0a, 0x0a, 0x03, '<', 's', '>', 0x15, 0, 0, 0, 0};
    char path[] = "/tmp/qfleet-tokenizer-XXXXXX";
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {{0}};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, cut, sizeof cut), sizeof cut);
    assert_int_equal(close(fd), 0);
    enum err err = tokenizer_open(path, &tokenizer, &et);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(err, ERR_TRUNCATED);
    assert_non_null(strstr(et.text, "found the end after 1 pieces"));
}

/* A store that names files by their hash gives them no ending. */
static void test_tokenizer_export__a_gguf_file_needs_no_ending(void **state)
{
    (void)state;
    char path[PATH_BYTES], folder[] = "/tmp/qfleet-tokenizer-XXXXXX", blob[64];
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {{0}};
    if (!real(path, "models/lm-6m/lm-6m-Q2_K.gguf"))
        return;
    char *whole = realpath(path, NULL);
    assert_non_null(whole);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(blob, sizeof blob, "%s/sha256-0123", folder);
    assert_int_equal(symlink(whole, blob), 0);
    enum err err = tokenizer_open(blob, &tokenizer, &et);
    assert_int_equal(unlink(blob), 0);
    assert_int_equal(rmdir(folder), 0);
    free(whole);
    if (err != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(tokenizer_roles(tokenizer).bos, 1);
    tokenizer_close(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_export__says_what_reference_files_say),
        cmocka_unit_test(test_tokenizer_export__ids_are_the_same_through_gguf),
        cmocka_unit_test(test_tokenizer_export__a_model_cut_between_pieces_is_refused),
        cmocka_unit_test(test_tokenizer_export__a_gguf_file_needs_no_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
