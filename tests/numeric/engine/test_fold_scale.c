/* test_fold_scale.c - a model whose sites are scaled and whose feeders divide says the same.
 *
 * Every golden family with factors at every site that takes them, from the folder and from a GGUF
 * file, whose rows lie elsewhere. Since equal logits could also mean that nothing happened, each
 * change is left out once: without it the model must say something else.
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
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "worker/engine/nn/fold_scale.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/quant/blocks.h"

enum { SITES_MAX = 64, COLUMNS_MAX = 1024 };

static const double LOGIT_ERROR_MAX = 1e-4; /* the largest logit of any family is below 8 */

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* Factors of all sites that take them. */
struct plan {
    size_t count;
    struct fold_scale_factors factors[SITES_MAX];
    float scales[SITES_MAX][COLUMNS_MAX];
};

/* Random factors in [0.25, 4], or powers of two of that range. */
static float factor(uint64_t key, size_t index, bool powers)
{
    float power = 4 * random_uniform_f32(key, index) - 2;
    return powers ? ldexpf(1, (int)floorf(power + 0.5f)) : exp2f(power);
}

static void plan_site(struct plan *plan, const struct model *model, size_t index, bool powers)
{
    struct model_site site = model_site(model, index);
    struct channel_ties ties = fold_scale_ties(model, &site);
    float *scales = plan->scales[plan->count];
    assert_true(plan->count < SITES_MAX && site.columns <= COLUMNS_MAX);
    for (size_t c = 0; c < site.columns; c++) {
        size_t run = ties.width * ties.repeat;
        size_t channel = run != 0 ? c / run * run + c % ties.width : c;
        scales[c] = factor(index + 1, channel, powers);
    }
    plan->factors[plan->count++] = (struct fold_scale_factors){index, scales};
}

/* `exact`: powers of two, and no norm that is stored less one. */
static struct plan *plan_create(const struct model *model, bool exact)
{
    struct plan *plan = mem_alloc(1, sizeof *plan);
    bool less_one = model_shape(model)->norm_offset > 0;
    assert_non_null(plan);
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        enum fold_scale_place place = fold_scale_place_of(model, &site);
        if (fold_scale_place_takes(place) && !(exact && less_one && place == FOLD_SCALE_NORM))
            plan_site(plan, model, i, exact);
    }
    return plan;
}

/* The changes of a plan, in an arena. */
struct changes {
    struct arena arena;
    struct model_override *list;
    size_t count;
};

static struct changes changes_of(const struct model *model, const struct plan *plan)
{
    struct changes changes = {.count = 0};
    struct fold_scale *fold = NULL;
    arena_init(&changes.arena, SIZE_MAX);
    OK(fold_scale_create(model, plan->factors, plan->count, &fold, &et));
    OK(fold_scale_overrides(fold, &changes.arena, &changes.list, &changes.count));
    fold_scale_destroy(&fold);
    assert_null(fold);
    return changes;
}

static float *logits_under(const struct model *model, const struct model_override *list,
                           size_t count, const struct train_row *row)
{
    struct model *overlay = NULL;
    OK(model_overlay_create(model, list, count, &overlay, &et));
    float *logits = golden_family_logits(overlay, NULL, NULL, row);
    model_destroy(&overlay);
    return logits;
}

