/* test_linear_quant.c - one linear module under a quantizer against its definition in double: what
 * the product sees of its input and its weight, and that gradients pass both roundings.
 *
 *   y = s W' x'     dx = s dy W'     dW = dy^T x'     dA = a B^T dW     dB = a dW A^T
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
#include "worker/engine/nn/linear.h"

enum { TOKENS = 12, IN = 20, OUT = 28, RANK = 3, ROWS = 2 };

static struct err_text et;

static const char *const modules[] = {"up_proj"};
static const struct train_config full = {.method = TRAIN_METHOD_FULL};
static const struct train_config lora = {
    .method = TRAIN_METHOD_LORA, .rank = RANK, .alpha = 6, .targets = modules, .target_count = 1};

static void fill(float *values, size_t count, uint64_t key)
{
    for (size_t i = 0; i < count; i++)
        values[i] = random_uniform_f32(key, i) - 0.5f;
}

/* ---- the definition ---- */

/* x' of one token. */
static void round_token(const struct pass_weight *w, const float *x, double *out)
{
    double largest = 0;
    for (size_t i = 0; i < IN; i++)
        largest = fmax(largest, fabs((double)x[i]));
    for (size_t i = 0; i < IN; i++) {
        double v = (double)x[i], step = largest / (w->rounding == PASS_ROUNDING_INT8 ? 127 : 127.5);
        double rounded = w->rounding == PASS_ROUNDING_NONE
                             ? v
                             : step * fmax(-128, fmin(127, nearbyint(v / step)));
        out[i] = (double)w->rounded_part * rounded + (1 - (double)w->rounded_part) * v;
    }
}

struct oracle {
    double x[TOKENS][IN], y[TOKENS][OUT], dx[TOKENS][IN];
    double dw[ROWS][OUT][IN], da[ROWS][RANK][IN], db[ROWS][OUT][RANK];
};

static void sum_adapter(struct oracle *o, size_t r, const float *a, const float *b, double scale)
{
    for (size_t n = 0; n < OUT; n++) {
        for (size_t i = 0; i < IN; i++) {
            for (size_t k = 0; k < RANK; k++) {
                o->da[r][k][i] += scale * o->dw[r][n][i] * (double)b[n * RANK + k];
                o->db[r][n][k] += scale * o->dw[r][n][i] * (double)a[k * IN + i];
            }
        }
    }
}

/* Rows are halves of the tokens. */
static void compute(struct oracle *o, const struct pass_weight *w, const float *x, const float *dy)
{
    const float *data = w->data;
    memset(o, 0, sizeof *o);
    for (size_t t = 0; t < TOKENS; t++) {
        round_token(w, x + t * IN, o->x[t]);
        for (size_t n = 0; n < OUT; n++) {
            double d = (double)dy[t * OUT + n];
            for (size_t i = 0; i < IN; i++) {
                o->y[t][n] += (double)w->scale * (double)data[n * IN + i] * o->x[t][i];
                o->dx[t][i] += (double)w->scale * (double)data[n * IN + i] * d;
                o->dw[t / (TOKENS / ROWS)][n][i] += d * o->x[t][i];
            }
        }
    }
}

static void near(const char *what, const float *got, const double *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!(fabs((double)got[i] - wanted[i]) < 1e-5))
            fail_msg("%s: element %zu: %g, expected %g", what, i, (double)got[i], wanted[i]);
    }
}

/* ---- the module ---- */

struct bench {
    struct model *model;
    struct kernel *kernel;
    struct train_layout *layout;
    struct batch batch;
    size_t count, param;
    float *values, *gradients[ROWS];
    struct pass_weight *weights;
    float data[OUT * IN], x[TOKENS * IN], dy[TOKENS * OUT], mid[TOKENS * RANK];
    float scratch[TOKENS * OUT], scratch_mid[TOKENS * RANK];
};

static void add_row(struct bench *b, uint64_t index)
{
    static const uint32_t tokens[TOKENS / ROWS] = {1, 2, 3, 4, 5, 6}, start = 0;
    const struct batch_limits limits = {.vocabulary = 50, .positions = 64};
    const struct batch_input input = {.index = index,
                                      .tokens = tokens,
                                      .token_count = TOKENS / ROWS,
                                      .segment_starts = &start,
                                      .segment_count = 1};
    assert_int_equal(batch_add(&b->batch, &input, &limits, &et), ERR_OK);
}

