/* test_engine_families.c - every family against the reference implementation.
 *
 * One golden model a family (tests/golden/families): logits, losses and adapter gradients as
 * transformers and PEFT computed them in float64. Beside these, that a step down the gradient
 * lowers the loss by what the gradient says, for an adapter and for every single parameter.
 *
 * The figures of README's table of families are printed here: ctest -R test_engine_families -V.
 */
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
#include "tests/numeric/engine/golden_family.h"

/* Logits differ by at most this, whatever their size: the largest of any family is below 8. */
static const double LOGIT_ERROR_MAX = 1e-4;
static const double LOSS_ERROR_MAX = 1e-5; /* of the loss */
static const double GRADIENT_ERROR_MAX = 1e-3;

enum { TARGETS_MAX = 64, NAME_BYTES = 128 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

static bool is_straight_through(const struct golden_family *g)
{
    return strncmp(g->name, "bitnet", strlen("bitnet")) == 0;
}

/* ---- logits and losses ---- */

static double logits_error(const struct golden_family *g, const struct golden_sequence *s)
{
    size_t V = model_shape(g->model)->vocabulary;
    float *logits = golden_family_logits(g->model, NULL, NULL, &s->row);
    double worst = 0;
    for (size_t i = 0; i < s->compared; i++) {
        for (size_t v = 0; v < V; v++) {
            double got = (double)logits[s->positions[i] * V + v];
            double error = fabs(got - (double)s->logits[i * V + v]);
            worst = error > worst || isnan(error) ? error : worst;
        }
    }
    mem_free(logits);
    return worst;
}

static double loss_of(const struct golden_family *g, const float *values, size_t n)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    struct train_result result;
    OK(train_create(g->model, kernel, g->layout, &options, &train));
    OK(train_evaluate(train, values, &g->sequences[n].row, 1, &result, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    return result.loss_sum;
}

static void test_family__logits_and_losses_are_those_of_the_reference(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++) {
        const struct golden_sequence *s = &g->sequences[n];
        double worst = logits_error(g, s);
        double base = loss_of(g, NULL, n) - s->base_loss;
        double adapter = loss_of(g, g->values, n) - s->adapter_loss;
        print_message("%s, %zu tokens: logits off by %.1e, losses by %.1e and %.1e\n", g->name,
                      s->row.token_count, worst, base, adapter);
        assert_true(worst < LOGIT_ERROR_MAX);
        assert_true(fabs(base) < LOSS_ERROR_MAX * s->base_loss);
        assert_true(fabs(adapter) < LOSS_ERROR_MAX * s->adapter_loss);
        assert_true(fabs(s->base_loss - s->adapter_loss) > 1e-2);
    }
    golden_family_close(g);
}

/* ---- gradients ---- */

/* Sums what train_rows yields, in f64. */
struct sum {
    size_t count;
    double loss;
    double *gradient;
};

static enum err add_leaf(void *context, size_t row, const struct train_result *result,
                         const float *gradient)
{
    struct sum *sum = context;
    (void)row;
    sum->loss += result->loss_sum;
    for (size_t i = 0; i < sum->count; i++)
        sum->gradient[i] += (double)gradient[i];
    return ERR_OK;
}

static struct sum gradient_of(const struct model *model, const struct train_layout *layout,
                              const float *values, const struct train_row *rows, size_t count)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 1);
    struct train_options options = {.rows_at_once = count};
    struct train *train = NULL;
    struct train_result results[GOLDEN_SEQUENCES];
    struct sum sum = {.count = train_layout_count(layout)};
    sum.gradient = mem_alloc(sum.count, sizeof *sum.gradient);
    assert_true(sum.gradient != NULL && count <= GOLDEN_SEQUENCES);
    OK(train_create(model, kernel, layout, &options, &train));
    OK(train_rows(train, values, 1, 2, rows, count, results, add_leaf, &sum, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    return sum;
}

/* Worst relative error of an entry: of its norm, and of an element, whose scale is its own size
 * but at least a hundredth of the entry's largest. */
static double entry_error(const struct train_entry *entry, const double *got, const float *wanted)
{
    double square = 0, error_square = 0, largest = 0, worst = 0;
    for (size_t i = entry->offset; i < entry->offset + entry->count; i++) {
        double w = (double)wanted[i];
        square += w * w;
        error_square += (got[i] - w) * (got[i] - w);
        largest = fmax(largest, fabs(w));
    }
    for (size_t i = entry->offset; i < entry->offset + entry->count; i++) {
        double w = (double)wanted[i];
        worst = fmax(worst, fabs(got[i] - w) / fmax(fabs(w), 0.01 * largest));
    }
    double error = fmax(sqrt(error_square / square), worst);
    return isnan(error_square) ? INFINITY : error;
}

static void test_family__adapter_gradients_are_those_of_the_reference(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct train_row rows[GOLDEN_SEQUENCES];
    golden_family_rows(g, rows);
    struct sum sum = gradient_of(g->model, g->layout, g->values, rows, GOLDEN_SEQUENCES);
    double worst = 0;
    for (size_t e = 0; e < train_layout_entry_count(g->layout); e++) {
        const struct train_entry *entry = train_layout_entry(g->layout, e);
        double error = entry_error(entry, sum.gradient, g->gradients);
        if (!(error < GRADIENT_ERROR_MAX))
            fail_msg("%s: %s is off by %.1e", g->name, entry->name, error);
        worst = fmax(worst, error);
    }
    print_message("%s: gradients off by %.1e of themselves at worst\n", g->name, worst);
    mem_free(sum.gradient);
    golden_family_close(g);
}

/* Loss after a move of values[first..first + count) along the gradient that would change it by
 * `change` if the loss were linear. */
static double loss_after(const struct model *model, const struct train_layout *layout,
                         const float *values, const struct sum *sum, size_t first, size_t count,
                         double change, const struct train_row *rows)
{
    float *moved = mem_alloc(sum->count, sizeof *moved);
    double square = 0;
    assert_non_null(moved);
    memcpy(moved, values, sum->count * sizeof *moved);
    for (size_t i = first; i < first + count; i++)
        square += sum->gradient[i] * sum->gradient[i];
    assert_true(square > 0);
    for (size_t i = first; i < first + count; i++)
        moved[i] = (float)((double)moved[i] + change * sum->gradient[i] / square);
    struct sum after = gradient_of(model, layout, moved, rows, GOLDEN_SEQUENCES);
    mem_free(after.gradient);
    mem_free(moved);
    return after.loss;
}

static void test_family__a_step_lowers_the_loss(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct train_row rows[GOLDEN_SEQUENCES];
    golden_family_rows(g, rows);
    struct sum sum = gradient_of(g->model, g->layout, g->values, rows, GOLDEN_SEQUENCES);
    double change = -2e-3 * sum.loss;
    double after =
        loss_after(g->model, g->layout, g->values, &sum, 0, sum.count, change, rows) - sum.loss;
    print_message("%s: the loss changes by %.4f, the gradient says %.4f\n", g->name, after, change);
    assert_true(after < 0);
    assert_true(is_straight_through(g) || fabs(after - change) < 0.3 * fabs(change));
    mem_free(sum.gradient);
    golden_family_close(g);
}

/* What the loss changes by, of what `entry`'s gradient says, from five points: the third derivative
 * drops out, which is large where a gradient is small and the step therefore long. */
static double measured_slope(const struct model *model, const struct train_layout *layout,
                             const float *values, const struct sum *sum,
                             const struct train_entry *entry, const struct train_row *rows)
{
    static const double steps[] = {0.08, -0.08, 0.16, -0.16}, weights[] = {8, -8, -1, 1};
    double slope = 0;
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        slope +=
            weights[i] / (12 * steps[0]) *
            loss_after(model, layout, values, sum, entry->offset, entry->count, steps[i], rows);
    return slope;
}

/* Differences along each entry's own gradient. */
static void check_slopes(const struct golden_family *g, const struct train_layout *layout,
                         const float *values)
{
    struct train_row rows[GOLDEN_SEQUENCES];
    golden_family_rows(g, rows);
    struct sum sum = gradient_of(g->model, layout, values, rows, GOLDEN_SEQUENCES);
    double worst = 0;
    for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
        const struct train_entry *entry = train_layout_entry(layout, e);
        double slope = measured_slope(g->model, layout, values, &sum, entry, rows);
        double error = fabs(slope - 1);
        if (!(error < 2e-3))
            fail_msg("%s: %s: the loss changes by %g of what its gradient says", g->name,
                     entry->name, slope);
        worst = fmax(worst, error);
    }
    print_message("%s: %zu parameters, worst %.1e\n", g->name, train_layout_entry_count(layout),
                  worst);
    mem_free(sum.gradient);
}

