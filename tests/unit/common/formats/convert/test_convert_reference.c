/* test_convert_reference.c - what we write of a model against what llama.cpp wrote of it: names,
 * order, shapes, values, keys. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/convert/convert_folders.h"

enum { Q8_ELEMENTS = 32, Q8_BYTES = 34 };

/* Keys that a model card or a quantizer fills. And scores: of a BPE with merges llama.cpp writes
 * -1000 for every token, which no reader can merge by; ours say the order of the merges. */
static bool may_differ(struct text key, bool has_scores)
{
    if (!has_scores && text_is(key, "tokenizer.ggml.scores"))
        return true;
    static const char *const prefixes[] = {
        "general.name",    "general.basename",  "general.size_label", "general.license",
        "general.dataset", "general.languages", "general.file_type",
    };
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        size_t size = strlen(prefixes[i]);
        if (key.size >= size && memcmp(key.data, prefixes[i], size) == 0)
            return true;
    }
    return false;
}

/* <unk> of a tokenizer.json is a control token to llama.cpp, the unknown one to us. */
static bool is_unknown(const struct gguf_value *a, const struct gguf_value *b, uint64_t index)
{
    return text_is(a->key, "tokenizer.ggml.token_type") && gguf_item_i64(a, index) == 3 &&
           gguf_item_i64(b, index) == 2;
}

static void expect_same_value(const struct gguf_value *a, const struct gguf_value *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->is_array, b->is_array);
    assert_int_equal(a->count, b->count);
    for (uint64_t i = 0; i < a->count; i++) {
        bool same = a->type == GGUF_TEXT ? text_equal(a->texts[i], b->texts[i])
                                         : gguf_item_f64(a, i) == gguf_item_f64(b, i);
        if (a->type != GGUF_TEXT && is_unknown(a, b, i))
            continue;
        if (!same && a->type == GGUF_TEXT)
            fail_msg("%.*s[%d]: expected %.*s, found %.*s", TEXT_ARGS(a->key), (int)i,
                     TEXT_ARGS(a->texts[i]), TEXT_ARGS(b->texts[i]));
        if (!same)
            fail_msg("%.*s[%d]: expected %g, found %g", TEXT_ARGS(a->key), (int)i,
                     gguf_item_f64(a, i), gguf_item_f64(b, i));
    }
}

static void expect_same_keys(const struct gguf *theirs, const struct gguf *ours, bool has_scores)
{
    for (size_t i = 0; i < theirs->value_count; i++) {
        const struct gguf_value *value = &theirs->values[i];
        char key[256];
        if (may_differ(value->key, has_scores))
            continue;
        (void)snprintf(key, sizeof key, "%.*s", TEXT_ARGS(value->key));
        const struct gguf_value *found = gguf_find(ours, key);
        if (found == NULL)
            fail_msg("%s is missing", key);
        expect_same_value(value, found);
    }
}

static void expect_same_tables(const struct gguf *theirs, const struct gguf *ours)
{
    assert_int_equal(theirs->tensor_count, ours->tensor_count);
    for (size_t i = 0; i < theirs->tensor_count; i++) {
        const struct gguf_tensor *a = &theirs->tensors[i];
        const struct gguf_tensor *b = &ours->tensors[i];
        if (!text_equal(a->name, b->name))
            fail_msg("tensor %zu: expected %.*s, found %.*s", i, TEXT_ARGS(a->name),
                     TEXT_ARGS(b->name));
        assert_int_equal(a->rank, b->rank);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    }
}

/* Q8_0: d = max |x| / 127 as f16, codes round(x / d) with d unrounded. */
static void expect_block(const uint8_t *block, const uint8_t *values)
{
    float x[Q8_ELEMENTS], d = 0.0f;
    uint16_t half;
    convert_float_decode(BLOCK_FORMAT_F32, Q8_ELEMENTS, values, x);
    for (size_t i = 0; i < Q8_ELEMENTS; i++)
        d = fmaxf(d, fabsf(x[i]));
    d /= 127.0f;
    convert_float_encode(BLOCK_FORMAT_F16, 1, &d, &half);
    assert_memory_equal(block, &half, sizeof half);
    for (size_t i = 0; i < Q8_ELEMENTS; i++)
        assert_int_equal((int8_t)block[2 + i], (int)roundf(d > 0.0f ? x[i] * (1.0f / d) : 0.0f));
}

