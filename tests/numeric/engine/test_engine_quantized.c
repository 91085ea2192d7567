/* test_engine_quantized.c - quantized folders as models: every value, the logits, what damaged
 * folders say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "tests/numeric/engine/quantized_maker.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/quant/blocks.h"

static char folder[64];

static int name_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/engine_quantized.%ld", (long)getpid());
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const files[] = {"config.json",       "generation_config.json",
                                        "tokenizer.json",    "tokenizer_config.json",
                                        "model.safetensors", "special_tokens_map.json"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return 0;
}

static struct model *open_or_fail(const char *path)
{
    struct model *model = NULL;
    struct err_text et = {""};
    if (model_open(path, &model, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return model;
}

/* The kind's folder of `base`, opened. */
static struct model *make(const char *name, const char *base, struct quantized_kind *kind)
{
    struct err_text et = {""};
    assert_true(quantized_maker_kind(name, kind));
    if (quantized_maker_write(kind, base, folder, &et) != ERR_OK)
        fail_msg("%s: %s", name, et.text);
    return open_or_fail(folder);
}

static void check_values(const char *name, const struct model *before, const struct model *after,
                         const struct quantized_kind *kind)
{
    for (size_t i = 0; i < model_param_count(before); i++) {
        const struct model_param *p = model_param(before, i), *q = model_param(after, i);
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        size_t count = p->rows * p->columns;
        float *found = mem_alloc(count, sizeof *found), *expected = NULL;
        assert_non_null(found);
        block_decode(q->dtype, count, q->data, found);
        if (quantized_maker_takes(before, p)) {
            expected = quantized_maker_values(kind, p);
            assert_true(q->rounds_input == (kind->scheme.input != QUANT_SCHEME_INPUT_PLAIN));
        } else {
            expected = mem_alloc(count, sizeof *expected);
            assert_non_null(expected);
            block_decode(p->dtype, count, p->data, expected);
        }
        for (size_t k = 0; k < count; k++)
            if (memcmp(&found[k], &expected[k], sizeof(float)) != 0)
                fail_msg("%s: %s: element %zu: expected %a, found %a", name, p->name, k,
                         (double)expected[k], (double)found[k]);
        mem_free(found);
        mem_free(expected);
    }
}

static void test_quantized__values_are_those_of_the_codes(void **state)
{
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    (void)state;
    if (base == NULL)
        skip();
    struct model *before = open_or_fail(base);
    for (size_t i = 0; quantized_maker_name(i) != NULL; i++) {
        struct quantized_kind kind;
        struct model *after = make(quantized_maker_name(i), base, &kind);
        check_values(kind.name, before, after, &kind);
        const struct model_param *p =
            model_param(after, (size_t)model_param_index(after, MODEL_DOWN, 1));
        enum dtype dtype = kind.is_bnb ? (kind.type == BNB_CODE_NF4 ? DTYPE_NF4 : DTYPE_FP4)
                           : kind.scheme.bits <= 4 ? DTYPE_GRID4
                                                   : DTYPE_GRID8;
        assert_int_equal(p->dtype, dtype);
        model_destroy(&after);
    }
    model_destroy(&before);
}

/* Every family of folders, with layers whose rows are whole blocks and others. */
static void test_family__quantized_folders_open(void **state)
{
    static const char *const kinds[] = {"W4A16_ASYM", "W8A8", "NF4"};
    struct golden_family *golden = golden_family_of_test(state);
    const struct model *before = golden->model;
    const char *base = golden_family_path(0, golden->name, "");
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct quantized_kind kind;
        struct err_text et = {""};
        assert_true(quantized_maker_kind(kinds[i], &kind));
        if (model_config(before)->quantized) {
            assert_int_not_equal(quantized_maker_write(&kind, base, folder, &et), ERR_OK);
            continue;
        }
        assert_int_equal(quantized_maker_write(&kind, base, folder, &et), ERR_OK);
        struct model *after = NULL;
        if (model_family(before)->linear == LINEAR_TURNED) {
            assert_int_equal(model_open(folder, &after, &et), ERR_UNSUPPORTED);
            continue;
        }
        after = open_or_fail(folder);
        assert_int_equal(model_param_count(after), model_param_count(before));
        model_destroy(&after);
    }
    golden_family_close(golden);
}

