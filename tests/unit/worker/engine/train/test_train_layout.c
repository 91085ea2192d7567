/* test_train_layout.c - names, order and first values of what trains. */
#include "worker/engine/train/train_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"

static struct model *family_model(const char *model_type)
{
    struct hf_config config = {.vocab_size = 8,
                               .hidden_size = 4,
                               .intermediate_size = 6,
                               .num_hidden_layers = 11,
                               .num_attention_heads = 2,
                               .num_key_value_heads = 1,
                               .head_dim = 2,
                               .max_position_embeddings = 16,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.02,
                               .parallel_attn = true};
    struct model *model = NULL;
    (void)snprintf(config.model_type, sizeof config.model_type, "%s", model_type);
    assert_int_equal(model_create_random(&config, 1, &model, NULL), ERR_OK);
    return model;
}

static struct model *small_model(void)
{
    return family_model("llama");
}

static struct train_config lora_on(const char *const *targets, size_t count)
{
    return (struct train_config){.method = TRAIN_METHOD_LORA,
                                 .rank = 2,
                                 .alpha = 4,
                                 .targets = targets,
                                 .target_count = count};
}

/* How many modules with an adapter have names that end so. */
static size_t count_adapted(const struct train_layout *layout, const char *ending)
{
    size_t count = 0, found = 0, size = strlen(ending);
    const struct train_module *modules = train_layout_modules(layout, &count);
    for (size_t i = 0; i < count; i++) {
        struct text name = modules[i].name;
        found += modules[i].adapted && name.size > size && name.data[name.size - size - 1] == '.' &&
                 memcmp(name.data + name.size - size, ending, size) == 0;
    }
    return found;
}

static void test_train_layout__entries_are_sorted_and_without_gaps(void **state)
{
    (void)state;
    static const char *const targets[] = {"v_proj", "q_proj"};
    struct train_config config = lora_on(targets, 2);
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 11 * 2 * 2);
    size_t offset = 0;
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        assert_true(entry->offset == offset);
        assert_true(entry->count == entry->shape[0] * entry->shape[1]);
        offset += entry->count;
        if (i > 0)
            assert_true(strcmp(train_layout_entry(layout, i - 1)->name, entry->name) < 0);
    }
    assert_true(offset == train_layout_count(layout));
    assert_string_equal(train_layout_entry(layout, 0)->name,
                        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_string_equal(train_layout_entry(layout, 8)->name,
                        "base_model.model.model.layers.10.self_attn.q_proj.lora_A.weight");
    assert_int_equal(count_adapted(layout, "q_proj"), 11);
    assert_int_equal(count_adapted(layout, "v_proj"), 11);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_layout__all_linear_leaves_the_head_out(void **state)
{
    (void)state;
    static const char *const targets[] = {"all-linear"};
    struct train_config config = lora_on(targets, 1);
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 11 * 7 * 2);
    for (size_t i = 0; i < train_layout_entry_count(layout); i++)
        assert_null(strstr(train_layout_entry(layout, i)->name, "lm_head"));
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_layout__a_suffix_matches_whole_parts_of_a_name(void **state)
{
    (void)state;
    static const char *const targets[] = {"layers.1.mlp.up_proj"};
    struct train_config config = lora_on(targets, 1);
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 2);
    train_layout_destroy(&layout);
    static const char *const half[] = {"proj"};
    config = lora_on(half, 1);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_RECIPE);
    model_destroy(&model);
}