static double worst_of(const struct model *model, const struct train_row *row, const float *a,
                       const float *b)
{
    double worst = 0;
    for (size_t i = 0; i < row->token_count * model_shape(model)->vocabulary; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* Logits are the base's within `error_max`; left out, each change is missed. */
static double check(const struct model *model, const struct plan *plan, const struct train_row *row,
                    double error_max)
{
    struct changes changes = changes_of(model, plan);
    float *wanted = golden_family_logits(model, NULL, NULL, row);
    float *folded = logits_under(model, changes.list, changes.count, row);
    double worst = worst_of(model, row, wanted, folded);
    if (!(worst <= error_max))
        fail_msg("logits are off by %g", worst);
    mem_free(folded);
    for (size_t i = 0; i < changes.count; i++) {
        struct model_override last = changes.list[changes.count - 1], left = changes.list[i];
        changes.list[i] = last;
        folded = logits_under(model, changes.list, changes.count - 1, row);
        if (worst_of(model, row, wanted, folded) < 1e-3)
            fail_msg("%s changes nothing", left.name);
        changes.list[i] = left;
        mem_free(folded);
    }
    mem_free(wanted);
    arena_fini(&changes.arena);
    return worst;
}

static void test_family__the_folded_model_says_the_same(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct plan *plan = plan_create(g->model, false);
    double worst = check(g->model, plan, &g->sequences[0].row, LOGIT_ERROR_MAX);
    print_message("%s: %zu of %zu sites, logits off by %.1e\n", g->name, plan->count,
                  model_site_count(g->model), worst);
    mem_free(plan);
    golden_family_close(g);
}

static void test_family__powers_of_two_change_no_bit(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct plan *plan = plan_create(g->model, true);
    check(g->model, plan, &g->sequences[1].row, 0);
    mem_free(plan);
    golden_family_close(g);
}

/* Which sites take factors follows from the family. */
static void test_family__sites_left_alone_have_their_reason(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    const struct family *family = model_family(g->model);
    for (size_t i = 0; i < model_site_count(g->model); i++) {
        struct model_site site = model_site(g->model, i);
        enum model_role role = model_param(g->model, site.params[0])->role;
        enum fold_scale_place wanted = FOLD_SCALE_NORM;
        if (!site.in_layer)
            wanted = model_shape(g->model)->tied ? FOLD_SCALE_TIED : FOLD_SCALE_NORM;
        else if (family->linear == LINEAR_TERNARY)
            wanted = FOLD_SCALE_TERNARY;
        else if (role == MODEL_OUTPUT)
            wanted = FOLD_SCALE_SOURCE;
        else if (role == MODEL_DOWN)
            wanted = family->mlp == MLP_PLAIN ? FOLD_SCALE_ACTIVATION : FOLD_SCALE_SOURCE;
        assert_int_equal(fold_scale_place_of(g->model, &site), wanted);
        if (fold_scale_place_takes(wanted))
            continue;
        static const float ones[COLUMNS_MAX] = {1};
        struct fold_scale_factors factors = {i, ones};
        struct fold_scale *fold = NULL;
        assert_int_equal(fold_scale_create(g->model, &factors, 1, &fold, &et), ERR_UNSUPPORTED);
        assert_non_null(strstr(et.text, fold_scale_place_text(wanted)));
        assert_null(fold);
    }
    golden_family_close(g);
}

/* ---- norms that files store in 16 bits ---- */

/* Logits' error where gains are stored in 16 bits, with factors as they come or settled. */
static double stored_error(const struct golden_family *g, enum dtype dtype, bool settle)
{
    struct plan *plan = plan_create(g->model, false);
    size_t norms = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (settle)
            fold_scale_settle(g->model, plan->factors[i].site, dtype, plan->scales[i]);
    }
    struct changes changes = changes_of(g->model, plan);
    for (size_t i = 0; i < changes.count; i++) {
        uint16_t stored[COLUMNS_MAX];
        struct model_override *change = &changes.list[i];
        float *gains = arena_alloc(&changes.arena, change->rows, sizeof *gains);
        if (change->columns != 1 || strstr(change->name, ".weight") == NULL)
            continue;
        assert_true(gains != NULL && change->rows <= COLUMNS_MAX);
        block_encode(dtype, 1, change->rows, change->data, NULL, stored);
        dtype_decode(dtype, change->rows, stored, gains);
        change->data = gains;
        norms++;
    }
    assert_true(norms > 0);
    const struct train_row *row = &g->sequences[0].row;
    float *wanted = golden_family_logits(g->model, NULL, NULL, row);
    float *folded = logits_under(g->model, changes.list, changes.count, row);
    double worst = worst_of(g->model, row, wanted, folded);
    mem_free(wanted);
    mem_free(folded);
    mem_free(plan);
    arena_fini(&changes.arena);
    return worst;
}

static void test_fold_scale__settled_gains_lose_nothing_in_16_bits(void **state)
{
    static const char *const families[] = {"llama2", "gemma2", "phi2", "falcon-new", "qwen3"};
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families) * COUNT_OF(dtypes); i++) {
        struct golden_family *g = golden_family_open(families[i / 2]);
        double settled = stored_error(g, dtypes[i % 2], true);
        double plain = stored_error(g, dtypes[i % 2], false);
        print_message("%s, norms in %s: logits off by %.1e settled, %.1e as they come\n", g->name,
                      dtype_name(dtypes[i % 2]), settled, plain);
        assert_true(settled < LOGIT_ERROR_MAX && plain > 10 * settled);
        golden_family_close(g);
    }
}

static void test_fold_scale__what_cannot_settle_stays(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct plan *plan = plan_create(model, false);
    float kept[COLUMNS_MAX];
    memcpy(kept, plan->scales[1], sizeof kept); /* of o_proj, which no norm feeds */
    fold_scale_settle(model, plan->factors[1].site, DTYPE_BF16, plan->scales[1]);
    assert_memory_equal(plan->scales[1], kept, sizeof kept);
    plan->scales[0][2] = 1e9f; /* gains below and above what F16 holds */
    plan->scales[0][3] = 1e-9f;
    fold_scale_settle(model, plan->factors[0].site, DTYPE_F16, plan->scales[0]);
    assert_true(plan->scales[0][2] >= 1e9f && plan->scales[0][2] <= 1e9f);
    assert_true(plan->scales[0][3] >= 1e-9f && plan->scales[0][3] <= 1e-9f);
    mem_free(plan);
    model_destroy(&model);
}

/* ---- from GGUF files ---- */

