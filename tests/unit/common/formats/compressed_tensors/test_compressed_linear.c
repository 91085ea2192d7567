/* test_compressed_linear.c - packed words held against compressed-tensors', tensors of a layer made
 * and found again, what damaged files say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/compressed_tensors/packed_int.h"
#include "common/mem/mem.h"

#define GOLDEN "tests/golden/quantized/packed.safetensors"

enum { ROWS = 6, COLUMNS = 64, GROUP = 32, CELLS_MAX = ROWS * COLUMNS / GROUP };

static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_init(&arena, 16 << 20);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct safetensor *golden_of(const struct safetensors *st, unsigned bits,
                                          const char *what)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%u.%s", bits, what);
    return safetensors_find(st, text_of(name));
}

static void test_packed_int__words_are_those_of_compressed_tensors(void **state)
{
    struct safetensors st;
    (void)state;
    assert_int_equal(safetensors_open(&st, GOLDEN, NULL), ERR_OK);
    for (unsigned bits = 2; bits <= 8; bits++) {
        const struct safetensor *codes = golden_of(&st, bits, "codes");
        const struct safetensor *words = golden_of(&st, bits, "words");
        size_t rows = (size_t)codes->shape[0], columns = (size_t)codes->shape[1];
        size_t width = packed_int_words(bits, columns);
        assert_int_equal(words->shape[1], width);
        for (size_t row = 0; row < rows; row++) {
            uint8_t made[4 * 64];
            int8_t back[64];
            const int8_t *from = (const int8_t *)codes->data.data + row * columns;
            packed_int_encode(bits, columns, from, 1, made);
            assert_memory_equal(made, words->data.data + row * width * 4, width * 4);
            packed_int_decode(bits, columns, made, 1, back);
            assert_memory_equal(back, from, columns);
        }
    }
    safetensors_close(&st);
}

/* A matrix of codes, scales and zero points in the range of the scheme. */
struct example {
    struct compressed_linear linear;
    int8_t codes[ROWS * COLUMNS], zeros[CELLS_MAX];
    float scales[CELLS_MAX];
    struct compressed_linear_values values;
};

static void draw(struct example *e, const struct quant_scheme *scheme)
{
    unsigned count = 1u << scheme->bits;
    e->linear = (struct compressed_linear){*scheme, ROWS, COLUMNS, SAFETENSORS_BF16};
    for (unsigned i = 0; i < COUNT_OF(e->codes); i++)
        e->codes[i] = (int8_t)((int)(i * 2654435761u >> 9 & (count - 1)) - (int)(count / 2));
    for (unsigned i = 0; i < CELLS_MAX; i++) {
        e->scales[i] = (float)(i + 1) / 64;
        e->zeros[i] = (int8_t)((int)(i * 40503u >> 3 & (count - 1)) - (int)(count / 2));
    }
    e->values = (struct compressed_linear_values){e->codes, e->scales, e->zeros, 0.125f};
}

/* The tensors as an open file has them: sorted. */
static struct safetensors file_of(struct compressed_linear_tensors *list)
{
    for (size_t i = 1; i < list->count; i++)
        for (size_t k = i;
             k > 0 && text_compare(list->tensors[k].name, list->tensors[k - 1].name) < 0; k--) {
            struct safetensor held = list->tensors[k];
            list->tensors[k] = list->tensors[k - 1];
            list->tensors[k - 1] = held;
        }
    return (struct safetensors){.tensors = list->tensors, .count = list->count};
}

static void check_back(const struct quant_scheme *scheme)
{
    static struct example e;
    struct compressed_linear_tensors list;
    struct compressed_linear_view view;
    uint64_t down, across;
    draw(&e, scheme);
    assert_int_equal(compressed_linear_encode(&e.linear, "m", &e.values, &arena, &list, NULL),
                     ERR_OK);
    struct safetensors file = file_of(&list);
    assert_true(compressed_linear_is(&file, "m"));
    assert_int_equal(compressed_linear_find(&file, "m", scheme, ROWS, COLUMNS, &view, NULL),
                     ERR_OK);
    assert_true(quant_scheme_cells(scheme, ROWS, COLUMNS, &down, &across));
    for (size_t row = 0; row < ROWS; row++) {
        int8_t codes[COLUMNS], zeros[CELLS_MAX];
        float scales[CELLS_MAX];
        size_t line = row / (ROWS / (size_t)down) * (size_t)across;
        compressed_linear_codes(&view, row, codes);
        compressed_linear_cells(&view, row, scales, zeros);
        assert_memory_equal(codes, e.codes + row * COLUMNS, COLUMNS);
        assert_memory_equal(scales, e.scales + line, (size_t)across * sizeof(float));
        for (size_t i = 0; i < across; i++)
            assert_int_equal(zeros[i], scheme->symmetric ? 0 : e.zeros[line + i]);
    }
    if (scheme->input == QUANT_SCHEME_INPUT_STATIC)
        assert_memory_equal(&view.input_scale, &e.values.input_scale, sizeof(float));
}

