/* test_engine_parts.c - adapters on the parts of fused modules: their gradients, and that one
 * adapter on the whole module, as others load it, computes the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "worker/engine/train/train_adapter.h"

enum { TOKENS = 24, VOCABULARY = 50, RANK = 2 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

struct parts_case {
    const char *model_type;
    const char *whole;
    const char *targets[3];
    size_t count;
};

static const struct parts_case cases[] = {
    {"phi3", "qkv_proj", {"q_proj", "k_proj", "v_proj"}, 3},
    {"phi3", "gate_up_proj", {"gate_proj", "up_proj"}, 2},
    {"phi3", "qkv_proj", {"qkv_proj", "v_proj"}, 2},
    {"falcon", "query_key_value", {"query", "value"}, 2},
    {"gpt2", "c_attn", {"key"}, 1},
};

static struct model *model_of(const char *model_type)
{
    struct hf_config config = engine_data_config(false);
    (void)snprintf(config.model_type, sizeof config.model_type, "%s", model_type);
    config.parallel_attn = true;
    config.new_decoder_architecture = strcmp(model_type, "falcon") == 0;
    return engine_data_model(&config, 3);
}

static struct train_config config_of(const char *const *targets, size_t count, size_t rank,
                                     double alpha, bool rank_stabilized)
{
    return (struct train_config){.method = TRAIN_METHOD_LORA,
                                 .rank = rank,
                                 .alpha = alpha,
                                 .rank_stabilized = rank_stabilized,
                                 .targets = targets,
                                 .target_count = count};
}

static float *random_values(size_t count)
{
    float *values = mem_alloc(count, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] =
            (float)random_below(random_key(9, RANDOM_TEST, i, 0, 0), 1, 2001) / 4000.0f - 0.25f;
    return values;
}

static float *logits_of(const struct model *model, const struct train_layout *layout,
                        const float *values, const struct train_row *row)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    float *logits = mem_alloc(row->token_count * VOCABULARY, sizeof *logits);
    OK(train_create(model, kernel, layout, &options, &train));
    OK(train_logits(train, values, row, logits, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    return logits;
}

/* The folded entries as the vector of a layout that adapts the whole module. */
static float *values_for(const struct train_layout *layout, const struct train_adapter *adapter)
{
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    assert_int_equal(train_layout_entry_count(layout), adapter->entry_count);
    for (size_t i = 0; i < adapter->entry_count; i++) {
        const struct train_entry *to = train_layout_entry(layout, i), *from = &adapter->entries[i];
        assert_string_equal(to->name, from->name);
        assert_int_equal(to->shape[0], from->shape[0]);
        assert_int_equal(to->shape[1], from->shape[1]);
        memcpy(values + to->offset, adapter->values + from->offset, from->count * sizeof *values);
    }
    return values;
}

static void check_fold(const struct parts_case *c, bool rank_stabilized)
{
    struct model *model = model_of(c->model_type);
    struct train_row *row = engine_data_rows(1, TOKENS, VOCABULARY, 4);
    struct train_config config = config_of(c->targets, c->count, RANK, 3, rank_stabilized);
    struct train_layout *parts = NULL, *whole = NULL;
    struct train_adapter adapter;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    OK(train_layout_create(model, &config, &parts, &et));
    float *values = random_values(train_layout_count(parts));
    OK(train_adapter_fold(&config, parts, values, NULL, &arena, &adapter));
    assert_int_equal(adapter.target_count, 1);
    assert_true(text_is(adapter.targets[0], c->whole));
    assert_int_equal(adapter.module_count, c->count > 1 ? 1 : 0);
    double alpha = c->count > 1 ? adapter.modules[0].alpha : 3;
    struct train_config other = config_of(&c->whole, 1, RANK * c->count, alpha, rank_stabilized);
    OK(train_layout_create(model, &other, &whole, &et));
    float *folded = values_for(whole, &adapter);
    float *left = logits_of(model, parts, values, row);
    float *right = logits_of(model, whole, folded, row);
    float *base = logits_of(model, NULL, NULL, row);
    double worst = 0, moved = 0;
    for (size_t i = 0; i < row->token_count * VOCABULARY; i++) {
        worst = fmax(worst, fabs((double)left[i] - (double)right[i]));
        moved = fmax(moved, fabs((double)left[i] - (double)base[i]));
    }
    print_message("%s, %zu parts of %s: logits off by %.1e of %.1e\n", c->model_type, c->count,
                  c->whole, worst, moved);
    assert_true(worst < 1e-4 * moved && moved > 1e-3);
    mem_free(base);
    mem_free(right);
    mem_free(left);
    mem_free(folded);
    mem_free(values);
    train_layout_destroy(&whole);
    train_layout_destroy(&parts);
    arena_fini(&arena);
    engine_data_free_rows(row);
    model_destroy(&model);
}

static void test_parts__become_one_adapter_that_computes_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        check_fold(&cases[i], false);
        check_fold(&cases[i], true);
    }
}

