/* test_train_merge.c - the merged model says what the model with its adapter says. */
#include "worker/engine/train/train_merge.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/train/train.h"

enum { VOCABULARY = 24, TOKENS = 9 };

static struct model *family_model(const char *model_type)
{
    struct hf_config config = {.vocab_size = VOCABULARY,
                               .hidden_size = 16,
                               .intermediate_size = 24,
                               .num_hidden_layers = 2,
                               .num_attention_heads = 2,
                               .num_key_value_heads = 2,
                               .head_dim = 8,
                               .max_position_embeddings = 16,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.2,
                               .parallel_attn = true};
    struct model *model = NULL;
    struct err_text et = {""};
    config.tie_word_embeddings = strcmp(model_type, "gpt2-tied") == 0;
    (void)snprintf(config.model_type, sizeof config.model_type, "%s",
                   config.tie_word_embeddings ? "gpt2" : model_type);
    if (model_create_random(&config, 1, &model, &et) != ERR_OK)
        fail_msg("%s: %s", model_type, et.text);
    return model;
}

/* What trained, with values that an adapter could have after some steps. */
struct world {
    struct model *model;
    struct train_layout *layout;
    struct kernel *kernel;
    float *values;
    struct train_merge merge;
};

static void world_open(struct world *w, const char *model_type, const struct train_config *config)
{
    struct err_text et = {""};
    w->model = family_model(model_type);
    if (train_layout_create(w->model, config, &w->layout, &et) != ERR_OK)
        fail_msg("%s: %s", model_type, et.text);
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 2, &w->kernel), ERR_OK);
    size_t count = train_layout_count(w->layout);
    w->values = mem_alloc(count, sizeof *w->values);
    assert_non_null(w->values);
    train_layout_values(w->layout, 7, w->values);
    uint64_t key = random_key(3, RANDOM_INIT, 0, 0, 0);
    for (size_t i = 0; i < count; i++)
        w->values[i] += 0.1f * (random_uniform_f32(key, i) - 0.5f);
    w->merge = (struct train_merge){
        .model = w->model, .layout = w->layout, .values = w->values, .kernel = w->kernel};
}

static void world_close(struct world *w)
{
    mem_free(w->values);
    kernel_destroy(&w->kernel);
    train_layout_destroy(&w->layout);
    model_destroy(&w->model);
}

static float *logits_of(struct kernel *kernel, const struct model *model,
                        const struct train_layout *layout, const float *values)
{
    static const uint32_t tokens[TOKENS] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
    static const uint8_t loss[TOKENS] = {0, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint32_t starts[] = {0, 5};
    const struct train_row row = {.tokens = tokens,
                                  .loss = loss,
                                  .token_count = TOKENS,
                                  .segment_starts = starts,
                                  .segment_count = 2};
    const struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct err_text et = {""};
    float *logits = mem_alloc(TOKENS * VOCABULARY, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(train_create(model, kernel, layout, &options, &train), ERR_OK);
    if (train_logits(train, values, &row, logits, &et) != ERR_OK)
        fail_msg("%s", et.text);
    train_destroy(&train);
    return logits;
}

static double farthest(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* The model with every parameter that training touched replaced. */
static struct model *merged_model(const struct world *w, float **data)
{
    struct model_override overrides[64];
    size_t count = 0;
    for (size_t i = 0; i < model_param_count(w->model); i++) {
        const struct model_param *p = model_param(w->model, i);
        data[i] = NULL;
        if (!train_merge_touches(&w->merge, i))
            continue;
        data[i] = mem_alloc(p->rows * p->columns, sizeof *data[i]);
        assert_non_null(data[i]);
        assert_int_equal(train_merge_rows(&w->merge, i, 0, p->rows, data[i]), ERR_OK);
        assert_true(count < COUNT_OF(overrides));
        overrides[count++] = (struct model_override){p->name, p->rows, p->columns, data[i]};
    }
    struct model *merged = NULL;
    assert_true(count > 0);
    assert_int_equal(model_overlay_create(w->model, overrides, count, &merged, NULL), ERR_OK);
    return merged;
}

/* Logits of base and adapter, of the merged model, and how far the adapter moved them. */
static void check_equal(const char *model_type, const struct train_config *config)
{
    struct world w;
    float *data[256];
    world_open(&w, model_type, config);
    assert_true(model_param_count(w.model) <= COUNT_OF(data));
    struct model *merged = merged_model(&w, data);
    float *plain = logits_of(w.kernel, w.model, NULL, NULL);
    float *adapted = logits_of(w.kernel, w.model, w.layout, w.values);
    float *found = logits_of(w.kernel, merged, NULL, NULL);
    double moved = farthest(plain, adapted, TOKENS * VOCABULARY);
    double off = farthest(adapted, found, TOKENS * VOCABULARY);
    if (!(moved > 1e-2 && off < 1e-5))
        fail_msg("%s: the adapter moves logits by %g, merging by %g", model_type, moved, off);
    mem_free(plain);
    mem_free(adapted);
    mem_free(found);
    model_destroy(&merged);
    for (size_t i = 0; i < model_param_count(w.model); i++)
        mem_free(data[i]);
    world_close(&w);
}

static void test_train_merge__says_what_base_and_adapter_say(void **state)
{
    (void)state;
    static const char *const families[] = {"llama",  "gpt2", "phi3",   "qwen2",
                                           "falcon", "phi",  "gemma2", "gemma"};
    static const char *const all[] = {"all-linear"};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        for (int stabilized = 0; stabilized < 2; stabilized++) {
            const struct train_config config = {.method = TRAIN_METHOD_LORA,
                                                .rank = 3,
                                                .alpha = 6,
                                                .rank_stabilized = stabilized != 0,
                                                .targets = all,
                                                .target_count = 1};
            check_equal(families[i], &config);
        }
    }
}

static void test_train_merge__parts_of_fused_modules_find_their_rows(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj", "v_proj", "up_proj", "qkv_proj"};
    static const char *const grouped[] = {"key", "value", "query_key_value"};
    const struct train_config config = {.method = TRAIN_METHOD_LORA,
                                        .rank = 2,
                                        .alpha = 4,
                                        .targets = targets,
                                        .target_count = COUNT_OF(targets)};
    struct train_config other = config;
    check_equal("phi3", &config);
    other.targets = grouped;
    other.target_count = COUNT_OF(grouped);
    check_equal("falcon", &other);
}

static void test_train_merge__magnitudes_set_the_lengths_of_rows(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "gpt2", "phi3"};
    static const char *const all[] = {"all-linear"};
    const struct train_config config = {.method = TRAIN_METHOD_LORA,
                                        .rank = 3,
                                        .alpha = 6,
                                        .dora = true,
                                        .targets = all,
                                        .target_count = 1};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        check_equal(families[i], &config);
}

static void test_train_merge__patterns_saved_modules_and_embeddings_go_in(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj", "down_proj", "embed_tokens", "lm_head"};
    static const char *const ranks[] = {"layers.1.self_attn.q_proj=5"};
    static const char *const alphas[] = {"down_proj=9"};
    static const char *const saved[] = {"norm", "o_proj"};
    const struct train_config config = {.method = TRAIN_METHOD_LORA,
                                        .rank = 2,
                                        .alpha = 4,
                                        .rank_patterns = ranks,
                                        .rank_pattern_count = 1,
                                        .alpha_patterns = alphas,
                                        .alpha_pattern_count = 1,
                                        .saved = saved,
                                        .saved_count = 2,
                                        .targets = targets,
                                        .target_count = 4};
    check_equal("llama", &config);
}

static void test_train_merge__an_anchor_is_taken_away(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj", "up_proj"};
    const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 2, .alpha = 4, .targets = targets, .target_count = 2};
    struct world w;
    float merged[64 * 64], base[64 * 64];
    world_open(&w, "llama", &config);
    w.merge.anchor = w.values; /* nothing has become of it */
    for (size_t i = 0; i < model_param_count(w.model); i++) {
        const struct model_param *p = model_param(w.model, i);
        if (!train_merge_touches(&w.merge, i))
            continue;
        assert_int_equal(train_merge_rows(&w.merge, i, 0, p->rows, merged), ERR_OK);
        model_values_read(w.model, i, 0, p->rows, base);
        assert_true(farthest(merged, base, p->rows * p->columns) < 1e-7);
    }
    world_close(&w);
}