/* Embeddings, positions, gains, biases and matrices, each for itself. Rounding has no gradient, so
 * that this cannot hold for BitNet. */
static void test_family__every_parameter_has_its_gradient(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    if (is_straight_through(g)) {
        golden_family_close(g);
        skip();
    }
    struct train_config config = {.method = TRAIN_METHOD_FULL};
    struct train_layout *layout = NULL;
    OK(train_layout_create(g->model, &config, &layout, &et));
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    assert_non_null(values);
    train_layout_values(layout, 1, values);
    check_slopes(g, layout, values);
    mem_free(values);
    train_layout_destroy(&layout);
    golden_family_close(g);
}

/* "all-linear" and the names of all parts of fused modules. */
static size_t list_modules(const struct model *model, char names[TARGETS_MAX][NAME_BYTES],
                           const char *targets[TARGETS_MAX])
{
    size_t count = 0;
    targets[count++] = "all-linear";
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        if (p->part.whole == MODEL_NO_PARAM)
            continue;
        assert_true(count < TARGETS_MAX);
        (void)snprintf(names[count], NAME_BYTES, "%.*s", (int)(strlen(p->name) - strlen(".weight")),
                       p->name);
        targets[count] = names[count];
        count++;
    }
    return count;
}

/* Fused modules have an adapter of their own and one on each of their parts. */
static void test_family__adapters_with_dropout_have_their_gradients(void **state)
{
    static char names[TARGETS_MAX][NAME_BYTES];
    const char *targets[TARGETS_MAX];
    struct golden_family *g = golden_family_of_test(state);
    if (is_straight_through(g)) {
        golden_family_close(g);
        skip();
    }
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = GOLDEN_RANK,
                                  .alpha = GOLDEN_ALPHA,
                                  .dropout = 0.3,
                                  .targets = targets,
                                  .target_count = list_modules(g->model, names, targets)};
    struct train_layout *layout = NULL;
    OK(train_layout_create(g->model, &config, &layout, &et));
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    assert_non_null(values);
    train_layout_values(layout, 1, values);
    for (size_t i = 0; i < train_layout_count(layout); i++) /* so that B is not zero */
        values[i] += 0.2f * (random_uniform_f32(99, i) - 0.5f);
    check_slopes(g, layout, values);
    mem_free(values);
    train_layout_destroy(&layout);
    golden_family_close(g);
}

