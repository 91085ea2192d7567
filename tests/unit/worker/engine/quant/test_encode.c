/* test_encode.c - encoders against llama-quantize's bytes, and on numbers no model has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/imatrix/imatrix.h"
#include "common/formats/json/json_read.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/unit/common/formats/convert/convert_folders.h"
#include "worker/engine/quant/blocks.h"

enum { COLUMNS = 768, ROWS = 3, ELEMENTS = COLUMNS * ROWS, SEED = 20 };

static bool is_block(enum dtype dtype)
{
    return !dtype_is_plain(dtype);
}

/* ---- real tensors ---- */

/* Every ENCODE_EVERY-th of the reference's matrices is made: under a sanitizer not all. */
#ifndef ENCODE_EVERY
#define ENCODE_EVERY 1
#endif

struct reference {
    struct gguf f32;
    struct imatrix importance;
    size_t seen, compared, wrong;
};

static bool format_of_name(struct text name, enum block_format *out)
{
    for (unsigned i = 0; i < BLOCK_FORMAT_COUNT; i++) {
        if (text_is(name, block_format_name((enum block_format)i))) {
            *out = (enum block_format)i;
            return true;
        }
    }
    return false;
}

static void expect_bytes(struct reference *r, struct text file, const struct json_value *row)
{
    struct text type, hash;
    enum block_format format = BLOCK_FORMAT_F32;
    char found[65];
    const struct gguf_tensor *t = gguf_find_tensor(&r->f32, row->key);
    assert_non_null(t);
    assert_int_equal(json_read_as_text(json_read_item(*row, 0), &type, NULL), ERR_OK);
    assert_int_equal(json_read_as_text(json_read_item(*row, 1), &hash, NULL), ERR_OK);
    assert_true(format_of_name(type, &format));
    if (t->rank != 2 || r->seen++ % ENCODE_EVERY != 0)
        return;
    bool is_important = file.size > 3 && memcmp(file.data + file.size - 3, "-im", 3) == 0;
    const struct imatrix_entry *entry =
        is_important ? imatrix_find(&r->importance, row->key) : NULL;
    size_t rows = (size_t)t->shape[0], columns = (size_t)t->shape[1];
    struct span data = {NULL, 0};
    assert_true(block_format_size_bytes(format, rows * columns, &data.size));
    uint8_t *bytes = mem_alloc(data.size, 1);
    float *mean = entry != NULL ? mem_alloc(columns, sizeof *mean) : NULL;
    if (mean != NULL)
        imatrix_mean(entry, mean);
    block_encode((enum dtype)format, rows, columns, (const float *)(const void *)t->data.data, mean,
                 bytes);
    data.data = bytes;
    convert_folders_sha256(data, found);
    r->compared++;
    if (!text_is(hash, found)) {
        r->wrong++;
        print_message("%.*s %.*s %.*s: other bytes\n", TEXT_ARGS(file), TEXT_ARGS(row->key),
                      TEXT_ARGS(type));
    }
    mem_free(bytes);
    mem_free(mean);
}

static void test_encode__real_tensors_are_those_of_llama_quantize(void **state)
{
    (void)state;
    char model[256], matrix[256], hashes[256];
    struct convert_folders f;
    struct reference r = {.compared = 0};
    struct json_doc *doc = NULL;
    struct err_text et;
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("models/lm-6m/lm-6m.imatrix.dat", matrix, sizeof matrix) ||
        !convert_folders_real("reference/lm-6m.tensor-sha256.json", hashes, sizeof hashes))
        skip();
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, model, BLOCK_FORMAT_F32);
    assert_int_equal(gguf_open(&r.f32, f.gguf, &et), ERR_OK);
    assert_int_equal(imatrix_open(&r.importance, matrix, &et), ERR_OK);
    assert_int_equal(json_read_open(hashes, 64 << 20, &doc, NULL), ERR_OK);
    struct json_cursor files = {0};
    while (json_read_next(json_read_root(doc), &files)) {
        struct json_cursor rows = {0};
        while (json_read_next(files.value, &rows))
            expect_bytes(&r, files.value.key, &rows.value);
    }
    print_message("%zu tensors, %zu with other bytes\n", r.compared, r.wrong);
    assert_true(r.compared > 1000 / ENCODE_EVERY);
    assert_int_equal(r.wrong, 0);
    json_read_close(&doc);
    imatrix_close(&r.importance);
    gguf_close(&r.f32);
    convert_folders_remove(&f);
}

