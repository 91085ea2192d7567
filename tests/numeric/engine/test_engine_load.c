/* test_engine_load.c - models whose linear layers are quantized while they are opened: every value
 * is what a quantized folder would say, whatever the files are and however many threads encode. */
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
#include "worker/engine/nn/model_load.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/grid.h"

static char folder[64];

static int name_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/engine_load.%ld", (long)getpid());
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

static struct model *open_as(const char *path, const struct model_load *load)
{
    struct model *model = NULL;
    struct err_text et = {""};
    if (model_open_as(path, load, &model, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return model;
}

/* All that a product sees of the models is equal. */
static void check_same(const char *what, const struct model *a, const struct model *b)
{
    assert_int_equal(model_param_count(a), model_param_count(b));
    for (size_t i = 0; i < model_param_count(a); i++) {
        const struct model_param *p = model_param(a, i), *q = model_param(b, i);
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        size_t size = dtype_span_bytes(p->dtype, p->rows * p->columns);
        if (p->dtype != q->dtype || p->turned != q->turned || p->row_order != q->row_order ||
            memcmp(p->data, q->data, size) != 0)
            fail_msg("%s: %s: %s, %s: other bytes", what, p->name, dtype_name(p->dtype),
                     dtype_name(q->dtype));
    }
}

static const struct {
    const char *folder_kind; /* of quantized_maker */
    struct model_load load;
} kinds[] = {
    {"NF4", {MODEL_LOAD_NF4, false, NULL}},
    {"NF4_NESTED", {MODEL_LOAD_NF4, true, NULL}},
    {"FP4", {MODEL_LOAD_FP4, false, NULL}},
    {"W8A16_CHANNEL", {MODEL_LOAD_INT8, false, NULL}},
};

/* Whether the folder's writer here stores scales as the recipe's does. */
static bool scales_agree(const struct model *before, size_t kind)
{
    return kinds[kind].load.weights != MODEL_LOAD_INT8 ||
           model_load_scale_dtype(before) == DTYPE_F32;
}

static void check_folder(const char *base, const struct model *before)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct quantized_kind kind;
        struct err_text et = {""};
        if (!scales_agree(before, i))
            continue;
        assert_true(quantized_maker_kind(kinds[i].folder_kind, &kind));
        if (quantized_maker_write(&kind, base, folder, &et) != ERR_OK)
            fail_msg("%s: %s", kinds[i].folder_kind, et.text);
        struct model *written = open_as(folder, NULL), *loaded = open_as(base, &kinds[i].load);
        check_same(kinds[i].folder_kind, written, loaded);
        model_destroy(&written);
        model_destroy(&loaded);
    }
}

static void test_load__a_model_is_that_of_the_quantized_folder(void **state)
{
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    (void)state;
    if (base == NULL)
        skip();
    struct model *before = open_as(base, NULL);
    check_folder(base, before);
    struct model *loaded = open_as(base, &kinds[0].load);
    const struct model_param *p =
        model_param(loaded, (size_t)model_param_index(loaded, MODEL_DOWN, 1));
    assert_int_equal(p->dtype, DTYPE_NF4);
    assert_true(model_size_bytes(loaded) < model_size_bytes(before));
    model_destroy(&loaded);
    model_destroy(&before);
}

static void test_load__bits_do_not_depend_on_threads_or_instructions(void **state)
{
    static const enum kernel_isa isas[] = {KERNEL_ISA_PORTABLE, KERNEL_ISA_BEST};
    const char *base = engine_data_path(0, "models/lm-6m");
    (void)state;
    if (base == NULL)
        skip();
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct model *alone = open_as(base, &kinds[i].load);
        for (unsigned threads = 1; threads <= 3; threads += 2) {
            struct model_load load = kinds[i].load;
            load.kernel = engine_data_kernel(isas[threads % COUNT_OF(isas)], threads);
            struct model *together = open_as(base, &load);
            check_same(kinds[i].folder_kind, alone, together);
            model_destroy(&together);
            kernel_destroy(&load.kernel);
        }
        model_destroy(&alone);
    }
}

/* ---- by the numbers of the weights ---- */

static float *values_of(const struct model *model, size_t param)
{
    const struct model_param *p = model_param(model, param);
    float *w = mem_alloc(p->rows * p->columns, sizeof *w);
    assert_non_null(w);
    model_values_read(model, param, 0, p->rows, w);
    return w;
}

static void round_levels(const struct model_load *load, const struct model_param *p, float *w)
{
    size_t count = p->rows * p->columns, blocks = (count + BNB_LINEAR_BLOCK - 1) / BNB_LINEAR_BLOCK;
    enum bnb_code_type type = load->weights == MODEL_LOAD_NF4 ? BNB_CODE_NF4 : BNB_CODE_FP4;
    uint8_t *codes = mem_alloc(count / 2 + 1, 1);
    float *absmax = mem_alloc(blocks, sizeof *absmax);
    assert_true(codes != NULL && absmax != NULL);
    bnb_code_encode(type, BNB_LINEAR_BLOCK, count, w, codes, absmax);
    if (load->double_quant)
        bnb_code_nested_round(blocks, absmax);
    for (size_t i = 0; i < count; i++) {
        unsigned code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15u;
        w[i] = bnb_code_levels(type)[code] * absmax[i / BNB_LINEAR_BLOCK];
    }
    mem_free(codes);
    mem_free(absmax);
}

static void round_rows(const struct model *model, const struct model_param *p, float *w)
{
    const struct grid_scheme scheme = {.bits = 8,
                                       .symmetric = true,
                                       .strategy = GRID_CHANNEL,
                                       .scale_dtype = model_load_scale_dtype(model)};
    for (size_t r = 0; r < p->rows; r++) {
        float *row = w + r * p->columns;
        struct grid_cell cell = grid_cell_find(&scheme, 1, p->columns, p->columns, row, NULL);
        for (size_t c = 0; c < p->columns; c++)
            row[c] = grid_cell_value(cell, grid_cell_code(&scheme, cell, row[c]));
    }
}

