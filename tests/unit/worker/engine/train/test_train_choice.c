/* test_train_choice.c - patterns of ranks and alphas, and modules that train as a whole. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/train/train_adapter.h"
#include "worker/engine/train/train_layout.h"

#define LIST(...)                                                                                  \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

struct list {
    const char *const *names;
    size_t count;
};

static struct model *model_of(const char *model_type, bool tied)
{
    struct hf_config config = {.vocab_size = 12,
                               .hidden_size = 8,
                               .intermediate_size = 6,
                               .num_hidden_layers = 2,
                               .num_attention_heads = 2,
                               .num_key_value_heads = 1,
                               .head_dim = 4,
                               .max_position_embeddings = 16,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02,
                               .parallel_attn = true,
                               .tie_word_embeddings = tied};
    struct model *model = NULL;
    (void)snprintf(config.model_type, sizeof config.model_type, "%s", model_type);
    assert_int_equal(model_create_random(&config, 1, &model, NULL), ERR_OK);
    return model;
}

static struct train_config lora(struct list targets, struct list ranks, struct list alphas,
                                struct list saved)
{
    return (struct train_config){.rank = 2,
                                 .alpha = 6,
                                 .targets = targets.names,
                                 .target_count = targets.count,
                                 .rank_patterns = ranks.names,
                                 .rank_pattern_count = ranks.count,
                                 .alpha_patterns = alphas.names,
                                 .alpha_pattern_count = alphas.count,
                                 .saved = saved.names,
                                 .saved_count = saved.count};
}

static const struct train_entry *find(const struct train_layout *layout, const char *name)
{
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        if (strcmp(train_layout_entry(layout, i)->name, name) == 0)
            return train_layout_entry(layout, i);
    }
    fail_msg("there is no %s", name);
    return NULL;
}

static void test_patterns__the_first_that_fits_counts(void **state)
{
    (void)state;
    struct model *model = model_of("llama", true);
    struct train_config config =
        lora((struct list){LIST("all-linear")},
             (struct list){LIST("layers.1.self_attn.q_proj=1", "q_proj=4", "mlp.up_proj=3")},
             (struct list){LIST("q_proj=10")}, (struct list){0});
    struct train_layout *layout = NULL;
    struct train_adapter adapter;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    static const struct {
        const char *module;
        size_t rank;
        double scale;
    } wanted[] = {{"model.layers.0.self_attn.q_proj", 4, 10.0 / 4},
                  {"model.layers.1.self_attn.q_proj", 1, 10.0},
                  {"model.layers.1.mlp.up_proj", 3, 6.0 / 3},
                  {"model.layers.1.mlp.down_proj", 2, 6.0 / 2}};
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", wanted[i].module);
        const struct train_entry *a = find(layout, name);
        const struct binding_slot *slot = &train_layout_binding(layout)->slots[a->param];
        assert_int_equal(a->shape[0], wanted[i].rank);
        assert_int_equal(slot->adapter.rank, wanted[i].rank);
        assert_true(fabs((double)slot->adapter.scale - wanted[i].scale) < 1e-6);
    }
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    assert_int_equal(train_adapter_fold(&config, layout, values, NULL, &arena, &adapter), ERR_OK);
    assert_int_equal(adapter.module_count, 3);
    assert_true(text_is(adapter.modules[0].name, "model.layers.0.self_attn.q_proj"));
    assert_true(text_is(adapter.modules[1].name, "model.layers.1.self_attn.q_proj"));
    assert_true(text_is(adapter.modules[2].name, "up_proj"));
    assert_int_equal(adapter.modules[2].rank, 3);
    mem_free(values);
    arena_fini(&arena);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_saved__modules_train_as_a_whole_beside_adapters(void **state)
{
    (void)state;
    struct model *model = model_of("phi", false);
    struct train_config config =
        lora((struct list){LIST("q_proj")}, (struct list){0}, (struct list){0},
             (struct list){LIST("final_layernorm", "lm_head", "layers.1.mlp.fc1")});
    struct train_layout *layout = NULL;
    struct train_adapter adapter;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    static const char *const wanted[] = {"model.final_layernorm.weight",
                                         "model.final_layernorm.bias",
                                         "lm_head.weight",
                                         "lm_head.bias",
                                         "model.layers.1.mlp.fc1.weight",
                                         "model.layers.1.mlp.fc1.bias"};
    assert_int_equal(train_layout_entry_count(layout), 2 * 2 + COUNT_OF(wanted));
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    train_layout_values(layout, 3, values);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "base_model.model.%s", wanted[i]);
        const struct train_entry *e = find(layout, name);
        const struct model_param *p = model_param(model, e->param);
        assert_string_equal(p->name, wanted[i]);
        assert_memory_equal(values + e->offset, p->data, e->count * sizeof *values);
        assert_true(train_layout_binding(layout)->slots[e->param].weight_offset == e->offset);
    }
    assert_int_equal(train_adapter_fold(&config, layout, values, NULL, &arena, &adapter), ERR_OK);
    assert_int_equal(adapter.saved_count, 3);
    assert_true(text_is(adapter.saved[0], "final_layernorm"));
    assert_true(text_is(adapter.saved[1], "lm_head"));
    assert_true(text_is(adapter.saved[2], "model.layers.1.mlp.fc1"));
    mem_free(values);
    arena_fini(&arena);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

/* PEFT saves wherever a name ends so, dot or not: "norm" would be every norm of a Llama. */
static void test_saved__names_mean_the_same_modules_to_peft(void **state)
{
    (void)state;
    struct model *model = model_of("qwen3", true);
    struct train_config config =
        lora((struct list){LIST("q_proj")}, (struct list){0}, (struct list){0},
             (struct list){LIST("norm", "embed_tokens", "lm_head")});
    struct train_layout *layout = NULL;
    struct train_adapter adapter;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 2 * 2 + 2);
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    train_layout_values(layout, 3, values);
    assert_int_equal(train_adapter_fold(&config, layout, values, NULL, &arena, &adapter), ERR_OK);
    assert_int_equal(adapter.saved_count, 3);
    assert_true(text_is(adapter.saved[0], "embed_tokens"));
    assert_true(text_is(adapter.saved[1], "lm_head"));
    assert_true(text_is(adapter.saved[2], "model.norm"));
    assert_int_equal(adapter.entry_count, 2 * 2 + 3);
    assert_string_equal(adapter.entries[0].name, "base_model.model.lm_head.weight");
    assert_string_equal(adapter.entries[1].name, "base_model.model.model.embed_tokens.weight");
    assert_memory_equal(adapter.values + adapter.entries[0].offset,
                        adapter.values + adapter.entries[1].offset,
                        adapter.entries[0].count * sizeof *values);
    mem_free(values);
    arena_fini(&arena);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_choice__wrong_recipes_name_the_keys(void **state)
{
    (void)state;
    static const struct {
        const char *model_type;
        bool tied;
        const char *target, *rank, *alpha, *saved, *says;
    } cases[] = {
        {"llama", true, "q_proj", "q_proj", NULL, NULL, "rank_pattern: expected module=number"},
        {"llama", true, "q_proj", "q_proj=", NULL, NULL, "rank_pattern: expected module=number"},
        {"llama", true, "q_proj", "q_proj=1.5", NULL, NULL, "rank_pattern: expected a whole"},
        {"llama", true, "q_proj", "q_proj=0", NULL, NULL, "rank_pattern: expected a whole"},
        {"llama", true, "q_proj", "q_proj=9", NULL, NULL,
         "rank_pattern: 9 is more than module model.layers.0.self_attn.q_proj"},
        {"llama", true, "q_proj", "k_proj=1", NULL, NULL,
         "rank_pattern: \"k_proj\" fits none of the modules that lora_target_modules"},
        {"llama", true, "q_proj", NULL, "q_proj=nan", NULL, "alpha_pattern: expected module"},
        {"llama", true, "q_proj", NULL, "q_.*=2", NULL, "alpha_pattern: \"q_.*\" is no module's"},
        {"llama", true, "q_proj", NULL, NULL, "q_proj",
         "lora_modules_to_save: model.layers.0.self_attn.q_proj is among lora_target_modules"},
        {"llama", true, "q_proj", NULL, NULL, "lm_head",
         "(tie_word_embeddings), of which PEFT would train a copy alone; name both"},
        {"llama", true, "q_proj", NULL, NULL, "embed_tokens", "name both"},
        {"llama", true, "q_proj", NULL, NULL, "orm", "\"orm\" is no module; there are"},
        {"phi3", false, "o_proj", NULL, NULL, "k_proj",
         "is a part of model.layers.0.self_attn.qkv_proj.weight"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model *model = model_of(cases[i].model_type, cases[i].tied);
        struct train_layout *layout = NULL;
        struct err_text et = {0};
        struct train_config config = lora((struct list){&cases[i].target, 1},
                                          (struct list){&cases[i].rank, cases[i].rank != NULL},
                                          (struct list){&cases[i].alpha, cases[i].alpha != NULL},
                                          (struct list){&cases[i].saved, cases[i].saved != NULL});
        assert_int_equal(train_layout_create(model, &config, &layout, &et), ERR_RECIPE);
        assert_null(layout);
        if (strstr(et.text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].says, et.text);
        model_destroy(&model);
    }
}

/* What PEFT would compute from the exported folder is not what trained. */
static void test_choice__magnitudes_that_peft_would_not_have_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *model_type, *target, *says;
    } cases[] = {
        {"bitnet", "q_proj", "peft_use_dora: PEFT takes the norms of the master weights"},
        {"phi3", "k_proj", "is a part of model.layers.0.self_attn.qkv_proj.weight"},
        {"llama", "embed_tokens", "peft_use_dora: an embedding's adapter has no magnitude"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model *model = model_of(cases[i].model_type, true);
        struct train_config config = lora((struct list){&cases[i].target, 1}, (struct list){0},
                                          (struct list){0}, (struct list){0});
        struct train_layout *layout = NULL;
        struct err_text et = {0};
        config.dora = true;
        assert_int_equal(train_layout_create(model, &config, &layout, &et), ERR_RECIPE);
        if (strstr(et.text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].says, et.text);
        model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns__the_first_that_fits_counts),
        cmocka_unit_test(test_saved__modules_train_as_a_whole_beside_adapters),
        cmocka_unit_test(test_saved__names_mean_the_same_modules_to_peft),
        cmocka_unit_test(test_choice__wrong_recipes_name_the_keys),
        cmocka_unit_test(test_choice__magnitudes_that_peft_would_not_have_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
