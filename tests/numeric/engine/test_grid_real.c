/* test_grid_real.c - what the grids' range searches, and the quantized folders, cost a trained
 * model: divergence from it on held-out text. Importance comes from other text of the same kind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/imatrix/imatrix.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/lm_windows.h"
#include "tests/numeric/engine/quantized_maker.h"
#include "worker/engine/compare/compare.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/quant/grid.h"

enum { MATRICES_MAX = 64 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

struct bench {
    struct model *base;
    struct kernel *kernel;
    struct imatrix importance;
    struct lm_windows *held_out;
};

static bool open_bench(struct bench *b)
{
    const char *path = engine_data_path(0, "models/lm-6m");
    if (path == NULL)
        return false;
    OK(model_open(path, &b->base, &et));
    OK(imatrix_open(&b->importance, engine_data_path(1, "models/lm-6m/lm-6m.imatrix.dat"), &et));
    b->kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    b->held_out = lm_windows_open();
    return true;
}

static void close_bench(struct bench *b)
{
    mem_free(b->held_out);
    imatrix_close(&b->importance);
    kernel_destroy(&b->kernel);
    model_destroy(&b->base);
}

/* Mean divergence a token from the base. */
static double divergence(const struct bench *b, const struct model *model)
{
    struct compare *compare = NULL;
    struct compare_sums sums = {0}, row;
    OK(compare_create(b->base, model, b->kernel, &compare, &et));
    for (size_t i = 0; i < LM_WINDOWS; i++) {
        const struct batch_input *in = &b->held_out->rows[i];
        struct train_row scored = {.index = in->index,
                                   .tokens = in->tokens,
                                   .loss = in->loss,
                                   .token_count = in->token_count,
                                   .segment_starts = in->segment_starts,
                                   .segment_count = in->segment_count};
        OK(compare_row(compare, &scored, &row, &et));
        compare_add(&sums, &row);
    }
    compare_destroy(&compare);
    return sums.kl / (double)sums.positions;
}

/* Mean squares of the parameter's input, (columns), by llama.cpp's name of the weight. */
static void read_importance(const struct bench *b, const struct model_param *p, float *out)
{
    static const struct {
        enum model_role role;
        const char *name;
    } rows[] = {{MODEL_QUERY, "attn_q"},       {MODEL_KEY, "attn_k"},    {MODEL_VALUE, "attn_v"},
                {MODEL_OUTPUT, "attn_output"}, {MODEL_GATE, "ffn_gate"}, {MODEL_UP, "ffn_up"},
                {MODEL_DOWN, "ffn_down"}};
    char name[64] = "";
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].role == p->role)
            (void)snprintf(name, sizeof name, "blk.%u.%s.weight", p->layer, rows[i].name);
    const struct imatrix_entry *entry = imatrix_find(&b->importance, text_of(name));
    if (entry == NULL || entry->columns != p->columns)
        fail_msg("%s: %s: expected its importance", p->name, name);
    imatrix_mean(entry, out);
}

/* The parameter's values on the grid; released with mem_free. */
static float *rounded(const struct bench *b, const struct grid_scheme *scheme,
                      const struct model_param *p)
{
    struct grid grid;
    float *w = mem_alloc(p->rows * p->columns, sizeof *w);
    float *importance = mem_alloc(p->columns, sizeof *importance);
    int8_t *codes = mem_alloc(p->columns, 1);
    assert_true(w != NULL && importance != NULL && codes != NULL);
    block_decode(p->dtype, p->rows * p->columns, p->data, w);
    read_importance(b, p, importance);
    OK(grid_init(&grid, scheme, p->rows, p->columns, p->name, &et));
    grid_find(&grid, w, importance);
    for (size_t row = 0; row < p->rows; row++) {
        grid_encode_row(&grid, row, w + row * p->columns, codes);
        grid_decode_row(&grid, row, codes, w + row * p->columns);
    }
    grid_fini(&grid);
    mem_free(importance);
    mem_free(codes);
    return w;
}