/* Layers are what the rules make of the numbers that they had; all else is as it was. */
static void check_values(const struct model *before, const struct model *after,
                         const struct model_load *load)
{
    size_t quantized = 0;
    for (size_t i = 0; i < model_param_count(before); i++) {
        const struct model_param *p = model_param(before, i), *q = model_param(after, i);
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        float *expected = values_of(before, i), *found = values_of(after, i);
        bool is_taken = quantized_maker_takes(before, p) && dtype_is_plain(p->dtype);
        if (is_taken && load->weights == MODEL_LOAD_INT8)
            round_rows(before, p, expected);
        else if (is_taken)
            round_levels(load, p, expected);
        for (size_t k = 0; k < p->rows * p->columns; k++)
            if (memcmp(&expected[k], &found[k], sizeof *found) != 0)
                fail_msg("%s: element %zu: expected %a, found %a", p->name, k, (double)expected[k],
                         (double)found[k]);
        assert_true(is_taken || p->data == q->data || p->dtype == q->dtype);
        quantized += is_taken;
        mem_free(expected);
        mem_free(found);
    }
    assert_true(quantized > 0);
}

/* Rows of odd widths, modules in one, matrices that lie turned. */
static void test_family__layers_are_quantized_by_their_numbers(void **state)
{
    struct golden_family *golden = golden_family_of_test(state);
    const char *base = golden_family_path(0, golden->name, "");
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct model *after = open_as(base, &kinds[i].load);
        if (model_family(after)->linear == LINEAR_TERNARY)
            check_same("ternary", golden->model, after);
        else
            check_values(golden->model, after, &kinds[i].load);
        model_destroy(&after);
    }
    golden_family_close(golden);
}

static void test_load__rows_of_a_gguf_file_are_those_of_the_folder(void **state)
{
    const char *file = engine_data_path(0, "models/llama-2-tiny-random.gguf");
    (void)state;
    if (file == NULL)
        skip();
    struct model *before = open_as(file, NULL);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct model *after = open_as(file, &kinds[i].load);
        check_values(before, after, &kinds[i].load);
        model_destroy(&after);
    }
    model_destroy(&before);
}

static void test_load__what_is_quantized_stays(void **state)
{
    const char *file = engine_data_path(0, "models/lm-6m/lm-6m-Q2_K.gguf");
    (void)state;
    if (file == NULL)
        skip();
    struct model *before = open_as(file, NULL), *after = open_as(file, &kinds[1].load);
    check_same("Q2_K", before, after);
    model_destroy(&before);
    model_destroy(&after);
}

/* ---- failures ---- */

static void test_load__a_weight_that_is_no_number_is_named(void **state)
{
    const char *base = engine_data_path(0, "models/TinyStories-656K");
    const float nothing = 0x1p127f * 2;
    char path[128];
    struct err_text et = {""};
    struct model *model = NULL;
    struct bytes file;
    (void)state;
    if (base == NULL)
        skip();
    struct quantized_kind kind;
    assert_true(quantized_maker_kind("NF4", &kind)); /* for the files beside the weights */
    assert_int_equal(quantized_maker_write(&kind, base, folder, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/config.json", base);
    bytes_init(&file, 64 << 20);
    assert_int_equal(file_read(path, 64 << 20, &file, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(file_write_atomic(path, bytes_span(&file), NULL), ERR_OK);
    bytes_clear(&file);

    struct model *before = open_as(base, NULL);
    size_t param = (size_t)model_param_index(before, MODEL_UP, 1);
    const struct model_param *p = model_param(before, param);
    assert_int_equal(p->dtype, DTYPE_F32);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", base);
    assert_int_equal(file_read(path, 64 << 20, &file, NULL), ERR_OK);
    uint8_t *at = file.data;
    while (memcmp(at, p->data, 4096) != 0)
        at++;
    memcpy(at + (3 * p->columns + 5) * sizeof nothing, &nothing, sizeof nothing);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(file_write_atomic(path, bytes_span(&file), NULL), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        assert_int_equal(model_open_as(folder, &kinds[i].load, &model, &et), ERR_NOT_FINITE);
        if (strstr(et.text, "layers.1.mlp.up_proj.weight: row 3, column 5") == NULL)
            fail_msg("%s", et.text);
        assert_null(model);
    }
    model_destroy(&before);
    bytes_fini(&file);
}

static void test_load__out_of_memory_is_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct model *model = NULL;
        enum err err = ERR_OUT_OF_MEMORY;
        size_t n = 1;
        for (; err != ERR_OK && n < 10000; n++) {
            (void)mem_fault_after(n);
            err = model_open_as(golden_family_path(0, "llama2", ""), &kinds[i].load, &model, NULL);
            (void)mem_fault_after(0);
            assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && model == NULL));
        }
        assert_true(err == ERR_OK && n > 4);
        model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load__a_model_is_that_of_the_quantized_folder),
        cmocka_unit_test(test_load__bits_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(test_load__rows_of_a_gguf_file_are_those_of_the_folder),
        cmocka_unit_test(test_load__what_is_quantized_stays),
        cmocka_unit_test(test_load__a_weight_that_is_no_number_is_named),
        cmocka_unit_test(test_load__out_of_memory_is_an_error),
#define LOAD_TEST(family) GOLDEN_TEST(layers_are_quantized_by_their_numbers, family),
        GOLDEN_FAMILIES(LOAD_TEST)};
    return cmocka_run_group_tests_name("engine_load", tests, name_folder, remove_folder);
}