static void test_train_merge__half_of_a_tied_matrix_is_refused(void **state)
{
    (void)state;
    static const char *const targets[] = {"wte", "c_attn"};
    const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 2, .alpha = 4, .targets = targets, .target_count = 2};
    struct world w;
    struct err_text et = {""};
    world_open(&w, "gpt2-tied", &config);
    assert_int_equal(train_merge_check(&w.merge, w.model, &et), ERR_RECIPE);
    assert_non_null(strstr(et.text, "tie_word_embeddings"));
    world_close(&w);
}

static void test_train_merge__however_rows_are_cut_the_bits_are_equal(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj", "up_proj"};
    const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 2, .alpha = 4, .targets = targets, .target_count = 2};
    struct world w;
    float whole[64 * 64], cut[64 * 64];
    size_t touched = 0;
    world_open(&w, "phi3", &config);
    for (size_t i = 0; i < model_param_count(w.model); i++) {
        const struct model_param *p = model_param(w.model, i);
        if (p->data == NULL || p->rows * p->columns > COUNT_OF(whole))
            continue;
        assert_int_equal(train_merge_rows(&w.merge, i, 0, p->rows, whole), ERR_OK);
        for (size_t r = 0; r < p->rows; r++)
            assert_int_equal(train_merge_rows(&w.merge, i, r, 1, cut + r * p->columns), ERR_OK);
        assert_memory_equal(whole, cut, p->rows * p->columns * sizeof *whole);
        model_values_read(w.model, i, 0, p->rows, cut);
        bool same = memcmp(whole, cut, p->rows * p->columns * sizeof *whole) == 0;
        assert_true(same != train_merge_touches(&w.merge, i));
        touched += !same;
    }
    assert_int_equal(touched, 2 * 2); /* qkv_proj and gate_up_proj of two layers */
    world_close(&w);
}

static void test_train_merge__another_model_is_refused(void **state)
{
    (void)state;
    static const char *const targets[] = {"q_proj"};
    const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 2, .alpha = 4, .targets = targets, .target_count = 1};
    struct world w;
    struct err_text et = {""};
    world_open(&w, "llama", &config);
    assert_int_equal(train_merge_check(&w.merge, w.model, &et), ERR_OK);
    struct model *other = family_model("qwen2");
    assert_int_equal(train_merge_check(&w.merge, other, &et), ERR_SHAPE);
    assert_non_null(strstr(et.text, "parameter"));
    model_destroy(&other);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_merge__says_what_base_and_adapter_say),
        cmocka_unit_test(test_train_merge__parts_of_fused_modules_find_their_rows),
        cmocka_unit_test(test_train_merge__magnitudes_set_the_lengths_of_rows),
        cmocka_unit_test(test_train_merge__patterns_saved_modules_and_embeddings_go_in),
        cmocka_unit_test(test_train_merge__an_anchor_is_taken_away),
        cmocka_unit_test(test_train_merge__half_of_a_tied_matrix_is_refused),
        cmocka_unit_test(test_train_merge__however_rows_are_cut_the_bits_are_equal),
        cmocka_unit_test(test_train_merge__another_model_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
