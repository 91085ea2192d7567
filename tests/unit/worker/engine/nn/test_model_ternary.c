/* test_model_ternary.c - BitNet's weights from the forms that files have them in. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/mem/arena.h"
#include "common/numeric/random.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/quant/blocks.h"

enum { WIDTH = 256, TENSORS_MAX = 64 };

static char folder[] = "/tmp/qfleet-test-ternary-XXXXXX", config_path[64], weights_path[64];

/* How a file holds its linear modules. */
enum form { FORM_PACKED, FORM_NUMBERS, FORM_MASTERS };

struct file_case {
    enum form form;
    const char *linear_class, *mode;
    float scale;      /* weight_scale; 0: the tensor is left out */
    uint8_t damage;   /* or-ed into the first packed byte */
    float stray;      /* the first number where they are not packed; 0: as drawn */
    float wanted;     /* struct model_param's scale; 0: of each matrix its own */
    const char *says; /* NULL: opens */
    enum err err;
};

static int code_of(const char *name, size_t at)
{
    return (int)random_below(random_key(1, RANDOM_TEST, random_name(text_of(name)), at, 0), 1, 3) -
           1;
}

static struct hf_config small_config(void)
{
    return (struct hf_config){.model_type = "bitnet",
                              .hidden_act = "relu2",
                              .vocab_size = 8,
                              .hidden_size = WIDTH,
                              .intermediate_size = WIDTH,
                              .num_hidden_layers = 1,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 64,
                              .max_position_embeddings = 16,
                              .norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .partial_rotary_factor = 1,
                              .initializer_range = 0.02,
                              .tie_word_embeddings = true};
}

static void write_config(const struct file_case *c)
{
    char text[1024];
    int size = snprintf(
        text, sizeof text,
        "{\"model_type\":\"bitnet\",\"hidden_act\":\"relu2\",\"vocab_size\":8,\"hidden_size\":%d,"
        "\"intermediate_size\":%d,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
        "\"num_key_value_heads\":2,\"max_position_embeddings\":16,\"rms_norm_eps\":1e-5,"
        "\"tie_word_embeddings\":true,\"quantization_config\":{\"quant_method\":\"bitnet\","
        "\"linear_class\":\"%s\",\"quantization_mode\":\"%s\"}}",
        WIDTH, WIDTH, c->linear_class, c->mode);
    assert_true(size > 0 && (size_t)size < sizeof text);
    assert_int_equal(
        file_write_atomic(config_path, (struct span){(const uint8_t *)text, (size_t)size}, NULL),
        ERR_OK);
}

static struct span linear_data(const struct file_case *c, const struct model_param *p,
                               struct arena *arena)
{
    size_t count = p->rows * p->columns, block = p->rows / 4 * p->columns;
    if (c->form == FORM_PACKED) {
        uint8_t *bytes = arena_alloc(arena, block, 1);
        assert_non_null(bytes);
        for (size_t i = 0; i < count; i++)
            bytes[i % block] |= (uint8_t)((code_of(p->name, i) + 1) << 2 * (i / block));
        bytes[0] |= c->damage;
        return (struct span){bytes, block};
    }
    float *numbers = arena_alloc(arena, count, sizeof *numbers);
    assert_non_null(numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = i == 0 && c->stray != 0 ? c->stray : (float)code_of(p->name, i);
    return (struct span){(const uint8_t *)numbers, count * sizeof *numbers};
}

static void write_weights(const struct file_case *c)
{
    struct hf_config config = small_config();
    struct model *model = NULL;
    struct safetensor tensors[TENSORS_MAX];
    struct arena arena;
    size_t count = 0;
    arena_init(&arena, 1 << 24);
    assert_int_equal(model_create_random(&config, 1, &model, NULL), ERR_OK);
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        bool linear = p->kind == MODEL_KIND_LINEAR, packed = linear && c->form == FORM_PACKED;
        struct safetensor *t = &tensors[count++];
        *t = (struct safetensor){
            .name = text_of(p->name),
            .dtype = packed ? SAFETENSORS_U8 : SAFETENSORS_F32,
            .rank = p->columns == 1 ? 1 : 2,
            .shape = {packed ? p->rows / 4 : p->rows, p->columns},
            .data = {(const uint8_t *)p->data, p->rows * p->columns * sizeof(float)}};
        if (!linear)
            continue;
        t->data = linear_data(c, p, &arena);
        float *scale = arena_alloc(&arena, 1, sizeof *scale);
        *scale = c->scale;
        if (c->scale != 0)
            tensors[count++] =
                (struct safetensor){.name = text_of(arena_print(&arena, "%s_scale", p->name)),
                                    .dtype = SAFETENSORS_F32,
                                    .rank = 1,
                                    .shape = {1},
                                    .data = {(const uint8_t *)scale, sizeof *scale}};
    }
    const struct safetensors_content content = {tensors, count, NULL, 0};
    assert_int_equal(safetensors_write_file(&content, weights_path, NULL), ERR_OK);
    model_destroy(&model);
    arena_fini(&arena);
}

