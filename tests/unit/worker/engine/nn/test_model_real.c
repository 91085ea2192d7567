/* test_model_real.c - the configs of published models, without their weights: what is read of them,
 * and that the list of parameters has as many elements as the model's authors count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model.h"

struct published {
    const char *name;
    size_t elements; /* as transformers counts them, a tied head once */
    size_t layers, heads, kv_heads, head_width, rotary_width, window, positions;
    float embedding_scale;
};

static const struct published published[] = {
    {"Llama-2-7b-hf", 6738415616, 32, 32, 32, 128, 128, 0, 4096, 1},
    {"mistral-7b", 7241732096, 32, 32, 8, 128, 128, 4096, 32768, 1},
    {"zephyr-7b-beta", 7241732096, 32, 32, 8, 128, 128, 4096, 32768, 1},
    {"gemma-2b", 2506172416, 18, 8, 1, 256, 256, 0, 8192, 45.254834f},
    {"phi-2", 2779683840, 32, 32, 32, 80, 32, 0, 2048, 1},
    {"Phi-3.5-mini-instruct", 3821079552, 32, 32, 32, 96, 96, 262144, 131072, 1},
    {"falcon-7b", 6921720704, 32, 71, 1, 64, 64, 0, 2048, 1},
    {"bitnet-b1.58-2B-4T", 2412820480, 30, 20, 5, 128, 128, 0, 4096, 1},
};

/* The model without weights. */
static struct model *describe(const char *name)
{
    char path[512];
    struct err_text et = {0};
    struct model *model = NULL;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    const char *root = getenv("QFLEET_DATA");
    assert_non_null(config);
    (void)snprintf(path, sizeof path, "%s/configs/%s/config.json",
                   root != NULL ? root : "../shared/data", name);
    enum err err = hf_config_open(config, path, &et);
    if (err == ERR_NOT_FOUND) {
        mem_free(config);
        print_message("skipped: no %s (set QFLEET_DATA)\n", path);
        skip();
    }
    if (err != ERR_OK || model_create_outline(config, &model, &et) != ERR_OK)
        fail_msg("%s: %s", name, et.text);
    mem_free(config);
    return model;
}

static void test_model__published_models_have_their_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(published); i++) {
        const struct published *p = &published[i];
        struct model *model = describe(p->name);
        const struct model_shape *s = model_shape(model);
        if (model_element_count(model) != p->elements)
            fail_msg("%s: %zu elements, expected %zu", p->name, model_element_count(model),
                     p->elements);
        assert_int_equal(s->layers, p->layers);
        assert_int_equal(s->heads, p->heads);
        assert_int_equal(s->kv_heads, p->kv_heads);
        assert_int_equal(s->head_width, p->head_width);
        assert_int_equal(s->rotary_width, p->rotary_width);
        assert_int_equal(s->window, p->window);
        assert_int_equal(s->positions, p->positions);
        assert_float_equal(s->embedding_scale, p->embedding_scale, 1e-5f);
        model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__published_models_have_their_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
