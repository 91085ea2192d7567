/* test_convert_quantize.c - whole quantized files: llama-quantize's, and inputs that must not
 * become files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "tests/unit/common/formats/convert/convert_folders.h"
#include "worker/engine/quant/blocks.h"

static void decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    (void)context;
    block_encode((enum dtype)format, rows, columns, x, importance, out);
}

static struct convert_quantize quantize_of(const char *mix)
{
    return (struct convert_quantize){
        .mix = convert_mix_named(mix),
        .switches = {.head = CONVERT_MIX_ANY, .embedding = CONVERT_MIX_ANY},
        .encoder = {encode, decode, NULL},
    };
}

static enum err convert(const struct convert_folders *f, const char *model,
                        const struct convert_quantize *q, struct err_text *et)
{
    struct convert_model_options options = {.format = CONVERT_PLAN_KEEP, .quantize = q};
    struct convert_model_report report;
    return convert_model_to_gguf(model, f->gguf, &options, &report, et);
}

static void expect_same_file(const struct convert_folders *f, const char *path)
{
    struct gguf theirs, ours;
    struct err_text et = {{0}};
    if (gguf_open(&theirs, path, &et) != ERR_OK || gguf_open(&ours, f->gguf, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(theirs.tensor_count, ours.tensor_count);
    for (size_t i = 0; i < theirs.tensor_count; i++) {
        const struct gguf_tensor *a = &theirs.tensors[i], *b = &ours.tensors[i];
        assert_true(text_equal(a->name, b->name));
        assert_int_equal(a->format, b->format);
        if (!span_equal(a->data, b->data))
            fail_msg("%.*s: other bytes", TEXT_ARGS(a->name));
    }
    for (size_t i = 0; i < theirs.value_count; i++) {
        const struct gguf_value *a = &theirs.values[i], *b;
        char key[128];
        (void)snprintf(key, sizeof key, "%.*s", TEXT_ARGS(a->key));
        if (strcmp(key, "general.name") == 0)
            continue;
        b = gguf_find(&ours, key);
        if (b == NULL || a->type != b->type || a->count != b->count)
            fail_msg("%s: expected as in the reference", key);
        for (uint64_t k = 0; k < a->count; k++)
            assert_true(a->type == GGUF_TEXT ? text_equal(a->texts[k], b->texts[k])
                                             : gguf_item_f64(a, k) == gguf_item_f64(b, k));
    }
    gguf_close(&theirs);
    gguf_close(&ours);
}

static void test_quantize__files_equal_those_of_llama_quantize(void **state)
{
    (void)state;
    char model[256], plain[256], weighed[256], matrix[256];
    struct convert_folders f;
    struct imatrix importance;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("models/lm-6m/lm-6m-Q2_K.gguf", plain, sizeof plain) ||
        !convert_folders_real("models/lm-6m/lm-6m-Q4_K_M-im.gguf", weighed, sizeof weighed) ||
        !convert_folders_real("models/lm-6m/lm-6m.imatrix.dat", matrix, sizeof matrix))
        skip();
    convert_folders_make(&f);
    struct convert_quantize q = quantize_of("Q2_K");
    if (convert(&f, model, &q, &et) != ERR_OK)
        fail_msg("%s", et.text);
    expect_same_file(&f, plain);
    assert_int_equal(remove(f.gguf), 0);
    assert_int_equal(imatrix_open(&importance, matrix, &et), ERR_OK);
    q = quantize_of("Q4_K_M");
    q.importance = &importance;
    q.importance_file = "lm/lm-6m.imatrix.dat"; /* as it was called there */
    if (convert(&f, model, &q, &et) != ERR_OK)
        fail_msg("%s", et.text);
    expect_same_file(&f, weighed);
    imatrix_close(&importance);
    convert_folders_remove(&f);
}

static void expect_format(const struct gguf *g, const char *name, enum block_format format)
{
    const struct gguf_tensor *t = gguf_find_tensor(g, text_of(name));
    assert_non_null(t);
    if (t->format != format)
        fail_msg("%s: expected %s, found %s", name, block_format_name(format),
                 block_format_name(t->format));
}