/* ---- numbers of all kinds ---- */

static float uniform(uint64_t place)
{
    return (float)(random_u32(SEED, place) >> 8) * 0x1p-23f - 1.0f;
}

struct kind {
    const char *name;
    float scale;
    size_t one_in; /* how many elements are not zero */
};

static const struct kind kinds[] = {
    {"ordinary", 0.1f, 1},   {"zero", 0.0f, 1},  {"sparse", 1.0f, 97}, {"tiny", 1e-30f, 1},
    {"denormal", 1e-41f, 1}, {"large", 3e4f, 1}, {"huge", 3e38f, 1},   {"near zero", 2e-15f, 1},
};

static void fill(const struct kind *kind, float *x)
{
    for (size_t i = 0; i < ELEMENTS; i++)
        x[i] = i % kind->one_in == 0 ? uniform(i) * kind->scale : 0.0f;
}

static const struct block_table *const tables[] = {
    &block_portable,
#if defined(__x86_64__)
    &block_avx2,
    &block_avx512,
#endif
};

static bool is_supported(const struct block_table *table)
{
#if defined(__x86_64__)
    if (table == &block_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (table == &block_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#endif
    return table == &block_portable;
}

/* Every instruction set, and rows one by one, give the bytes of the portable table at once. */
static void expect_same_bytes(enum dtype dtype, const float *x, const float *importance)
{
    static uint8_t whole[ELEMENTS * 4], other[ELEMENTS * 4];
    size_t size = dtype_span_bytes(dtype, ELEMENTS);
    memset(whole, 0xaa, sizeof whole);
    block_encode(dtype, ROWS, COLUMNS, x, importance, whole);
    assert_int_equal(whole[size], 0xaa);
    for (size_t k = 0; k < COUNT_OF(tables); k++) {
        if (!is_supported(tables[k]))
            continue;
        memset(other, 0x55, sizeof other);
        for (size_t row = 0; row < ROWS; row++)
            tables[k]->encode[dtype](1, COLUMNS, x + row * COLUMNS, importance,
                                     other + row * dtype_span_bytes(dtype, COLUMNS));
        assert_memory_equal(whole, other, size);
    }
}

static void test_encode__all_numbers_give_one_answer_everywhere(void **state)
{
    (void)state;
    static float x[ELEMENTS], importance[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++)
        importance[i] = i % 50 == 0 ? 0.0f : fabsf(uniform(ELEMENTS + i)) * 10.0f;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        fill(&kinds[k], x);
        for (unsigned d = 0; d < DTYPE_FILE_COUNT; d++) {
            if (!is_block((enum dtype)d))
                continue;
            expect_same_bytes((enum dtype)d, x, NULL);
            expect_same_bytes((enum dtype)d, x, importance);
        }
    }
}

/* Largest error over the largest element, for a format's codes and no worse. */
static const struct {
    enum dtype dtype;
    float bound;
} bounds[] = {
    {DTYPE_Q4_0, 0.15f},  {DTYPE_Q4_1, 0.1f},  {DTYPE_Q5_0, 0.08f},  {DTYPE_Q5_1, 0.05f},
    {DTYPE_Q8_0, 0.005f}, {DTYPE_Q2_K, 0.5f},  {DTYPE_Q3_K, 0.4f},   {DTYPE_Q4_K, 0.12f},
    {DTYPE_Q5_K, 0.06f},  {DTYPE_Q6_K, 0.05f}, {DTYPE_IQ4_NL, 0.2f},
};

static void test_encode__values_come_back_within_a_step(void **state)
{
    (void)state;
    static float x[ELEMENTS], back[ELEMENTS], ones[COLUMNS];
    static uint8_t bytes[ELEMENTS * 4];
    fill(&kinds[0], x);
    for (size_t i = 0; i < COLUMNS; i++)
        ones[i] = 1.0f;
    for (size_t k = 0; k < 2 * COUNT_OF(bounds); k++) {
        enum dtype dtype = bounds[k / 2].dtype;
        float worst = 0.0f;
        block_encode(dtype, ROWS, COLUMNS, x, k % 2 == 0 ? NULL : ones, bytes);
        block_decode(dtype, ELEMENTS, bytes, back);
        for (size_t i = 0; i < ELEMENTS; i++)
            worst = fmaxf(worst, fabsf(back[i] - x[i]) / kinds[0].scale);
        if (!(worst <= bounds[k / 2].bound) || worst == 0.0f)
            fail_msg("%s: expected errors of at most %g, found %g", dtype_name(dtype),
                     (double)bounds[k / 2].bound, (double)worst);
    }
}

static void test_encode__ternary_weights_stay_as_they_are(void **state)
{
    (void)state;
    static float x[ELEMENTS], back[ELEMENTS];
    static uint8_t bytes[ELEMENTS * 4];
    for (size_t i = 0; i < ELEMENTS; i++)
        x[i] = (float)((int)(random_u32(SEED, i) % 3) - 1) * 0.25f;
    for (unsigned d = DTYPE_TQ1_0; d <= DTYPE_TQ2_0; d++) {
        block_encode((enum dtype)d, ROWS, COLUMNS, x, NULL, bytes);
        block_decode((enum dtype)d, ELEMENTS, bytes, back);
        for (size_t i = 0; i < ELEMENTS; i++)
            assert_true(back[i] == x[i]);
    }
}

static void test_encode__zero_stays_zero(void **state)
{
    (void)state;
    static float x[ELEMENTS], back[ELEMENTS], ones[COLUMNS];
    static uint8_t bytes[ELEMENTS * 4];
    for (size_t i = 0; i < COLUMNS; i++)
        ones[i] = 1.0f;
    for (unsigned d = 0; d < 2 * DTYPE_FILE_COUNT; d++) {
        block_encode((enum dtype)(d / 2), ROWS, COLUMNS, x, d % 2 == 0 ? NULL : ones, bytes);
        block_decode((enum dtype)(d / 2), ELEMENTS, bytes, back);
        for (size_t i = 0; i < ELEMENTS; i++)
            assert_true(back[i] == 0.0f);
    }
}

static void test_encode__halves_round_to_even(void **state)
{
    (void)state;
    static const struct {
        float value;
        uint16_t f16, bf16;
    } cases[] = {
        {1.0f, 0x3c00, 0x3f80},
        {0x1.002p0f, 0x3c00, 0x3f80}, /* half a step above an even number */
        {0x1.006p0f, 0x3c02, 0x3f80}, /* and above an odd one */
        {0x1.01p0f, 0x3c04, 0x3f80},  /* half a step of bf16 */
        {0x1.03p0f, 0x3c0c, 0x3f82},
        {65504.0f, 0x7bff, 0x4780},
        {65519.0f, 0x7bff, 0x4780}, /* the last that does not become infinite */
        {65520.0f, 0x7c00, 0x4780},
        {-0x1p-24f, 0x8001, 0xb380}, /* the least subnormal half */
        {0x1p-25f, 0x0000, 0x3300},
        {0x1.8p-25f, 0x0001, 0x3340},
        {0x1.ffcp-15f, 0x0400, 0x3880}, /* into the normal ones */
        {-0.0f, 0x8000, 0x8000},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint16_t half = 0;
        block_encode(DTYPE_F16, 1, 1, &cases[i].value, NULL, &half);
        assert_int_equal(half, cases[i].f16);
        block_encode(DTYPE_BF16, 1, 1, &cases[i].value, NULL, &half);
        assert_int_equal(half, cases[i].bf16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode__all_numbers_give_one_answer_everywhere),
        cmocka_unit_test(test_encode__values_come_back_within_a_step),
        cmocka_unit_test(test_encode__ternary_weights_stay_as_they_are),
        cmocka_unit_test(test_encode__zero_stays_zero),
        cmocka_unit_test(test_encode__halves_round_to_even),
        cmocka_unit_test(test_encode__real_tensors_are_those_of_llama_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
