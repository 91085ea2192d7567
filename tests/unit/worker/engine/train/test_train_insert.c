/* test_train_insert.c - entries, bindings and first values of bottlenecks and prompts. */
#include "worker/engine/train/train_insert.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"

enum { WIDTH = 32, VOCABULARY = 9, LAYERS = 2, POSITIONS = 16 };

static struct model *small_model(const char *model_type)
{
    struct hf_config config = {.vocab_size = VOCABULARY,
                               .hidden_size = WIDTH,
                               .intermediate_size = 6,
                               .num_hidden_layers = LAYERS,
                               .num_attention_heads = 2,
                               .num_key_value_heads = 1,
                               .head_dim = 16,
                               .max_position_embeddings = POSITIONS,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02};
    struct model *model = NULL;
    (void)snprintf(config.model_type, sizeof config.model_type, "%s", model_type);
    assert_int_equal(model_create_random(&config, 1, &model, NULL), ERR_OK);
    return model;
}

static const struct train_config houlsby = {
    .method = TRAIN_METHOD_HOULSBY, .reduction = 16, .act = KERNEL_ACT_SILU, .scaling = 1};

static void test_train_insert__bottlenecks_are_named_after_their_layer(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "transformer.h.0.attention_adapter.down.bias",
        "transformer.h.0.attention_adapter.down.weight",
        "transformer.h.0.attention_adapter.up.bias",
        "transformer.h.0.attention_adapter.up.weight",
        "transformer.h.0.mlp_adapter.down.bias",
    };
    struct model *model = small_model("gpt2");
    struct train_layout *layout = NULL;
    assert_int_equal(train_layout_create(model, &houlsby, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), LAYERS * 2 * 4);
    size_t offset = 0;
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        const struct train_entry *e = train_layout_entry(layout, i);
        assert_int_equal(e->offset, offset);
        offset += e->count;
        if (i < COUNT_OF(wanted))
            assert_string_equal(e->name, wanted[i]);
    }
    assert_int_equal(offset, train_layout_count(layout));
    const struct train_entry *down = train_layout_entry(layout, 1);
    assert_int_equal(down->shape[0], WIDTH / 16);
    assert_int_equal(down->shape[1], WIDTH);
    const struct binding *binding = train_layout_binding(layout);
    const struct binding_bottleneck *b = binding_bottleneck(binding, 0, BINDING_AFTER_ATTENTION);
    assert_non_null(b);
    assert_int_equal(b->width, 2);
    assert_int_equal(b->down_offset, down->offset);
    assert_non_null(binding_bottleneck(binding, 1, BINDING_AFTER_MLP));
    assert_null(binding_bottleneck(binding, 0, BINDING_BESIDE_MLP));
    assert_null(binding_bottleneck(binding, 0, BINDING_AFTER_LAYER));
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_insert__bottlenecks_start_as_nothing(void **state)
{
    (void)state;
    static const enum train_method methods[] = {TRAIN_METHOD_HOULSBY, TRAIN_METHOD_PFEIFFER,
                                                TRAIN_METHOD_PARALLEL};
    struct model *model = small_model("llama");
    for (size_t m = 0; m < COUNT_OF(methods); m++) {
        struct train_config config = houlsby;
        struct train_layout *layout = NULL;
        config.method = methods[m];
        config.reduction = 2;
        assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
        float *values = mem_alloc(train_layout_count(layout), sizeof *values);
        train_layout_values(layout, 7, values);
        for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
            const struct train_entry *e = train_layout_entry(layout, i);
            double square = 0;
            for (size_t v = e->offset; v < e->offset + e->count; v++)
                square += (double)values[v] * (double)values[v];
            double deviation = sqrt(square / (double)e->count);
            double usual = config.method == TRAIN_METHOD_PARALLEL ? 1 / sqrt(3.0 * WIDTH) : 0.02;
            if (e->part == TRAIN_PART_DOWN)
                assert_true(fabs(deviation - usual) < 0.15 * usual);
            else
                assert_true(deviation == 0);
        }
        mem_free(values);
        train_layout_destroy(&layout);
    }
    model_destroy(&model);
}

/* Of a gemma, whose embeddings are scaled before the first layer sees them. */
static void test_train_insert__prompts_start_as_what_tokens_are_to_the_first_layer(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_PROMPT, .prompt_count = 5};
    static const uint32_t ids[] = {4, 7};
    struct model *model = small_model("gemma");
    struct train_layout *layout = NULL;
    const float *table = model_param(model, 0)->data;
    float scale = model_shape(model)->embedding_scale;
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 1);
    assert_string_equal(train_layout_entry(layout, 0)->name, "prompt_embeddings");
    assert_int_equal(train_layout_binding(layout)->prompt_count, 5);
    assert_true(scale > 5);
    float values[5 * WIDTH];
    train_layout_values(layout, 7, values);
    for (size_t p = 0; p < 5; p++) {
        size_t matches = 0;
        for (size_t id = 0; id < VOCABULARY; id++)
            matches += values[p * WIDTH] == table[id * WIDTH] * scale ? 1 : 0;
        assert_int_equal(matches, 1);
    }
    train_insert_tokens(model, ids, COUNT_OF(ids), 5, values);
    for (size_t i = 0; i < 5 * WIDTH; i++)
        assert_true(values[i] == table[ids[i / WIDTH % 2] * WIDTH + i % WIDTH] * scale);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_insert__settings_out_of_range_are_named(void **state)
{
    (void)state;
    const struct {
        struct train_config config;
        const char *says;
    } cases[] = {
        {{.method = TRAIN_METHOD_PROMPT}, "num_virtual_tokens"},
        {{.method = TRAIN_METHOD_PROMPT, .prompt_count = POSITIONS}, "num_virtual_tokens"},
        {{.method = TRAIN_METHOD_HOULSBY, .scaling = 1}, "adapter_reduction_factor"},
        {{.method = TRAIN_METHOD_HOULSBY, .reduction = 33, .scaling = 1},
         "adapter_reduction_factor"},
        {{.method = TRAIN_METHOD_PARALLEL, .reduction = 2, .scaling = (double)INFINITY},
         "adapter_scaling"},
    };
    struct model *model = small_model("llama");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err_text et = {0};
        struct train_layout *layout = NULL;
        assert_int_equal(train_layout_create(model, &cases[i].config, &layout, &et), ERR_RECIPE);
        assert_non_null(strstr(et.text, cases[i].says));
    }
    model_destroy(&model);
}

static void test_train_insert__survives_every_failed_allocation(void **state)
{
    (void)state;
    struct model *model = small_model("llama");
    struct train_layout *layout = NULL;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        (void)mem_fault_after(n);
        err = train_layout_create(model, &houlsby, &layout, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && layout == NULL));
    }
    train_layout_destroy(&layout);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_insert__bottlenecks_are_named_after_their_layer),
        cmocka_unit_test(test_train_insert__bottlenecks_start_as_nothing),
        cmocka_unit_test(test_train_insert__prompts_start_as_what_tokens_are_to_the_first_layer),
        cmocka_unit_test(test_train_insert__settings_out_of_range_are_named),
        cmocka_unit_test(test_train_insert__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