static void check_values(const struct model *model, float wanted)
{
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->kind != MODEL_KIND_LINEAR)
            continue;
        float row[WIDTH];
        assert_int_equal(p->dtype, DTYPE_TQ2_0);
        assert_true(p->rounds_input);
        /* In the blocks where f16 holds it, which it does not hold the mean of masters. */
        if (wanted > 0 ? !(p->scale == 1) : !(p->scale > 0.6f && p->scale < 0.75f))
            fail_msg("%s: scale %g, expected %g", p->name, (double)p->scale, (double)wanted);
        assert_true((p->masters != NULL) == (wanted == 0));
        for (size_t r = 0; r < p->rows; r++) {
            const uint8_t *data = p->data;
            block_decode(p->dtype, WIDTH, data + dtype_span_bytes(p->dtype, r * WIDTH), row);
            for (size_t j = 0; j < WIDTH; j++)
                assert_true(row[j] ==
                            (float)code_of(p->name, r * WIDTH + j) * (wanted > 0 ? wanted : 1));
        }
    }
}

static void check_case(const struct file_case *c)
{
    struct model *model = NULL;
    struct err_text et = {0};
    write_config(c);
    write_weights(c);
    enum err err = model_open(folder, &model, &et);
    if (err != c->err)
        fail_msg("%s: %s", c->says == NULL ? "opens" : c->says, et.text);
    if (c->says != NULL && strstr(et.text, c->says) == NULL)
        fail_msg("%s: %s", c->says, et.text);
    if (err == ERR_OK)
        check_values(model, c->wanted);
    model_destroy(&model);
}

static void test_model_ternary__every_form_is_the_same_numbers(void **state)
{
    (void)state;
    static const struct file_case cases[] = {
        {FORM_PACKED, "bitlinear", "offline", 4, 0, 0, 0.25f, NULL, ERR_OK},
        {FORM_PACKED, "autobitlinear", "offline", 4, 0, 0, 4, NULL, ERR_OK},
        {FORM_NUMBERS, "autobitlinear", "offline", 0.5f, 0, 0, 0.5f, NULL, ERR_OK},
        {FORM_MASTERS, "autobitlinear", "online", 0, 0, 0, 0, NULL, ERR_OK},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static void test_model_ternary__wrong_files_are_named(void **state)
{
    (void)state;
    static const struct file_case cases[] = {
        {FORM_PACKED, "bitlinear", "offline", 0, 0, 0, 0, "expected its weight_scale",
         ERR_NOT_FOUND},
        {FORM_PACKED, "bitlinear", "offline", 2, 3, 0, 0, "row 0: a packed number is not ternary",
         ERR_FORMAT},
        {FORM_PACKED, "other", "offline", 2, 0, 0, 0, "linear_class \"other\"", ERR_UNSUPPORTED},
        {FORM_NUMBERS, "autobitlinear", "offline", 2, 0, 0.75f, 0, "row 0: a number is not ternary",
         ERR_FORMAT},
        {FORM_NUMBERS, "autobitlinear", "offline", 2, 0, NAN, 0, "row 0: a number is not ternary",
         ERR_FORMAT},
        {FORM_MASTERS, "autobitlinear", "online", 0, 0, NAN, 0, "a weight is not finite",
         ERR_FORMAT},
        {FORM_MASTERS, "autobitlinear", "online", 0, 0, -INFINITY, 0, "a weight is not finite",
         ERR_FORMAT},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(config_path, sizeof config_path, "%s/config.json", folder);
    (void)snprintf(weights_path, sizeof weights_path, "%s/model.safetensors", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(config_path);
    (void)unlink(weights_path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_ternary__every_form_is_the_same_numbers),
        cmocka_unit_test(test_model_ternary__wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