static void test_compressed_linear__every_scheme_comes_back(void **state)
{
    (void)state;
    for (unsigned bits = 2; bits <= 8; bits++)
        for (unsigned strategy = 0; strategy < 4; strategy++)
            for (unsigned options = 0; options < 8; options++) {
                const struct quant_scheme scheme = {
                    .bits = bits,
                    .symmetric = (options & 1) != 0,
                    .strategy = (enum quant_scheme_strategy)strategy,
                    .group_size = strategy >= QUANT_SCHEME_GROUP ? GROUP : 0,
                    .block_rows = strategy == QUANT_SCHEME_BLOCK ? 3 : 0,
                    .layout = (options & 2) != 0 ? QUANT_SCHEME_PACKED : QUANT_SCHEME_INT,
                    .input =
                        (options & 4) != 0 ? QUANT_SCHEME_INPUT_STATIC : QUANT_SCHEME_INPUT_PLAIN};
                check_back(&scheme);
            }
}

static void test_compressed_linear__packed_zero_points_are_those_of_compressed_tensors(void **state)
{
    enum { LINES = 37, WIDTH = 2 };
    struct safetensors st;
    (void)state;
    assert_int_equal(safetensors_open(&st, GOLDEN, NULL), ERR_OK);
    for (unsigned bits = 2; bits <= 8; bits++) {
        struct compressed_linear linear = {
            .rows = LINES, .columns = 16, .scale_dtype = SAFETENSORS_F32};
        int8_t codes[LINES * 16] = {0};
        float scales[LINES * WIDTH];
        struct compressed_linear_tensors list;
        const struct safetensor *zeros = golden_of(&st, bits, "zeros");
        for (size_t i = 0; i < COUNT_OF(scales); i++)
            scales[i] = 1;
        linear.scheme = (struct quant_scheme){.bits = bits,
                                              .strategy = QUANT_SCHEME_GROUP,
                                              .group_size = 8,
                                              .layout = QUANT_SCHEME_PACKED};
        const struct compressed_linear_values values = {codes, scales,
                                                        (const int8_t *)zeros->data.data, 0};
        assert_int_equal(compressed_linear_encode(&linear, "m", &values, &arena, &list, NULL),
                         ERR_OK);
        struct safetensors file = file_of(&list);
        const struct safetensor *made = safetensors_find(&file, TEXT("m.weight_zero_point"));
        assert_true(span_equal(made->data, golden_of(&st, bits, "zero_words")->data));
    }
    safetensors_close(&st);
}

static void test_compressed_linear__presets_have_the_tensors_that_readers_expect(void **state)
{
    struct compressed_linear linear = {
        .rows = 256, .columns = 512, .scale_dtype = SAFETENSORS_BF16};
    struct compressed_linear_tensors list;
    (void)state;
    assert_true(quant_scheme_named(TEXT("w4a16_asym"), &linear.scheme));
    assert_int_equal(compressed_linear_list(&linear, "l.q", &arena, &list, NULL), ERR_OK);
    static const struct {
        const char *name;
        enum safetensors_dtype dtype;
        uint64_t shape[2];
    } expected[] = {{"l.q.weight_packed", SAFETENSORS_I32, {256, 64}},
                    {"l.q.weight_scale", SAFETENSORS_BF16, {256, 4}},
                    {"l.q.weight_zero_point", SAFETENSORS_I32, {32, 4}},
                    {"l.q.weight_shape", SAFETENSORS_I64, {2, 0}}};
    assert_int_equal(list.count, COUNT_OF(expected));
    for (size_t i = 0; i < list.count; i++) {
        assert_string_equal(list.tensors[i].name.data, expected[i].name);
        assert_int_equal(list.tensors[i].dtype, expected[i].dtype);
        assert_memory_equal(list.tensors[i].shape, expected[i].shape, sizeof expected[i].shape);
    }
    assert_true(quant_scheme_named(TEXT("INT8"), &linear.scheme));
    assert_int_equal(compressed_linear_list(&linear, "l.q", &arena, &list, NULL), ERR_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.tensors[0].name.data, "l.q.weight");
    assert_int_equal(list.tensors[0].dtype, SAFETENSORS_I8);
    assert_false(quant_scheme_named(TEXT("W4A17"), &linear.scheme));
}