/* Of both sequences; `values` NULL: of the model alone. */
static double evaluated(const struct model *model, const struct train_layout *layout,
                        const float *values, const struct train_row *rows)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct train_options options = {.rows_at_once = GOLDEN_SEQUENCES};
    struct train_result results[GOLDEN_SEQUENCES];
    struct train *train = NULL;
    OK(train_create(model, kernel, layout, &options, &train));
    OK(train_evaluate(train, values, rows, GOLDEN_SEQUENCES, results, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    return results[0].loss_sum + results[1].loss_sum;
}

/* Bottlenecks at every place, and a prompt: in whatever order the family adds its branches. A
 * bottleneck changes nothing at first. */
static void test_family__bottlenecks_and_prompts_have_their_gradients(void **state)
{
    static const struct train_config configs[] = {
        {.method = TRAIN_METHOD_HOULSBY, .reduction = 4, .act = KERNEL_ACT_SILU, .scaling = 1},
        {.method = TRAIN_METHOD_PFEIFFER, .reduction = 2, .act = KERNEL_ACT_SILU, .scaling = 2},
        {.method = TRAIN_METHOD_PARALLEL, .reduction = 2, .act = KERNEL_ACT_SILU, .scaling = 4},
        {.method = TRAIN_METHOD_PROMPT, .prompt_count = 3},
    };
    struct golden_family *g = golden_family_of_test(state);
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        struct train_row rows[GOLDEN_SEQUENCES];
        struct train_layout *layout = NULL;
        OK(train_layout_create(g->model, &configs[i], &layout, &et));
        float *values = mem_alloc(train_layout_count(layout), sizeof *values);
        assert_non_null(values);
        train_layout_values(layout, 1, values);
        golden_family_rows(g, rows);
        if (configs[i].method != TRAIN_METHOD_PROMPT)
            assert_true(fabs(evaluated(g->model, layout, values, rows) -
                             evaluated(g->model, layout, NULL, rows)) < 1e-4);
        for (size_t v = 0; v < train_layout_count(layout); v++)
            values[v] += 0.2f * (random_uniform_f32(99, v) - 0.5f);
        if (!is_straight_through(g))
            check_slopes(g, layout, values);
        mem_free(values);
        train_layout_destroy(&layout);
    }
    golden_family_close(g);
}

#define TESTS(family)                                                                              \
    GOLDEN_TEST(logits_and_losses_are_those_of_the_reference, family),                             \
        GOLDEN_TEST(adapter_gradients_are_those_of_the_reference, family),                         \
        GOLDEN_TEST(a_step_lowers_the_loss, family),                                               \
        GOLDEN_TEST(every_parameter_has_its_gradient, family),                                     \
        GOLDEN_TEST(adapters_with_dropout_have_their_gradients, family),                           \
        GOLDEN_TEST(bottlenecks_and_prompts_have_their_gradients, family),

int main(void)
{
    const struct CMUnitTest tests[] = {GOLDEN_FAMILIES(TESTS)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