static void expect_same_data(const struct gguf_tensor *theirs, const struct gguf_tensor *ours)
{
    assert_int_equal(ours->format, BLOCK_FORMAT_F32);
    if (theirs->format == BLOCK_FORMAT_F32) {
        assert_memory_equal(theirs->data.data, ours->data.data, ours->data.size);
        return;
    }
    assert_int_equal(theirs->format, BLOCK_FORMAT_Q8_0);
    for (size_t i = 0; i < theirs->data.size / Q8_BYTES; i++)
        expect_block(theirs->data.data + i * Q8_BYTES,
                     ours->data.data + i * Q8_ELEMENTS * sizeof(float));
}

static void open_pair(const struct convert_folders *f, const char *path, struct gguf *theirs,
                      struct gguf *ours)
{
    struct err_text et = {{0}};
    if (gguf_open(theirs, path, &et) != ERR_OK || gguf_open(ours, f->gguf, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static void test_convert__tinystories_is_the_file_of_llama_cpp(void **state)
{
    (void)state;
    char model[256], reference[256];
    struct convert_folders f;
    struct gguf theirs, ours;
    if (!convert_folders_real("models/TinyStories-656K", model, sizeof model) ||
        !convert_folders_real("models/TinyStories-656K/TinyStories-656K-Q8_0.gguf", reference,
                              sizeof reference))
        skip();
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, model, BLOCK_FORMAT_F32);
    open_pair(&f, reference, &theirs, &ours);
    expect_same_tables(&theirs, &ours);
    for (size_t i = 0; i < theirs.tensor_count; i++)
        expect_same_data(&theirs.tensors[i], &ours.tensors[i]);
    expect_same_keys(&theirs, &ours, false);
    gguf_close(&theirs);
    gguf_close(&ours);
    convert_folders_remove(&f);
}

/* The hashes that llama.cpp's f32 file has, by name. */
static void expect_hashes(const char *path, const struct gguf *ours)
{
    struct json_doc *doc = NULL;
    assert_int_equal(json_read_open(path, 64 << 20, &doc, NULL), ERR_OK);
    struct json_value rows = json_read_find(json_read_root(doc), "f32");
    struct json_cursor c = {0};
    size_t count = 0;
    while (json_read_next(rows, &c)) {
        struct text type, hash;
        char found[65];
        const struct gguf_tensor *t = gguf_find_tensor(ours, c.value.key);
        if (t == NULL)
            fail_msg("%.*s is missing", TEXT_ARGS(c.value.key));
        assert_int_equal(json_read_as_text(json_read_item(c.value, 0), &type, NULL), ERR_OK);
        assert_int_equal(json_read_as_text(json_read_item(c.value, 1), &hash, NULL), ERR_OK);
        assert_true(text_is(type, block_format_name(t->format)));
        convert_folders_sha256(t->data, found);
        if (!text_is(hash, found))
            fail_msg("%.*s: other bytes", TEXT_ARGS(c.value.key));
        count++;
    }
    assert_int_equal(count, ours->tensor_count);
    json_read_close(&doc);
}

static void test_convert__lm_6m_has_the_bytes_and_keys_of_llama_cpp(void **state)
{
    (void)state;
    char model[256], reference[256], hashes[256];
    struct convert_folders f;
    struct gguf theirs, ours;
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("models/lm-6m/lm-6m-Q2_K.gguf", reference, sizeof reference) ||
        !convert_folders_real("reference/lm-6m.tensor-sha256.json", hashes, sizeof hashes))
        skip();
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, model, BLOCK_FORMAT_F32);
    open_pair(&f, reference, &theirs, &ours);
    expect_same_tables(&theirs, &ours);
    expect_hashes(hashes, &ours);
    expect_same_keys(&theirs, &ours, true);
    gguf_close(&theirs);
    gguf_close(&ours);
    convert_folders_remove(&f);
}

/* Architectures whose keys llama.cpp's converter gave for real models; values are texts there. What
 * needs a tensor, a tokenizer or nothing of ours is left out. */
static bool is_comparable(struct text key)
{
    static const char *const others[] = {"rope.scaling.attn_factor", "expert"};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        for (size_t at = 0; at + strlen(others[i]) <= key.size; at++) {
            if (memcmp(key.data + at, others[i], strlen(others[i])) == 0)
                return false;
        }
    }
    return memchr(key.data, '.', key.size) != NULL && memcmp(key.data, "general", 7) != 0 &&
           memcmp(key.data, "tokenizer", 9) != 0 && memcmp(key.data, "blk", 3) != 0;
}