static void test_parts__whole_modules_are_left_as_they_are(void **state)
{
    (void)state;
    static const char *const targets[] = {"all-linear"};
    struct model *model = model_of("phi3");
    struct train_config config = config_of(targets, 1, RANK, 3, false);
    struct train_layout *layout = NULL;
    struct train_adapter adapter;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    OK(train_layout_create(model, &config, &layout, &et));
    float *values = random_values(train_layout_count(layout));
    OK(train_adapter_fold(&config, layout, values, NULL, &arena, &adapter));
    assert_ptr_equal(adapter.values, values);
    assert_ptr_equal(adapter.entries, train_layout_entry(layout, 0));
    assert_int_equal(adapter.target_count, 4);
    assert_int_equal(adapter.module_count, 0);
    mem_free(values);
    train_layout_destroy(&layout);
    arena_fini(&arena);
    model_destroy(&model);
}

/* ---- gradients ---- */

struct leaf {
    double loss;
    float *gradient; /* (count) */
    size_t count;
};

static enum err take_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    (void)row;
    struct leaf *leaf = context;
    leaf->loss = result->loss_sum;
    if (leaf->gradient != NULL)
        memcpy(leaf->gradient, gradient, leaf->count * sizeof *gradient);
    return ERR_OK;
}

static void run(const struct model *model, const struct train_layout *layout, const float *values,
                const struct train_row *row, struct leaf *leaf)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct train_result result;
    OK(train_create(model, kernel, layout, &options, &train));
    OK(train_rows(train, values, 1, 1, row, 1, &result, take_leaf, leaf, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
}

/* Five points along each entry's own gradient. */
static double slope_of(const struct model *model, const struct train_layout *layout, float *values,
                       const struct train_row *row, const struct leaf *leaf,
                       const struct train_entry *entry)
{
    static const double steps[] = {0.02, -0.02, 0.04, -0.04}, weights[] = {8, -8, -1, 1};
    double square = 0, slope = 0;
    float before[512];
    assert_true(entry->count <= COUNT_OF(before));
    memcpy(before, values + entry->offset, entry->count * sizeof *before);
    for (size_t i = entry->offset; i < entry->offset + entry->count; i++)
        square += (double)leaf->gradient[i] * (double)leaf->gradient[i];
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
        struct leaf moved = {0};
        for (size_t i = 0; i < entry->count; i++)
            values[entry->offset + i] =
                (float)((double)before[i] +
                        steps[s] / square * (double)leaf->gradient[entry->offset + i]);
        run(model, layout, values, row, &moved);
        slope += weights[s] * moved.loss / (12 * steps[0]);
    }
    memcpy(values + entry->offset, before, entry->count * sizeof *before);
    return slope;
}

static void test_parts__have_their_own_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct model *model = model_of(cases[i].model_type);
        struct train_row *row = engine_data_rows(1, TOKENS, VOCABULARY, 4);
        struct train_config config = config_of(cases[i].targets, cases[i].count, RANK, 3, false);
        struct train_layout *layout = NULL;
        OK(train_layout_create(model, &config, &layout, &et));
        float *values = random_values(train_layout_count(layout));
        struct leaf leaf = {.count = train_layout_count(layout)};
        leaf.gradient = mem_alloc(leaf.count, sizeof *leaf.gradient);
        run(model, layout, values, row, &leaf);
        for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
            const struct train_entry *entry = train_layout_entry(layout, e);
            double slope = slope_of(model, layout, values, row, &leaf, entry);
            if (!(fabs(slope - 1) < 5e-3))
                fail_msg("%s: the loss changes by %g of what its gradient says", entry->name,
                         slope);
        }
        mem_free(leaf.gradient);
        mem_free(values);
        train_layout_destroy(&layout);
        engine_data_free_rows(row);
        model_destroy(&model);
    }
}

static void test_parts__targets_name_no_module_without_an_adapter(void **state)
{
    static const struct {
        const char *model_type, *target, *first;
        size_t count;
    } some[] = {
        {"llama", "q_proj", "q_proj", 1},
        {"llama", "layers.1.self_attn.q_proj", "model.layers.1.self_attn.q_proj", 1},
        {"gpt2", "c_proj", "c_proj", 1},
        {"gpt2", "attn.c_proj", "transformer.h.0.attn.c_proj", 2},
        {"phi3", "layers.0.self_attn.v_proj", "model.layers.0.self_attn.qkv_proj", 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some); i++) {
        struct model *model = model_of(some[i].model_type);
        struct train_config config = config_of(&some[i].target, 1, RANK, 3, false);
        struct train_layout *layout = NULL;
        struct train_adapter adapter;
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        OK(train_layout_create(model, &config, &layout, &et));
        float *values = random_values(train_layout_count(layout));
        OK(train_adapter_fold(&config, layout, values, NULL, &arena, &adapter));
        assert_int_equal(adapter.target_count, some[i].count);
        if (!text_is(adapter.targets[0], some[i].first))
            fail_msg("%s: %.*s", some[i].target, TEXT_ARGS(adapter.targets[0]));
        mem_free(values);
        train_layout_destroy(&layout);
        arena_fini(&arena);
        model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts__become_one_adapter_that_computes_the_same),
        cmocka_unit_test(test_parts__whole_modules_are_left_as_they_are),
        cmocka_unit_test(test_parts__have_their_own_gradients),
        cmocka_unit_test(test_parts__targets_name_no_module_without_an_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