static struct bench *bench_open(const struct train_config *config)
{
    struct hf_config shape = engine_data_config(true);
    struct bench *b = mem_alloc(1, sizeof *b);
    b->model = engine_data_model(&shape, 3);
    b->kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    assert_int_equal(train_layout_create(b->model, config, &b->layout, &et), ERR_OK);
    b->count = train_layout_count(b->layout);
    b->param = (size_t)model_param_index(b->model, MODEL_UP, 1);
    assert_int_equal(model_param(b->model, b->param)->rows, OUT);
    assert_int_equal(model_param(b->model, b->param)->columns, IN);
    b->values = mem_alloc(b->count, sizeof *b->values);
    for (size_t r = 0; r < ROWS; r++)
        b->gradients[r] = mem_alloc(b->count, sizeof(float));
    b->weights = mem_alloc(model_param_count(b->model), sizeof *b->weights);
    fill(b->values, b->count, 1);
    fill(b->data, OUT * IN, 2);
    fill(b->x, TOKENS * IN, 3);
    fill(b->dy, TOKENS * OUT, 4);
    assert_int_equal(batch_init(&b->batch, TOKENS, ROWS), ERR_OK);
    for (size_t r = 0; r < ROWS; r++)
        add_row(b, r);
    return b;
}

static void bench_close(struct bench *b)
{
    batch_fini(&b->batch);
    for (size_t r = 0; r < ROWS; r++)
        mem_free(b->gradients[r]);
    mem_free(b->values);
    mem_free(b->weights);
    train_layout_destroy(&b->layout);
    kernel_destroy(&b->kernel);
    model_destroy(&b->model);
    mem_free(b);
}

static void check_gradients(const struct bench *b, struct oracle *o)
{
    const struct binding_slot *slot = &train_layout_binding(b->layout)->slots[b->param];
    for (size_t r = 0; r < ROWS; r++) {
        const float *at = b->gradients[r];
        if (slot->weight_offset != BINDING_NONE) {
            near("dW", at + slot->weight_offset, &o->dw[r][0][0], OUT * IN);
            continue;
        }
        size_t a_offset = slot->adapter.a_offset, b_offset = slot->adapter.b_offset;
        sum_adapter(o, r, b->values + a_offset, b->values + b_offset, (double)slot->adapter.scale);
        near("dA", at + a_offset, &o->da[r][0][0], RANK * IN);
        near("dB", at + b_offset, &o->db[r][0][0], OUT * RANK);
    }
}

static void check_module(const struct train_config *config, struct pass_weight weight)
{
    struct bench *b = bench_open(config);
    struct oracle *o = mem_alloc(1, sizeof *o);
    float y[TOKENS * OUT], dx[TOKENS * IN];
    weight.data = b->data;
    weight.dtype = DTYPE_F32;
    weight.merged = true;
    b->weights[b->param] = weight;
    const struct pass pass = {.model = b->model,
                              .kernel = b->kernel,
                              .binding = train_layout_binding(b->layout),
                              .values = b->values,
                              .weights = b->weights,
                              .batch = &b->batch,
                              .dropout = true,
                              .gradients = b->gradients,
                              .scratch = b->scratch,
                              .scratch_mid = b->scratch_mid};
    compute(o, &weight, b->x, b->dy);
    linear_forward(&pass, b->param, b->x, b->mid, y, false);
    linear_backward(&pass, b->param, b->x, b->mid, b->dy, dx, false);
    near("y", y, &o->y[0][0], TOKENS * OUT);
    near("dx", dx, &o->dx[0][0], TOKENS * IN);
    check_gradients(b, o);
    mem_free(o);
    bench_close(b);
}

static void check_roundings(const struct train_config *config)
{
    static const enum pass_rounding roundings[] = {PASS_ROUNDING_NONE, PASS_ROUNDING_INT8,
                                                   PASS_ROUNDING_GRID8};
    for (size_t i = 0; i < COUNT_OF(roundings); i++) {
        struct pass_weight weight = {.scale = 1, .rounding = roundings[i], .rounded_part = 1};
        check_module(config, weight);
        weight.scale = 0.375f;
        check_module(config, weight);
        weight.rounded_part = 0.25f;
        check_module(config, weight);
    }
}

static void test_linear__a_weight_under_a_quantizer(void **state)
{
    (void)state;
    check_roundings(&full);
}

static void test_linear__an_adapter_inside_a_quantized_weight(void **state)
{
    (void)state;
    check_roundings(&lora);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__a_weight_under_a_quantizer),
        cmocka_unit_test(test_linear__an_adapter_inside_a_quantized_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