static void test_quantize__exceptions_stand_above_the_mix(void **state)
{
    (void)state;
    char model[256];
    static const struct convert_exception exceptions[] = {
        {"attn_(q|k)", BLOCK_FORMAT_Q8_0},
        {"blk\\.[0-2]\\.", BLOCK_FORMAT_Q5_K},
        {"ffn_up", BLOCK_FORMAT_F16},
    };
    struct convert_folders f;
    struct gguf g;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model))
        skip();
    convert_folders_make(&f);
    struct convert_quantize q = quantize_of("Q8_0");
    q.exceptions = exceptions;
    q.exception_count = COUNT_OF(exceptions);
    if (convert(&f, model, &q, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(gguf_open(&g, f.gguf, &et), ERR_OK);
    expect_format(&g, "blk.0.attn_q.weight", BLOCK_FORMAT_Q8_0);
    expect_format(&g, "blk.2.attn_v.weight", BLOCK_FORMAT_Q5_K);
    expect_format(&g, "blk.2.ffn_up.weight", BLOCK_FORMAT_Q5_K);
    expect_format(&g, "blk.3.ffn_up.weight", BLOCK_FORMAT_F16);
    expect_format(&g, "blk.3.ffn_down.weight", BLOCK_FORMAT_Q8_0);
    expect_format(&g, "blk.0.attn_norm.weight", BLOCK_FORMAT_F32);
    gguf_close(&g);
    convert_folders_remove(&f);
}

static void test_quantize__what_does_not_fit_is_an_error_and_no_file(void **state)
{
    (void)state;
    char model[256], matrix[256];
    static const struct convert_exception broken[] = {{"attn_(", BLOCK_FORMAT_Q8_0}};
    struct convert_folders f;
    struct imatrix other;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("imatrix/calcuis_imatrix.dat", matrix, sizeof matrix))
        skip();
    convert_folders_make(&f);
    struct convert_quantize q = quantize_of("Q4_K_M");
    assert_int_equal(imatrix_open(&other, matrix, &et), ERR_OK);
    q.importance = &other;
    q.importance_file = matrix;
    assert_int_equal(convert(&f, model, &q, &et), ERR_SHAPE);
    assert_non_null(strstr(et.text, "another model"));
    q = quantize_of("Q2_K_S");
    assert_int_equal(convert(&f, model, &q, &et), ERR_USAGE);
    assert_non_null(strstr(et.text, "importance"));
    q = quantize_of("Q4_0");
    q.exceptions = broken;
    q.exception_count = 1;
    assert_int_equal(convert(&f, model, &q, &et), ERR_USAGE);
    assert_false(file_exists(f.gguf));
    imatrix_close(&other);
    convert_folders_remove(&f);
}

static enum err count_bytes(void *context, struct span piece)
{
    *(size_t *)context += piece.size;
    return ERR_OK;
}

/* A matrix of two rows with one odd number at (1, 40). */
static enum err write_with(float odd, enum block_format format, size_t *size, struct err_text *et)
{
    enum { COLUMNS = 256 };
    float x[2 * COLUMNS];
    const struct convert_encoder encoder = {encode, decode, NULL};
    for (size_t i = 0; i < COUNT_OF(x); i++)
        x[i] = (float)i * 0.001f;
    x[COLUMNS + 40] = odd;
    struct convert_tensor t = {.name = "blk.0.ffn_up.weight",
                               .rank = 2,
                               .shape = {2, COLUMNS},
                               .rows = 2,
                               .columns = COLUMNS,
                               .data = {(const uint8_t *)x, sizeof x},
                               .in = BLOCK_FORMAT_F32,
                               .out = format,
                               .encoder = &encoder};
    *size = 0;
    return convert_quantize_write(&t, count_bytes, size, et);
}

static void test_quantize__numbers_that_are_none_are_named(void **state)
{
    (void)state;
    static const float odd[] = {0.0f / 0.0f, 1.0f / 0.0f, -1.0f / 0.0f, 1e30f, -3e38f};
    struct err_text et = {{0}};
    size_t size = 0;
    for (unsigned format = BLOCK_FORMAT_Q4_0; format < BLOCK_FORMAT_COUNT; format++) {
        assert_int_equal(write_with(1.0f, (enum block_format)format, &size, &et), ERR_OK);
        assert_true(size == (size_t)512 / block_format_elements((enum block_format)format) *
                                block_format_bytes((enum block_format)format));
        for (size_t i = 0; i < COUNT_OF(odd); i++) {
            enum err err = write_with(odd[i], (enum block_format)format, &size, &et);
            assert_int_equal(err, ERR_NOT_FINITE);
            assert_int_equal(size, 0);
            assert_non_null(strstr(et.text, "tensor blk.0.ffn_up.weight: row 1, column "));
        }
        assert_int_equal(write_with(odd[0], (enum block_format)format, &size, &et), ERR_NOT_FINITE);
        assert_non_null(strstr(et.text, "row 1, column 40: expected a number"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize__files_equal_those_of_llama_quantize),
        cmocka_unit_test(test_quantize__exceptions_stand_above_the_mix),
        cmocka_unit_test(test_quantize__what_does_not_fit_is_an_error_and_no_file),
        cmocka_unit_test(test_quantize__numbers_that_are_none_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
