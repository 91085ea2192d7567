/* test_tokenizer_real.c - real tokenizers against ids that others computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/json/json_read.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { PATH_BYTES = 4096, SMALL_BYTES = 1 << 26 };

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

/* Path of real data; false, with a word, when it is not there. */
static bool real(char out[PATH_BYTES], const char *name)
{
    (void)snprintf(out, PATH_BYTES, "%s/%s", data_folder(), name);
    if (folder_exists(data_folder()))
        return true;
    print_message("skipped: no real data at %s (QFLEET_DATA)\n", data_folder());
    return false;
}

static struct tokenizer *opened(const char *path)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    enum err err = tokenizer_open(path, &tokenizer, &et);
    if (err != ERR_OK)
        fail_msg("%s: %s", error_name(err), et.text);
    return tokenizer;
}

static struct source mapped(const char *path)
{
    struct source source = {0};
    struct err_text et = {0};
    if (source_open(&source, path, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return source;
}

static void assert_ids(const struct token_list *got, const uint32_t *want, size_t count,
                       const char *what)
{
    for (size_t i = 0; i < got->count && i < count; i++)
        if (got->ids[i] != want[i])
            fail_msg("%s: token %zu of %zu is %u, expected %u", what, i, count, got->ids[i],
                     want[i]);
    if (got->count != count)
        fail_msg("%s: %zu tokens, expected %zu", what, got->count, count);
}

/* Ids of an array of a JSON file. */
static struct token_list ids_of_json(const char *path, const char *key)
{
    struct json_doc *doc = NULL;
    struct json_value array;
    struct token_list list;
    token_list_init(&list);
    assert_int_equal(json_read_open(path, SMALL_BYTES, &doc, NULL), ERR_OK);
    assert_int_equal(json_read_array(json_read_root(doc), key, &array, NULL), ERR_OK);
    for (size_t i = 0; i < json_read_count(array); i++) {
        int64_t id;
        assert_int_equal(json_read_as_i64(json_read_item(array, i), 0, UINT32_MAX, &id, NULL),
                         ERR_OK);
        uint32_t narrow = (uint32_t)id;
        assert_int_equal(token_list_append(&list, &narrow, 1), ERR_OK);
    }
    json_read_close(&doc);
    return list;
}

static void test_tokenizer__ids_of_the_reference_are_found_again(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    if (!real(path, "reference/TinyStories-656K.loss.json"))
        return;
    struct token_list want = ids_of_json(path, "input_ids_512");
    (void)real(path, "models/TinyStories-656K");
    struct tokenizer *tokenizer = opened(path);
    (void)real(path, "text/tinystories-train-head.txt");
    struct source source = mapped(path);
    struct token_list got;
    token_list_init(&got);
    /* The reference cut the first 6,000 characters, stripped, after 512 tokens. */
    struct text text = {(const char *)source.bytes.data, 6000};
    assert_int_equal(tokenizer_encode(tokenizer, NULL, text, TOKENIZER_ADD_SPECIAL, &got), ERR_OK);
    assert_true(got.count >= want.count && want.count == 512);
    got.count = want.count;
    assert_ids(&got, want.ids, want.count, "TinyStories-656K");
    struct bytes decoded;
    bytes_init(&decoded, SMALL_BYTES);
    assert_int_equal(
        tokenizer_decode(tokenizer, want.ids, want.count, TOKENIZER_SKIP_SPECIAL, &decoded),
        ERR_OK);
    assert_memory_equal(decoded.data, text.data, decoded.size);
    assert_true(decoded.size > 1500);
    bytes_fini(&decoded);
    token_list_fini(&got);
    token_list_fini(&want);
    source_close(&source);
    tokenizer_close(&tokenizer);
}

static void test_tokenizer__sentencepiece_model_gives_its_own_ids(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    if (!real(path, "reference/lm-6m.ids.json"))
        return;
    struct token_list want = ids_of_json(path, "ids");
    (void)real(path, "models/lm-6m");
    struct tokenizer *tokenizer = opened(path);
    (void)real(path, "text/tinystories-train-head.txt");
    struct source source = mapped(path);
    struct token_list got;
    token_list_init(&got);
    /* Characters, not bytes: walk back over continuation bytes. */
    size_t begin = source.bytes.size;
    for (size_t left = 40000; left > 0 && begin > 0;
         left -= (source.bytes.data[begin] & 0xC0) != 0x80)
        begin--;
    struct text text = {(const char *)source.bytes.data + begin, source.bytes.size - begin};
    assert_int_equal(tokenizer_encode(tokenizer, NULL, text, 0, &got), ERR_OK);
    /* The reference keeps the ids of its 24 windows of 255, not all. */
    size_t count = got.count;
    assert_true(count >= want.count && want.count == 6120);
    got.count = want.count;
    assert_ids(&got, want.ids, want.count, "lm-6m");
    got.count = count;
    struct bytes decoded;
    bytes_init(&decoded, SMALL_BYTES);
    assert_int_equal(tokenizer_decode(tokenizer, got.ids, got.count, 0, &decoded), ERR_OK);
    assert_int_equal(decoded.size, text.size);
    assert_memory_equal(decoded.data, text.data, text.size);
    bytes_fini(&decoded);
    token_list_fini(&got);
    token_list_fini(&want);
    source_close(&source);
    tokenizer_close(&tokenizer);
}

/* Where the next input ends: before a line of its own, or at the end of all. */
static const char *input_end(const char *in, const char *end, const char *part)
{
    size_t size = strlen(part);
    for (; (size_t)(end - in) >= size; in++)
        if (memcmp(in, part, size) == 0)
            return in;
    return end;
}

/* Inputs are parted by a line of their own, results are one line each. */
static void check_vectors(const char *tokenizer_name, const char *vectors)
{
    static const char part[] = "\n__ggml_vocab_test__\n";
    char path[PATH_BYTES];
    char name[PATH_BYTES];
    if (!real(path, tokenizer_name))
        return;
    struct tokenizer *tokenizer = opened(path);
    (void)snprintf(name, sizeof(name), "tokenizers/gguf/ggml-vocab-%s.gguf.inp", vectors);
    (void)real(path, name);
    struct source inputs = mapped(path);
    (void)snprintf(name, sizeof(name), "tokenizers/gguf/ggml-vocab-%s.gguf.out", vectors);
    (void)real(path, name);
    struct source outputs = mapped(path);
    const char *in = (const char *)inputs.bytes.data;
    const char *in_end = in + inputs.bytes.size;
    char *results = strndup((const char *)outputs.bytes.data, outputs.bytes.size);
    char *line = results;
    size_t count = 0;
    while (line != NULL && *line != '\0') {
        const char *next = input_end(in, in_end, part);
        struct text text = {in, (size_t)(next - in)};
        struct token_list got, want;
        char *line_end = strchr(line, '\n');
        char what[64];
        token_list_init(&got);
        token_list_init(&want);
        if (line_end != NULL)
            *line_end = '\0';
        for (char *at = line;;) {
            char *end;
            uint32_t id = (uint32_t)strtoul(at, &end, 10);
            if (end == at)
                break;
            assert_int_equal(token_list_append(&want, &id, 1), ERR_OK);
            at = end;
        }
        (void)snprintf(what, sizeof(what), "%s, vector %zu", vectors, ++count);
        assert_int_equal(tokenizer_encode(tokenizer, NULL, text, 0, &got), ERR_OK);
        assert_ids(&got, want.ids, want.count, what);
        token_list_fini(&got);
        token_list_fini(&want);
        line = line_end == NULL ? NULL : line_end + 1;
        in = next == in_end ? in_end : next + strlen(part);
    }
    assert_true(count > 40);
    free(results);
    source_close(&inputs);
    source_close(&outputs);
    tokenizer_close(&tokenizer);
}

/* Somebody's editor turned no-break spaces of this file into spaces; its own library refuses it. */
static void test_tokenizer__damaged_merges_are_refused_with_their_place(void **state)
{
    (void)state;
    char path[PATH_BYTES];
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    if (!real(path, "tokenizers/hf/llama2"))
        return;
    assert_int_equal(tokenizer_open(path, &tokenizer, &et), ERR_FORMAT);
    assert_null(tokenizer);
    assert_non_null(strstr(et.text, "tokenizer.json: model.merges[18917]: expected two tokens"));
}

static void test_tokenizer__llama_sentencepiece_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/sentencepiece/llama2-tokenizer.model", "llama-spm");
}

static void test_tokenizer__llama_in_gguf_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/gguf/ggml-vocab-llama-spm.gguf", "llama-spm");
}

static void test_tokenizer__falcon_in_gguf_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/gguf/ggml-vocab-falcon.gguf", "falcon");
}

static void test_tokenizer__phi_3_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/hf/phi-3-mini", "phi-3");
}

static void test_tokenizer__gpt_2_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/hf/gpt2", "gpt-2");
}

static void test_tokenizer__falcon_passes_every_vector(void **state)
{
    (void)state;
    check_vectors("tokenizers/hf/falcon-tokenizer", "falcon");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer__ids_of_the_reference_are_found_again),
        cmocka_unit_test(test_tokenizer__sentencepiece_model_gives_its_own_ids),
        cmocka_unit_test(test_tokenizer__damaged_merges_are_refused_with_their_place),
        cmocka_unit_test(test_tokenizer__llama_sentencepiece_passes_every_vector),
        cmocka_unit_test(test_tokenizer__llama_in_gguf_passes_every_vector),
        cmocka_unit_test(test_tokenizer__falcon_in_gguf_passes_every_vector),
        cmocka_unit_test(test_tokenizer__phi_3_passes_every_vector),
        cmocka_unit_test(test_tokenizer__gpt_2_passes_every_vector),
        cmocka_unit_test(test_tokenizer__falcon_passes_every_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