static struct model *open_gguf(const char *family)
{
    struct convert_model_options options = {.format = CONVERT_PLAN_KEEP};
    struct convert_model_report report;
    struct model *model = NULL;
    char path[] = "/tmp/qfleet-fold-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    OK(convert_model_to_gguf(golden_family_path(0, family, ""), path, &options, &report, &et));
    OK(model_open(path, &model, &et));
    assert_int_equal(unlink(path), 0);
    return model;
}

/* Numbers of a parameter, whichever file it is in; gains as what they multiply with. */
static void check_values(const struct golden_family *g, const struct model *gguf, size_t param)
{
    const struct model_param *p = model_param(g->model, param);
    size_t count = p->rows * p->columns;
    float *ours = mem_alloc(count, sizeof *ours), *theirs = mem_alloc(count, sizeof *theirs);
    assert_true(ours != NULL && theirs != NULL);
    model_values_read(g->model, param, 0, p->rows, ours);
    size_t half = p->rows / 2; /* in two parts */
    model_values_read(gguf, param, 0, half, theirs);
    model_values_read(gguf, param, half, p->rows - half, theirs + half * p->columns);
    float more = p->kind == MODEL_KIND_GAIN
                     ? model_shape(g->model)->norm_offset - model_shape(gguf)->norm_offset
                     : 0;
    for (size_t i = 0; i < count; i++) {
        if (ours[i] + more < theirs[i] || ours[i] + more > theirs[i])
            fail_msg("%s: %s differs at %zu", g->name, p->name, i);
    }
    mem_free(ours);
    mem_free(theirs);
}

static void test_family__gguf_files_are_folded_like_folders(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    if (model_family(g->model)->linear == LINEAR_TERNARY) {
        golden_family_close(g);
        skip();
    }
    struct model *gguf = open_gguf(g->name);
    struct plan *plan = plan_create(gguf, false);
    for (size_t i = 0; i < model_param_count(g->model); i++) {
        if (model_param(g->model, i)->part.whole == MODEL_NO_PARAM)
            check_values(g, gguf, i);
    }
    check(gguf, plan, &g->sequences[0].row, LOGIT_ERROR_MAX);
    mem_free(plan);
    model_destroy(&gguf);
    golden_family_close(g);
}

/* ---- what is refused ---- */

static void refuse(const struct model *model, const struct fold_scale_factors *factors,
                   size_t count, const char *says)
{
    struct fold_scale *fold = NULL;
    assert_int_equal(fold_scale_create(model, factors, count, &fold, &et), ERR_DATA);
    assert_non_null(strstr(et.text, says));
    assert_null(fold);
}

static void test_fold_scale__bad_factors_are_refused(void **state)
{
    (void)state;
    static const float bad[] = {0, -1, NAN, INFINITY};
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct plan *plan = plan_create(model, false);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        float kept = plan->scales[1][3];
        plan->scales[1][3] = bad[i];
        refuse(model, plan->factors, plan->count, "of column 3");
        plan->scales[1][3] = kept;
    }
    plan->scales[1][0] *= 2; /* of o_proj: two query heads, one value head */
    refuse(model, plan->factors, plan->count, "o_proj: heads that share");
    plan->scales[1][0] /= 2;
    plan->factors[2] = plan->factors[0];
    refuse(model, plan->factors, plan->count, "q_proj: has factors twice");
    mem_free(plan);
    model_destroy(&model);
}

static void test_fold_scale__without_memory_there_is_none(void **state)
{
    (void)state;
    struct hf_config config = engine_data_config(false);
    struct model *model = engine_data_model(&config, 1);
    struct plan *plan = plan_create(model, false);
    struct fold_scale *fold = NULL;
    size_t faults = 0;
    for (enum err err = ERR_OUT_OF_MEMORY; err != ERR_OK; faults++) {
        assert_null(fold);
        (void)mem_fault_after(faults + 1);
        err = fold_scale_create(model, plan->factors, plan->count, &fold, &et);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
    }
    assert_true(faults > 2);
    fold_scale_destroy(&fold);
    mem_free(plan);
    model_destroy(&model);
}

#define TESTS(family)                                                                              \
    GOLDEN_TEST(the_folded_model_says_the_same, family),                                           \
        GOLDEN_TEST(powers_of_two_change_no_bit, family),                                          \
        GOLDEN_TEST(sites_left_alone_have_their_reason, family),                                   \
        GOLDEN_TEST(gguf_files_are_folded_like_folders, family),

int main(void)
{
    const struct CMUnitTest tests[] = {
        GOLDEN_FAMILIES(TESTS)
            cmocka_unit_test(test_fold_scale__settled_gains_lose_nothing_in_16_bits),
        cmocka_unit_test(test_fold_scale__what_cannot_settle_stays),
        cmocka_unit_test(test_fold_scale__bad_factors_are_refused),
        cmocka_unit_test(test_fold_scale__without_memory_there_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
