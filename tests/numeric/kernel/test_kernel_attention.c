/* test_kernel_attention.c - attention against a plain f64 softmax and its central differences: over
 * windows, groups of heads, soft caps, more than one block of keys, and the widest head.
 */
#include "worker/engine/kernel/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

/* Two samples, the second longer than a block of keys and than a block of queries. */
enum { FIRST = 5, T = 79, PARTS = 8 };

static const struct attention_segment segments[] = {{0, 0, FIRST, 0}, {FIRST, FIRST, T - FIRST, 0}};

enum { Q, K, VALUES, DOUT, OUT, DQ, DK, DV };

struct attention_case {
    size_t heads, kv_heads, width, window;
    float soft_cap;
    size_t step; /* every how many elements a slope is checked */
};

/* Weights of one query over the keys it sees; returns how many keys before it are unseen. */
static size_t weights_f64(const struct attention *a, const struct attention_segment *s, size_t t,
                          size_t head, size_t moved, double by, double *weight)
{
    size_t D = a->head_width, kv = head / (a->heads / a->kv_heads);
    size_t low = a->window != 0 && t + 1 > a->window ? t + 1 - a->window : 0;
    double sum = 0;
    for (size_t j = low; j <= t; j++) {
        size_t q = ((s->query_row + t) * a->heads + head) * D;
        size_t k = ((s->key_row + j) * a->kv_heads + kv) * D;
        double score = 0;
        for (size_t d = 0; d < D; d++) {
            double x = (double)a->q[q + d] + (moved == q + d ? by : 0);
            double y = (double)a->k[k + d] + (moved == T * a->heads * D + k + d ? by : 0);
            score += x * y;
        }
        score *= (double)a->scale;
        if (a->soft_cap > 0)
            score = (double)a->soft_cap * tanh(score / (double)a->soft_cap);
        weight[j] = exp(score);
        sum += weight[j];
    }
    for (size_t j = low; j <= t; j++)
        weight[j] /= sum;
    return low;
}

/* Sum of dout * attention, with element `moved` of [q k v] moved; writes the outputs too. */
static double attention_f64(const struct attention *a, const float *dout, size_t moved, double by,
                            double *out)
{
    size_t D = a->head_width, v_base = T * (a->heads + a->kv_heads) * D;
    double weight[T], total = 0;
    for (size_t i = 0; i < a->segment_count; i++) {
        const struct attention_segment *s = &a->segments[i];
        for (size_t t = 0; t < s->count; t++)
            for (size_t head = 0; head < a->heads; head++) {
                size_t low = weights_f64(a, s, t, head, moved, by, weight);
                size_t kv = head / (a->heads / a->kv_heads);
                for (size_t d = 0; d < D; d++) {
                    size_t at = ((s->query_row + t) * a->heads + head) * D + d;
                    double sum = 0;
                    for (size_t j = low; j <= t; j++) {
                        size_t v = ((s->key_row + j) * a->kv_heads + kv) * D + d;
                        sum += weight[j] * ((double)a->v[v] + (moved == v_base + v ? by : 0));
                    }
                    total += (double)dout[at] * sum;
                    if (out != NULL)
                        out[at] = sum;
                }
            }
    }
    return total;
}

static void check_slopes(const struct attention *a, size_t step, float *const part[PARTS])
{
    const double h = 1e-4;
    size_t q_count = T * a->heads * a->head_width, k_count = T * a->kv_heads * a->head_width;
    for (size_t i = 0; i < q_count + 2 * k_count; i += step) {
        double slope =
            (attention_f64(a, part[DOUT], i, h, NULL) - attention_f64(a, part[DOUT], i, -h, NULL)) /
            (2 * h);
        const float *got = i < q_count             ? &part[DQ][i]
                           : i < q_count + k_count ? &part[DK][i - q_count]
                                                   : &part[DV][i - q_count - k_count];
        if (fabs((double)*got - slope) > 2e-5 * (1 + fabs(slope)))
            fail_msg("window %zu, cap %g, element %zu: %g, not %g", a->window, (double)a->soft_cap,
                     i, (double)*got, slope);
    }
}

static void check_case(const struct attention_case *c)
{
    size_t most = T * c->heads * c->width;
    float *part[PARTS];
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 2, &kernel), ERR_OK);
    for (unsigned i = 0; i < PARTS; i++) {
        part[i] = mem_alloc(most, sizeof(float));
        assert_non_null(part[i]);
        for (size_t e = 0; i <= DOUT && e < most; e++)
            part[i][e] = random_normal_f32(i + 1, e);
    }
    float *stats = mem_alloc(T * c->heads * 2, sizeof(float));
    float *delta = mem_alloc(T * c->heads, sizeof(float));
    double *wanted = mem_alloc(most, sizeof(double));
    assert_true(stats != NULL && delta != NULL && wanted != NULL);
    const struct attention a = {.heads = c->heads,
                                .kv_heads = c->kv_heads,
                                .head_width = c->width,
                                .window = c->window,
                                .scale = 2 / sqrtf((float)c->width),
                                .soft_cap = c->soft_cap,
                                .segments = segments,
                                .segment_count = COUNT_OF(segments),
                                .q = part[Q],
                                .k = part[K],
                                .v = part[VALUES]};
    attention_forward(kernel, &a, part[OUT], stats);
    attention_backward(kernel, &a, part[OUT], stats, part[DOUT], delta, part[DQ], part[DK],
                       part[DV]);
    (void)attention_f64(&a, part[DOUT], SIZE_MAX, 0, wanted);
    for (size_t i = 0; i < most; i++)
        assert_true(fabs((double)part[OUT][i] - wanted[i]) < 5e-6);
    check_slopes(&a, c->step, part);
    for (unsigned i = 0; i < PARTS; i++)
        mem_free(part[i]);
    mem_free(stats);
    mem_free(delta);
    mem_free(wanted);
    kernel_destroy(&kernel);
}

static void test_attention__agrees_with_f64_and_central_differences(void **state)
{
    (void)state;
    static const struct attention_case cases[] = {{4, 2, 6, 0, 0, 37},
                                                  {4, 1, 6, 20, 0, 37},
                                                  {2, 2, 4, 0, 1.5f, 17},
                                                  {2, 1, 4, 9, 3, 17},
                                                  {2, 1, 8, 66, 0.5f, 37}};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static void test_attention__takes_the_widest_head_on_a_thread_of_the_pool(void **state)
{
    (void)state;
    check_case(&(struct attention_case){2, 1, ATTENTION_HEAD_WIDTH_MAX, 30, 4, 2503});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention__agrees_with_f64_and_central_differences),
        cmocka_unit_test(test_attention__takes_the_widest_head_on_a_thread_of_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