static double divergence_of_grid(const struct bench *b, const struct grid_scheme *scheme)
{
    struct model_override overrides[MATRICES_MAX];
    float *values[MATRICES_MAX];
    struct model *result = NULL;
    size_t count = 0;
    for (size_t i = 0; i < model_param_count(b->base); i++) {
        const struct model_param *p = model_param(b->base, i);
        if (!quantized_maker_takes(b->base, p))
            continue;
        assert_true(count < MATRICES_MAX);
        values[count] = rounded(b, scheme, p);
        overrides[count] = (struct model_override){p->name, p->rows, p->columns, values[count]};
        count++;
    }
    OK(model_overlay_create(b->base, overrides, count, &result, &et));
    double kl = divergence(b, result);
    model_destroy(&result);
    for (size_t i = 0; i < count; i++)
        mem_free(values[i]);
    return kl;
}

static void test_grid__searches_lower_the_divergence_of_a_trained_model(void **state)
{
    static const struct {
        enum grid_preset preset;
        const char *name;
    } schemes[] = {{GRID_PRESET_W3A16, "W3A16"}, {GRID_PRESET_W4A16, "W4A16"}};
    struct bench b = {0};
    (void)state;
    if (!open_bench(&b))
        skip();
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        double kl[GRID_IMPORTANCE + 1];
        for (unsigned range = GRID_MINMAX; range <= GRID_IMPORTANCE; range++) {
            struct grid_scheme scheme = grid_preset_scheme(schemes[i].preset);
            scheme.range = (enum grid_range)range;
            kl[range] = divergence_of_grid(&b, &scheme);
        }
        print_message("%-11s KL: full range %.6f, least error %.6f, weighted by importance %.6f\n",
                      schemes[i].name, kl[GRID_MINMAX], kl[GRID_MSE], kl[GRID_IMPORTANCE]);
        assert_true(kl[GRID_MSE] < kl[GRID_MINMAX]);
        assert_true(kl[GRID_IMPORTANCE] < kl[GRID_MINMAX]);
    }
    close_bench(&b);
}

static double divergence_of_folder(const struct bench *b, const char *name, size_t *size_bytes)
{
    struct quantized_kind kind;
    struct model *model = NULL;
    char folder[64], path[128];
    static const char *const files[] = {
        "config.json",           "generation_config.json",  "tokenizer.json",   "tokenizer.model",
        "tokenizer_config.json", "special_tokens_map.json", "model.safetensors"};
    (void)snprintf(folder, sizeof folder, "/tmp/grid_real.%ld", (long)getpid());
    assert_true(quantized_maker_kind(name, &kind));
    OK(quantized_maker_write(&kind, engine_data_path(0, "models/lm-6m"), folder, &et));
    OK(model_open(folder, &model, &et));
    *size_bytes = model_size_bytes(model);
    double kl = divergence(b, model);
    model_destroy(&model);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return kl;
}

static void test_quantized_folders__cost_a_trained_model_what_their_bits_say(void **state)
{
    static const struct {
        const char *name;
        double kl_max;
    } rows[] = {{"W8A16", 1e-4}, {"W8A8", 2e-3}, {"W4A16", 1e-2}, {"NF4_NESTED", 1e-2}};
    struct bench b = {0};
    (void)state;
    if (!open_bench(&b))
        skip();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t size_bytes = 0;
        double kl = divergence_of_folder(&b, rows[i].name, &size_bytes);
        print_message("%-11s KL %.6f, %zu bytes in memory\n", rows[i].name, kl, size_bytes);
        assert_true(kl > 0 && kl < rows[i].kl_max);
    }
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid__searches_lower_the_divergence_of_a_trained_model),
        cmocka_unit_test(test_quantized_folders__cost_a_trained_model_what_their_bits_say),
    };
    return cmocka_run_group_tests_name("grid_real", tests, NULL, NULL);
}