static float *logits_of(const struct model *model)
{
    enum { TOKENS = 40 };
    static uint32_t tokens[TOKENS];
    static const uint8_t loss[TOKENS] = {0};
    static const uint32_t start = 0;
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = i * 7919u % (uint32_t)model_shape(model)->vocabulary;
    const struct train_row row = {.tokens = tokens,
                                  .loss = loss,
                                  .token_count = TOKENS,
                                  .segment_starts = &start,
                                  .segment_count = 1};
    return golden_family_logits(model, NULL, NULL, &row);
}

static void test_quantized__logits_are_those_of_decoded_weights(void **state)
{
    enum { OVERRIDES_MAX = 32 };
    static const char *const kinds[] = {"W4A16_ASYM", "W8A16", "W3A16", "NF4_NESTED", "FP4"};
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    (void)state;
    if (base == NULL)
        skip();
    struct model *before = open_or_fail(base);
    size_t count = 40 * model_shape(before)->vocabulary;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct quantized_kind kind;
        struct model *after = make(kinds[i], base, &kind), *overlay = NULL;
        struct model_override overrides[OVERRIDES_MAX];
        float *values[OVERRIDES_MAX];
        size_t made = 0;
        for (size_t k = 0; k < model_param_count(before); k++) {
            const struct model_param *p = model_param(before, k);
            if (!quantized_maker_takes(before, p))
                continue;
            assert_true(made < OVERRIDES_MAX);
            values[made] = quantized_maker_values(&kind, p);
            overrides[made] = (struct model_override){p->name, p->rows, p->columns, values[made]};
            made++;
        }
        assert_int_equal(model_overlay_create(before, overrides, made, &overlay, NULL), ERR_OK);
        float *expected = logits_of(overlay), *found = logits_of(after);
        assert_memory_equal(found, expected, count * sizeof *found);
        mem_free(expected);
        mem_free(found);
        model_destroy(&overlay);
        model_destroy(&after);
        for (size_t k = 0; k < made; k++)
            mem_free(values[k]);
    }
    model_destroy(&before);
}

static void test_quantized__rounded_inputs_move_the_logits_a_little(void **state)
{
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    (void)state;
    if (base == NULL)
        skip();
    struct quantized_kind kind;
    struct model *plain = make("W8A16", base, &kind), *rounded = make("W8A8", base, &kind);
    float *a = logits_of(plain), *b = logits_of(rounded), far = 0;
    for (size_t i = 0; i < 40 * model_shape(plain)->vocabulary; i++)
        far = fmaxf(far, fabsf(a[i] - b[i]));
    if (!(far > 1e-3f && far < 2))
        fail_msg("expected logits within 2, found %g", (double)far);
    mem_free(a);
    mem_free(b);
    model_destroy(&plain);
    model_destroy(&rounded);
}

/* ---- folders that are not right ---- */

/* Rewrites the folder's config.json with the first `from` replaced by `to`. */
static void change_config(const char *from, const char *to)
{
    char path[128];
    struct bytes text, changed;
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    bytes_init(&text, 1 << 16);
    bytes_init(&changed, 1 << 16);
    assert_int_equal(file_read(path, 1 << 16, &text, NULL), ERR_OK);
    bytes_append(&text, "", 1);
    const char *at = strstr((const char *)text.data, from);
    assert_non_null(at);
    bytes_append(&changed, text.data, (size_t)(at - (const char *)text.data));
    bytes_append_text(&changed, text_of(to));
    bytes_append_text(&changed, text_of(at + strlen(from)));
    assert_int_equal(file_write_atomic(path, bytes_span(&changed), NULL), ERR_OK);
    bytes_fini(&text);
    bytes_fini(&changed);
}