/* The golden keys as a GGUF file of u32 and f32. */
static void write_golden(struct json_value golden, struct text arch, struct bytes *out)
{
    struct gguf_write w;
    struct json_cursor c = {0};
    char vocabulary[64];
    bool has_vocabulary = false;
    gguf_write_init(&w);
    gguf_write_text(&w, "general.architecture", arch);
    (void)snprintf(vocabulary, sizeof vocabulary, "%.*s.vocab_size", TEXT_ARGS(arch));
    while (json_read_next(golden, &c)) {
        struct text value;
        char key[128];
        double number = 0;
        if (c.value.key.size < arch.size || memcmp(c.value.key.data, arch.data, arch.size) != 0 ||
            !is_comparable(c.value.key))
            continue;
        assert_int_equal(json_read_as_text(c.value, &value, NULL), ERR_OK);
        assert_int_equal(sscanf(value.data, "%lf", &number), 1);
        (void)snprintf(key, sizeof key, "%.*s", TEXT_ARGS(c.value.key));
        has_vocabulary = has_vocabulary || strcmp(key, vocabulary) == 0;
        if (number == floor(number) && number < 1e9 && strstr(key, "freq_base") == NULL)
            gguf_write_u32(&w, key, (uint32_t)number);
        else
            gguf_write_f32(&w, key, (float)number);
    }
    if (!has_vocabulary)
        gguf_write_u32(&w, vocabulary, 1000);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, out), ERR_OK);
    gguf_write_fini(&w);
}

/* Read as a config and written again, every key is there with its value. */
static void check_golden(const char *path)
{
    struct json_doc *doc = NULL;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    struct bytes there, back;
    struct gguf a, b;
    struct gguf_write w;
    struct text arch;
    struct err_text et = {{0}};
    bytes_init(&there, 1 << 20);
    bytes_init(&back, 1 << 20);
    assert_int_equal(json_read_open(path, 64 << 20, &doc, NULL), ERR_OK);
    assert_int_equal(json_read_text(json_read_root(doc), "general.architecture", &arch, NULL),
                     ERR_OK);
    write_golden(json_read_root(doc), arch, &there);
    assert_int_equal(gguf_parse(&a, bytes_span(&there), path, &et), ERR_OK);
    if (gguf_config_read(&a, config, &et) != ERR_OK)
        fail_msg("%s", et.text);
    gguf_write_init(&w);
    if (gguf_config_write(config, path, 1, &w, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &back), ERR_OK);
    assert_int_equal(gguf_parse(&b, bytes_span(&back), "back", &et), ERR_OK);
    for (size_t i = 1; i < a.value_count; i++) {
        char key[128];
        (void)snprintf(key, sizeof key, "%.*s", TEXT_ARGS(a.values[i].key));
        if (strstr(key, "vocab_size") != NULL && gguf_find(&b, key) == NULL)
            continue;
        if (gguf_find(&b, key) == NULL)
            fail_msg("%s: %s is missing", path, key);
        if (gguf_item_f64(&a.values[i], 0) != gguf_item_f64(gguf_find(&b, key), 0))
            fail_msg("%s: %s: expected %g, found %g", path, key, gguf_item_f64(&a.values[i], 0),
                     gguf_item_f64(gguf_find(&b, key), 0));
    }
    gguf_close(&a);
    gguf_close(&b);
    gguf_write_fini(&w);
    bytes_fini(&there);
    bytes_fini(&back);
    json_read_close(&doc);
    mem_free(config);
}

static void test_convert__keys_of_real_models_survive_as_configs(void **state)
{
    (void)state;
    static const char *const models[] = {
        "Meta-Llama-3-8B-Instruct",
        "Mistral-7B-Instruct-v0.2",
        "Phi-3-mini-128k-instruct",
        "Qwen2.5-0.5B-Instruct",
        "gemma-2-2b-it",
        "gemma-2b-it",
    };
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        char name[128], path[256];
        (void)snprintf(name, sizeof name, "configs/ollama-convert-golden/%s.json", models[i]);
        if (!convert_folders_real(name, path, sizeof path))
            skip();
        check_golden(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert__tinystories_is_the_file_of_llama_cpp),
        cmocka_unit_test(test_convert__lm_6m_has_the_bytes_and_keys_of_llama_cpp),
        cmocka_unit_test(test_convert__keys_of_real_models_survive_as_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