static void test_train_layout__no_target_means_the_familys_usual_ones(void **state)
{
    (void)state;
    static const struct {
        const char *model_type, *first, *last;
        size_t count;
    } cases[] = {{"llama", "q_proj", "v_proj", 2},
                 {"phi", "fc1", "v_proj", 4},
                 {"falcon", "query_key_value", "query_key_value", 1},
                 {"gpt2", "c_attn", "c_attn", 1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct train_config config = lora_on(NULL, 0);
        struct model *model = family_model(cases[i].model_type);
        struct train_layout *layout = NULL;
        assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
        assert_int_equal(train_layout_entry_count(layout), cases[i].count * 11 * 2);
        assert_int_equal(count_adapted(layout, cases[i].first), 11);
        assert_int_equal(count_adapted(layout, cases[i].last), 11);
        train_layout_destroy(&layout);
        model_destroy(&model);
    }
    struct train_config config = lora_on(NULL, 0);
    struct model *model = family_model("phi3");
    struct train_layout *layout = NULL;
    struct err_text et = {0};
    assert_int_equal(train_layout_create(model, &config, &layout, &et), ERR_RECIPE);
    assert_non_null(strstr(et.text, "no usual choice for model_type phi3; name some of qkv_proj"));
    model_destroy(&model);
}

static void test_train_layout__parts_are_adapted_by_name_alone(void **state)
{
    (void)state;
    static const char *const all[] = {"all-linear"}, *const part[] = {"k_proj"};
    struct model *model = family_model("phi3");
    struct train_layout *layout = NULL;
    struct train_config config = lora_on(all, 1);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_entry_count(layout), 11 * 4 * 2);
    assert_int_equal(count_adapted(layout, "qkv_proj"), 11);
    train_layout_destroy(&layout);
    config = lora_on(part, 1);
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(count_adapted(layout, "k_proj"), 11);
    train_layout_destroy(&layout);
    config = (struct train_config){.method = TRAIN_METHOD_FULL};
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_true(train_layout_count(layout) == model_element_count(model));
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_layout__first_values_make_the_adapter_do_nothing(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj"};
    struct train_config config = lora_on(targets, 1);
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    float values[11 * 16], again[11 * 16], other[11 * 16];
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_int_equal(train_layout_count(layout), COUNT_OF(values));
    train_layout_values(layout, 5, values);
    train_layout_values(layout, 5, again);
    train_layout_values(layout, 6, other);
    assert_memory_equal(values, again, sizeof values);
    assert_memory_not_equal(values, other, sizeof values);
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        bool is_b = strstr(entry->name, "lora_B") != NULL;
        for (size_t j = entry->offset; j < entry->offset + entry->count; j++)
            assert_true(is_b ? values[j] == 0 : values[j] >= -0.5f && values[j] < 0.5f);
    }
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_layout__full_training_starts_from_the_model(void **state)
{
    (void)state;
    struct train_config config = {.method = TRAIN_METHOD_FULL};
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    assert_int_equal(train_layout_create(model, &config, &layout, NULL), ERR_OK);
    assert_true(train_layout_count(layout) == model_element_count(model));
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    train_layout_values(layout, 5, values);
    const struct binding *binding = train_layout_binding(layout);
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        assert_memory_equal(values + binding->slots[i].weight_offset, p->data,
                            p->rows * p->columns * sizeof(float));
    }
    const struct train_entry *last =
        train_layout_entry(layout, train_layout_entry_count(layout) - 1);
    assert_string_equal(last->name, "model.norm.weight");
    assert_int_equal(last->dimensions, 1);
    mem_free(values);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

static void test_train_layout__wrong_recipes_are_told_what_there_is(void **state)
{
    (void)state;
    static const char *const typo[] = {"q_prj"}, *const good[] = {"k_proj"};
    struct train_config cases[] = {lora_on(typo, 1), lora_on(good, 1), lora_on(good, 1),
                                   lora_on(good, 1)};
    static const char *const says[] = {
        "\"q_prj\" matches no linear module of the layers; there are q_proj, k_proj, v_proj",
        "lora_r: expected", "lora_r: 3 is more than module model.layers.0.self_attn.k_proj",
        "lora_dropout"};
    cases[1].rank = 0;
    cases[2].rank = 3;
    cases[3].dropout = 1;
    struct model *model = small_model();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct train_layout *layout = NULL;
        struct err_text et = {0};
        assert_int_equal(train_layout_create(model, &cases[i], &layout, &et), ERR_RECIPE);
        assert_null(layout);
        if (strstr(et.text, says[i]) == NULL)
            fail_msg("%s: %s", says[i], et.text);
    }
    model_destroy(&model);
}

static void test_train_layout__survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char *const targets[] = {"all-linear"};
    struct train_config config = lora_on(targets, 1);
    struct model *model = small_model();
    struct train_layout *layout = NULL;
    enum err err = ERR_OUT_OF_MEMORY;
    size_t n = 1;
    for (; err != ERR_OK && n < 1000; n++) {
        (void)mem_fault_after(n);
        err = train_layout_create(model, &config, &layout, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || (err == ERR_OUT_OF_MEMORY && layout == NULL));
    }
    assert_int_equal(err, ERR_OK);
    assert_true(n > 2);
    train_layout_destroy(&layout);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_layout__entries_are_sorted_and_without_gaps),
        cmocka_unit_test(test_train_layout__all_linear_leaves_the_head_out),
        cmocka_unit_test(test_train_layout__a_suffix_matches_whole_parts_of_a_name),
        cmocka_unit_test(test_train_layout__no_target_means_the_familys_usual_ones),
        cmocka_unit_test(test_train_layout__parts_are_adapted_by_name_alone),
        cmocka_unit_test(test_train_layout__first_values_make_the_adapter_do_nothing),
        cmocka_unit_test(test_train_layout__full_training_starts_from_the_model),
        cmocka_unit_test(test_train_layout__wrong_recipes_are_told_what_there_is),
        cmocka_unit_test(test_train_layout__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
