/* test_bnb_linear.c - our bytes held against bitsandbytes' own, and what damaged files say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/mem/mem.h"

#define GOLDEN "tests/golden/quantized/bnb.safetensors"

struct bnb_case {
    const char *name;
    struct bnb_linear linear;
};

static const struct bnb_case cases[] = {
    {"short", {BNB_CODE_NF4, false, 64, SAFETENSORS_F32, 5, 77}},
    {"odd", {BNB_CODE_FP4, false, 64, SAFETENSORS_F32, 3, 11}},
    {"fp4", {BNB_CODE_FP4, false, 32, SAFETENSORS_F32, 4, 64}},
    {"nested", {BNB_CODE_NF4, true, 32, SAFETENSORS_BF16, 33, 256}},
    {"zeros", {BNB_CODE_NF4, false, 64, SAFETENSORS_F32, 2, 64}},
};

static struct safetensors golden;
static struct arena arena;

static int open_golden(void **state)
{
    (void)state;
    arena_init(&arena, 64 << 20);
    return safetensors_open(&golden, GOLDEN, NULL) == ERR_OK ? 0 : -1;
}

static int close_golden(void **state)
{
    (void)state;
    arena_fini(&arena);
    safetensors_close(&golden);
    return 0;
}

static const struct safetensor *golden_of(const char *name, const char *what)
{
    char whole[64];
    (void)snprintf(whole, sizeof whole, "%s%s", name, what);
    return safetensors_find(&golden, text_of(whole));
}

/* The matrix of a case as f32. */
static const float *weights_of(const struct bnb_case *c)
{
    const struct safetensor *t = golden_of("w.", c->name);
    size_t count = (size_t)safetensors_element_count(t);
    float *w = arena_alloc(&arena, count, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        if (t->dtype == SAFETENSORS_BF16)
            memcpy((uint8_t *)&bits + 2, t->data.data + 2 * i, 2);
        else
            memcpy(&bits, t->data.data + 4 * i, 4);
        memcpy(&w[i], &bits, sizeof bits);
    }
    return w;
}

static void test_bnb_linear__bytes_are_those_of_bitsandbytes(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct bnb_linear_tensors made;
        assert_int_equal(bnb_linear_encode(&cases[c].linear, cases[c].name, weights_of(&cases[c]),
                                           &arena, &made),
                         ERR_OK);
        assert_int_equal(made.count, cases[c].linear.nested ? 6 : 4);
        for (size_t i = 0; i < made.count; i++) {
            const struct safetensor *t = &made.tensors[i], *g = golden_of(t->name.data, "");
            if (g == NULL || g->dtype != t->dtype || g->rank != t->rank ||
                memcmp(g->shape, t->shape, g->rank * sizeof *g->shape) != 0)
                fail_msg("tensor %s: other type or shape than the reference's", t->name.data);
            if (!span_equal(t->data, g->data))
                fail_msg("tensor %s: other bytes than the reference's: %.*s, %.*s", t->name.data,
                         t->dtype == SAFETENSORS_U8 ? (int)t->data.size : 0, t->data.data,
                         t->dtype == SAFETENSORS_U8 ? (int)g->data.size : 0, g->data.data);
        }
    }
}

static void test_bnb_linear__values_are_those_of_bitsandbytes(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const struct bnb_linear *l = &cases[c].linear;
        struct bnb_linear_view view;
        if (l->before != SAFETENSORS_F32)
            continue; /* there the reference rounds once more */
        assert_true(bnb_linear_is(&golden, cases[c].name));
        assert_int_equal(bnb_linear_find(&golden, cases[c].name, l->rows, l->columns, &view, NULL),
                         ERR_OK);
        const struct safetensor *values = golden_of(cases[c].name, ".values");
        size_t first = (size_t)((l->rows - 1) * l->columns);
        for (size_t i = 0; i < l->columns; i++) {
            float expected;
            memcpy(&expected, values->data.data + 4 * i, sizeof expected);
            float found = view.levels[bnb_linear_code(&view, first + i)] *
                          bnb_linear_absmax(&view, (first + i) / l->block_size);
            assert_memory_equal(&found, &expected, sizeof found);
        }
    }
}

static void test_bnb_linear__nested_scales_come_back(void **state)
{
    const struct bnb_case *c = &cases[3];
    struct bnb_linear_view view;
    const float *w = weights_of(c);
    (void)state;
    assert_int_equal(
        bnb_linear_find(&golden, c->name, c->linear.rows, c->linear.columns, &view, NULL), ERR_OK);
    for (size_t block = 0; block < 33 * 256 / 32; block++) {
        float most = 0, found = bnb_linear_absmax(&view, block);
        for (size_t i = 0; i < 32; i++)
            most = w[block * 32 + i] > most ? w[block * 32 + i] : MAX(most, -w[block * 32 + i]);
        assert_true(found > most - 0.05f && found < most + 0.05f);
    }
}

