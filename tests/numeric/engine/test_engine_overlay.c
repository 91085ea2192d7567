/* test_engine_overlay.c - other weights in some places: the same values have the same bits,
 * whatever file the base is, and what does not fit is an error.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_model.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "tests/numeric/engine/lm_windows.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_values.h"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* An overlay of decoded copies of every `step`-th parameter of the base. */
struct copies {
    struct model *model;
    struct model_override *overrides;
    size_t count;
};

static void copies_open(struct copies *c, const struct model *base, size_t step)
{
    *c = (struct copies){0};
    c->overrides = mem_alloc(model_param_count(base), sizeof *c->overrides);
    assert_non_null(c->overrides);
    for (size_t i = step - 1; i < model_param_count(base); i += step) {
        const struct model_param *p = model_param(base, i);
        if (p->part.whole != MODEL_NO_PARAM)
            continue;
        float *data = mem_alloc(p->rows * p->columns, sizeof *data);
        assert_non_null(data);
        model_values_read(base, i, 0, p->rows, data);
        c->overrides[c->count++] = (struct model_override){p->name, p->rows, p->columns, data};
    }
    OK(model_overlay_create(base, c->overrides, c->count, &c->model, &et));
}

static void copies_close(struct copies *c)
{
    model_destroy(&c->model);
    for (size_t i = 0; i < c->count; i++)
        mem_free((void *)(uintptr_t)c->overrides[i].data);
    mem_free(c->overrides);
}

/* The largest difference of a logit between the base and an overlay of its own values; ternary
 * modules round a scale in another place, all others agree in every bit. */
static void compare(const char *name, const struct model *base, const struct train_row *row,
                    size_t step)
{
    struct copies c;
    double worst = 0, allowed = model_family(base)->linear == LINEAR_TERNARY ? 1e-5 : 0;
    size_t count = row->token_count * model_shape(base)->vocabulary;
    copies_open(&c, base, step);
    float *wanted = golden_family_logits(base, NULL, NULL, row);
    float *got = golden_family_logits(c.model, NULL, NULL, row);
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)wanted[i]));
    if (!(worst <= allowed) || (allowed <= 0 && memcmp(wanted, got, count * sizeof *got) != 0))
        fail_msg("%s, every %zu: off by %.1e", name, step, worst);
    mem_free(wanted);
    mem_free(got);
    copies_close(&c);
}

static void test_family__the_same_values_have_the_same_bits(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    compare(g->name, g->model, &g->sequences[0].row, 1);
    compare(g->name, g->model, &g->sequences[1].row, 3);
    golden_family_close(g);
}

/* Rows of q and k lie in pairs, or those of a fused module apart; gains have one added. */
static void test_family__and_so_they_have_over_a_gguf_file(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    static const enum block_format formats[] = {CONVERT_PLAN_KEEP, BLOCK_FORMAT_F16};
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        struct convert_model_options options = {.format = formats[i]};
        struct convert_model_report report;
        struct model *model = NULL;
        char path[] = "/tmp/qfleet-overlay-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        OK(convert_model_to_gguf(golden_family_path(0, g->name, ""), path, &options, &report, &et));
        OK(model_open(path, &model, &et));
        compare(g->name, model, &g->sequences[0].row, 1);
        compare(g->name, model, &g->sequences[0].row, 2);
        model_destroy(&model);
        assert_int_equal(unlink(path), 0);
    }
    golden_family_close(g);
}

static void test_overlay__of_a_quantized_file_has_its_bits(void **state)
{
    static const char *const files[] = {"models/lm-6m/lm-6m-Q4_K_M-im.gguf",
                                        "models/lm-6m/lm-6m-Q2_K.gguf"};
    (void)state;
    struct lm_windows *w = lm_windows_open();
    if (w == NULL)
        return;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct model *model = NULL;
        struct train_row row = {.tokens = w->ids[i],
                                .token_count = LM_WINDOW,
                                .segment_starts = &w->start,
                                .segment_count = 1};
        OK(model_open(engine_data_path(0, files[i]), &model, &et));
        compare(files[i], model, &row, 1);
        compare(files[i], model, &row, 2);
        model_destroy(&model);
    }
    mem_free(w);
}

/* One other value changes the logits; the base stays what it was. */
static void test_overlay__takes_the_values_it_is_given(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *base = engine_data_model(&config, 1), *model = NULL;
    struct train_row *rows = engine_data_rows(1, 30, config.vocab_size, 2);
    size_t bytes = rows[0].token_count * config.vocab_size * sizeof(float);
    size_t param = (size_t)model_param_index(base, MODEL_DOWN, 1);
    const struct model_param *p = model_param(base, param);
    float *data = mem_alloc(p->rows * p->columns, sizeof *data);
    assert_non_null(data);
    model_values_read(base, param, 0, p->rows, data);
    float *before = golden_family_logits(base, NULL, NULL, &rows[0]);
    data[5] += 1;
    const struct model_override override = {p->name, p->rows, p->columns, data};
    OK(model_overlay_create(base, &override, 1, &model, &et));
    float *other = golden_family_logits(model, NULL, NULL, &rows[0]);
    assert_true(memcmp(before, other, bytes) != 0);
    model_destroy(&model);
    float *after = golden_family_logits(base, NULL, NULL, &rows[0]);
    assert_memory_equal(before, after, bytes);
    mem_free(before);
    mem_free(other);
    mem_free(after);
    mem_free(data);
    engine_data_free_rows(rows);
    model_destroy(&base);
}

static void test_overlay__refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct golden_family *g = golden_family_open("phi3");
    struct model *model = NULL;
    const struct model_param *p =
        model_param(g->model, (size_t)model_param_index(g->model, MODEL_DOWN, 0));
    const struct model_param *part =
        model_param(g->model, (size_t)model_param_index(g->model, MODEL_QUERY, 0));
    float *data = mem_alloc(p->rows * p->columns, sizeof *data);
    assert_non_null(data);
    const struct model_override good = {p->name, p->rows, p->columns, data};
    const struct model_override turned = {p->name, p->columns, p->rows, data};
    const struct {
        enum err err;
        size_t count;
        struct model_override overrides[2];
    } cases[] = {
        {ERR_NOT_FOUND, 1, {{"model.nothing.weight", 1, 1, data}}},
        {ERR_NOT_FOUND, 1, {{part->name, part->rows, part->columns, data}}},
        {ERR_SHAPE, 2, {good, turned}},
        {ERR_DATA, 2, {good, good}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(
            model_overlay_create(g->model, cases[i].overrides, cases[i].count, &model, &et),
            cases[i].err);
        assert_null(model);
        assert_non_null(strstr(et.text, cases[i].overrides[cases[i].count - 1].name));
    }
    for (size_t n = 1;; n++) { /* every allocation fails in its turn */
        mem_fault_after(n);
        enum err err = model_overlay_create(g->model, &good, 1, &model, &et);
        mem_fault_after(0);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    model_destroy(&model);
    mem_free(data);
    golden_family_close(g);
}

#define OVERLAY_TESTS(family)                                                                      \
    GOLDEN_TEST(the_same_values_have_the_same_bits, family),                                       \
        GOLDEN_TEST(and_so_they_have_over_a_gguf_file, family),

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlay__of_a_quantized_file_has_its_bits),
        cmocka_unit_test(test_overlay__takes_the_values_it_is_given),
        cmocka_unit_test(test_overlay__refuses_what_does_not_fit), GOLDEN_FAMILIES(OVERLAY_TESTS)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