/* ---- damage ---- */

static void shorten(struct safetensor *t)
{
    t->shape[0]--;
}

static void retype(struct safetensor *t)
{
    t->dtype = SAFETENSORS_U8;
}

static void rename_it(struct safetensor *t)
{
    t->name = TEXT("zzz");
}

static void blank(struct safetensor *t)
{
    static const uint8_t zeros[64] = {0};
    t->data.data = zeros;
}

static void order(struct safetensor *t)
{
    t->name = TEXT("m.weight_g_idx");
}

static void test_compressed_linear__damage_is_named(void **state)
{
    static const struct {
        const char *which;
        void (*damage)(struct safetensor *);
        enum err code;
        const char *message;
    } rows[] = {
        {"m.weight_scale", rename_it, ERR_NOT_FOUND,
         "tensor m.weight_scale: expected by quantization_config, found no such tensor"},
        {"m.weight_packed", shorten, ERR_SHAPE,
         "tensor m.weight_packed: expected rank 2, 6 x 8 by quantization_config, found rank 2, 5 x "
         "8"},
        {"m.weight_scale", retype, ERR_UNSUPPORTED,
         "tensor m.weight_scale: expected type F32, F16 or BF16, found U8"},
        {"m.weight_scale", blank, ERR_FORMAT,
         "tensor m.weight_scale: element 0: expected a finite scale above 0, found 0"},
        {"m.weight_shape", blank, ERR_SHAPE,
         "tensor m.weight_shape: expected 6 x 64 by config.json, found 0 x 0"},
        {"m.input_scale", blank, ERR_FORMAT,
         "tensor m.input_scale: element 0: expected a finite scale above 0, found 0"},
        {"m.weight_shape", order, ERR_UNSUPPORTED,
         "tensor m.weight_g_idx: groups of reordered columns (actorder: group) are not supported"},
        {"m.weight_zero_point", rename_it, ERR_NOT_FOUND,
         "tensor m.weight_zero_point: expected by quantization_config, found no such tensor"},
    };
    static struct example e;
    const struct quant_scheme scheme = {.bits = 4,
                                        .strategy = QUANT_SCHEME_GROUP,
                                        .group_size = GROUP,
                                        .layout = QUANT_SCHEME_PACKED,
                                        .input = QUANT_SCHEME_INPUT_STATIC};
    (void)state;
    draw(&e, &scheme);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct compressed_linear_tensors list;
        struct compressed_linear_view view;
        struct err_text et = {""};
        assert_int_equal(compressed_linear_encode(&e.linear, "m", &e.values, &arena, &list, NULL),
                         ERR_OK);
        for (size_t t = 0; t < list.count; t++)
            if (strcmp(list.tensors[t].name.data, rows[i].which) == 0)
                rows[i].damage(&list.tensors[t]);
        struct safetensors file = file_of(&list);
        assert_int_equal(compressed_linear_find(&file, "m", &scheme, ROWS, COLUMNS, &view, &et),
                         rows[i].code);
        assert_string_equal(et.text, rows[i].message);
    }
}

static void test_compressed_linear__shapes_and_types_that_have_no_file_are_refused(void **state)
{
    struct compressed_linear linear = {.rows = 4, .columns = 100, .scale_dtype = SAFETENSORS_F32};
    struct compressed_linear_tensors list;
    struct err_text et = {""};
    (void)state;
    assert_true(quant_scheme_named(TEXT("W4A16"), &linear.scheme));
    assert_int_equal(compressed_linear_list(&linear, "m", &arena, &list, &et), ERR_SHAPE);
    assert_string_equal(et.text,
                        "m: a matrix of 4 x 100 is not whole groups of 128 columns; give a "
                        "group_size that divides them, or ignore the layer");
    linear.scale_dtype = SAFETENSORS_F64;
    assert_int_equal(compressed_linear_list(&linear, "m", &arena, &list, &et), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_int__words_are_those_of_compressed_tensors),
        cmocka_unit_test(test_compressed_linear__every_scheme_comes_back),
        cmocka_unit_test(
            test_compressed_linear__packed_zero_points_are_those_of_compressed_tensors),
        cmocka_unit_test(test_compressed_linear__presets_have_the_tensors_that_readers_expect),
        cmocka_unit_test(test_compressed_linear__damage_is_named),
        cmocka_unit_test(test_compressed_linear__shapes_and_types_that_have_no_file_are_refused),
    };
    return cmocka_run_group_tests_name("compressed_linear", tests, open_arena, close_arena);
}