/* The tensors of the first case but for one, which is changed. */
static void check_damage(const char *which, void (*damage)(struct safetensor *), enum err code,
                         const char *message)
{
    struct bnb_linear_tensors made;
    struct safetensors files = {0};
    struct bnb_linear_view view;
    struct err_text et = {""};
    assert_int_equal(bnb_linear_encode(&cases[0].linear, "m", weights_of(&cases[0]), &arena, &made),
                     ERR_OK);
    for (size_t i = 0; i < made.count; i++) {
        if (strcmp(made.tensors[i].name.data, which) == 0)
            damage(&made.tensors[i]);
    }
    for (size_t i = 1; i < made.count; i++) /* as a file has them: sorted */
        for (size_t k = i;
             k > 0 && text_compare(made.tensors[k].name, made.tensors[k - 1].name) < 0; k--) {
            struct safetensor held = made.tensors[k];
            made.tensors[k] = made.tensors[k - 1];
            made.tensors[k - 1] = held;
        }
    files.tensors = made.tensors;
    files.count = made.count;
    assert_int_equal(bnb_linear_find(&files, "m", 5, 77, &view, &et), code);
    assert_string_equal(et.text, message);
}

static void rename_it(struct safetensor *t)
{
    t->name = TEXT("zzz");
}

static void shorten(struct safetensor *t)
{
    t->shape[0]--;
    t->data.size -= safetensors_dtype_size_bytes(t->dtype);
}

static void retype(struct safetensor *t)
{
    t->dtype = SAFETENSORS_F16;
}

static void spoil(struct safetensor *t)
{
    static const float numbers[7] = {1, 1, 1, (float)1e40, 1, 1, 1};
    t->data = (struct span){(const uint8_t *)numbers, sizeof numbers};
}

static void restate(struct safetensor *t)
{
    static const char text[] = "{\"quant_type\": \"nf4\", \"blocksize\": 48, \"shape\": [5, 77]}";
    t->data = (struct span){(const uint8_t *)text, sizeof text - 1};
}

static void test_bnb_linear__damage_is_named(void **state)
{
    (void)state;
    check_damage("m.weight.absmax", rename_it, ERR_NOT_FOUND,
                 "tensor m.weight.absmax: expected beside a four-bit weight, found no such tensor");
    check_damage("m.weight.absmax", shorten, ERR_SHAPE,
                 "tensor m.weight.absmax: expected 7 elements, found 6");
    check_damage("m.weight.quant_map", retype, ERR_UNSUPPORTED,
                 "tensor m.weight.quant_map: expected type F32, found F16");
    check_damage("m.weight.absmax", spoil, ERR_FORMAT,
                 "tensor m.weight.absmax: element 3: expected a finite number, found inf");
    check_damage("m.weight.quant_state.bitsandbytes__nf4", restate, ERR_FORMAT,
                 "m.weight.quant_state.bitsandbytes__nf4: blocksize: expected a power of two, "
                 "found 48");
}

static void test_bnb_linear__out_of_memory_is_an_error(void **state)
{
    struct bnb_linear_tensors made;
    const float *w = weights_of(&cases[3]);
    (void)state;
    for (size_t limit = 0; limit < 24; limit++) {
        struct arena small;
        arena_init(&small, limit * 400);
        assert_int_equal(bnb_linear_encode(&cases[3].linear, "m", w, &small, &made),
                         limit * 400 < 7000 ? ERR_OUT_OF_MEMORY : ERR_OK);
        arena_fini(&small);
    }
}

static void test_bnb_linear__config_is_what_transformers_reads(void **state)
{
    const struct text skipped[] = {TEXT("lm_head")};
    struct bytes out;
    (void)state;
    bytes_init(&out, 1 << 16);
    assert_int_equal(bnb_linear_config(&cases[3].linear, skipped, 1, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_string_equal((const char *)out.data, "{\n"
                                                "  \"bnb_4bit_compute_dtype\": \"bfloat16\",\n"
                                                "  \"bnb_4bit_quant_storage\": \"uint8\",\n"
                                                "  \"bnb_4bit_quant_type\": \"nf4\",\n"
                                                "  \"bnb_4bit_use_double_quant\": true,\n"
                                                "  \"llm_int8_skip_modules\": [\n"
                                                "    \"lm_head\"\n"
                                                "  ],\n"
                                                "  \"load_in_4bit\": true,\n"
                                                "  \"load_in_8bit\": false,\n"
                                                "  \"quant_method\": \"bitsandbytes\"\n"
                                                "}\n");
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bnb_linear__bytes_are_those_of_bitsandbytes),
        cmocka_unit_test(test_bnb_linear__values_are_those_of_bitsandbytes),
        cmocka_unit_test(test_bnb_linear__nested_scales_come_back),
        cmocka_unit_test(test_bnb_linear__damage_is_named),
        cmocka_unit_test(test_bnb_linear__out_of_memory_is_an_error),
        cmocka_unit_test(test_bnb_linear__config_is_what_transformers_reads),
    };
    return cmocka_run_group_tests_name("bnb_linear", tests, open_golden, close_golden);
}