static void test_quantized__folders_whose_parts_disagree_are_refused(void **state)
{
    static const struct {
        const char *kind, *from, *to;
        enum err code;
        const char *says;
    } rows[] = {
        {"W4A16", "\"num_bits\": 4", "\"num_bits\": 8", ERR_SHAPE,
         "q_proj.weight_packed: expected rank 2, 128 x 32 by quantization_config, found rank 2, "
         "128 "
         "x 16"},
        {"W4A16", "\"group_size\": 128", "\"group_size\": 64", ERR_SHAPE, "weight_scale: expected"},
        {"W4A16", "\"symmetric\": true", "\"symmetric\": false", ERR_NOT_FOUND,
         "weight_zero_point: expected by quantization_config"},
        {"W4A16", "\"pack-quantized\"", "\"int-quantized\"", ERR_NOT_FOUND,
         ".weight: expected by quantization_config, found no such tensor"},
        {"W4A16", "\"lm_head\"", "\"Linear\"", ERR_FORMAT, "is quantized; expected a group"},
        {"W4A8", "\"num_bits\": 4", "\"num_bits\": 3", ERR_FORMAT, "expected codes of 3 bits"},
        {"W8A8", "\"dynamic\": true", "\"dynamic\": false", ERR_UNSUPPORTED, "strategy"},
        {"W8A8", "\"compressed-tensors\"", "\"awq\"", ERR_UNSUPPORTED,
         "quant_method \"awq\"; expected compressed-tensors, bitsandbytes or bitnet"},
        {"W8A8", "\"compressed-tensors\"", "\"bitsandbytes\"", ERR_UNSUPPORTED, "type I8"},
        {"NF4", "\"bitsandbytes\"", "\"compressed-tensors\"", ERR_FORMAT, "config_groups"},
    };
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    (void)state;
    if (base == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quantized_kind kind;
        struct model *model = make(rows[i].kind, base, &kind);
        struct err_text et = {""};
        model_destroy(&model);
        change_config(rows[i].from, rows[i].to);
        enum err err = model_open(folder, &model, &et);
        if (err != rows[i].code || strstr(et.text, rows[i].says) == NULL)
            fail_msg("%s: %s: %s: %s", rows[i].kind, rows[i].to, error_name(err), et.text);
        assert_null(model);
    }
}

static void test_quantized__out_of_memory_is_an_error(void **state)
{
    static const char *const kinds[] = {"W4A16_ASYM", "W8A8_STATIC", "NF4_NESTED"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct quantized_kind kind;
        struct model *model = make(kinds[i], golden_family_path(0, "llama2", ""), &kind);
        enum err err = ERR_OUT_OF_MEMORY;
        size_t n = 1;
        model_destroy(&model);
        for (; err != ERR_OK && n < 10000; n++) {
            (void)mem_fault_after(n);
            err = model_open(folder, &model, NULL);
            (void)mem_fault_after(0);
            assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && model == NULL));
        }
        assert_true(err == ERR_OK && n > 4);
        model_destroy(&model);
    }
}

static void test_quantized__only_adapters_train_on_it(void **state)
{
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    static const char *const targets[] = {"all-linear"};
    const struct train_config full = {.method = TRAIN_METHOD_FULL},
                              lora = {.method = TRAIN_METHOD_LORA,
                                      .rank = 2,
                                      .alpha = 4,
                                      .targets = targets,
                                      .target_count = 1};
    struct train_layout *layout = NULL;
    struct err_text et = {""};
    (void)state;
    if (base == NULL)
        skip();
    struct quantized_kind kind;
    struct model *model = make("W4A16", base, &kind);
    assert_int_equal(train_layout_create(model, &full, &layout, &et), ERR_RECIPE);
    assert_non_null(strstr(et.text, "the model is quantized (compressed-tensors)"));
    assert_int_equal(train_layout_create(model, &lora, &layout, &et), ERR_OK);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantized__values_are_those_of_the_codes),
        cmocka_unit_test(test_quantized__logits_are_those_of_decoded_weights),
        cmocka_unit_test(test_quantized__rounded_inputs_move_the_logits_a_little),
        cmocka_unit_test(test_quantized__folders_whose_parts_disagree_are_refused),
        cmocka_unit_test(test_quantized__out_of_memory_is_an_error),
        cmocka_unit_test(test_quantized__only_adapters_train_on_it),
#define QUANTIZED_TEST(family) GOLDEN_TEST(quantized_folders_open, family),
        GOLDEN_FAMILIES(QUANTIZED_TEST)};
    return cmocka_run_group_tests_name("engine_quantized", tests, name_folder, remove_folder);
}
