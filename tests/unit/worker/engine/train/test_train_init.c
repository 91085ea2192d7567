/* test_train_init.c - adapters that start from the weights they adapt. */
#include "worker/engine/train/train_init.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model_values.h"

static const char *const all_linear[] = {"all-linear"};

static struct hf_config small_config(const char *type)
{
    struct hf_config config = {.vocab_size = 40,
                               .hidden_size = 24,
                               .intermediate_size = 36,
                               .num_hidden_layers = 2,
                               .num_attention_heads = 4,
                               .num_key_value_heads = 2,
                               .head_dim = 6,
                               .max_position_embeddings = 32,
                               .norm_eps = 1e-5,
                               .rope_theta = 10000,
                               .partial_rotary_factor = 1,
                               .initializer_range = 0.1};
    memcpy(config.model_type, type, strlen(type) + 1);
    return config;
}

/* A model, one that differs from it, and the adapters of the first. */
struct start {
    struct model *model, *stored;
    struct train_layout *layout;
    float *values;
    struct kernel *kernel;
};

static void start_init(struct start *s, const char *type, const char *const *targets,
                       unsigned threads, enum kernel_isa isa)
{
    const struct hf_config config = small_config(type);
    const struct train_config train = {
        .method = TRAIN_METHOD_LORA, .rank = 4, .alpha = 6, .targets = targets, .target_count = 1};
    assert_int_equal(model_create_random(&config, 1, &s->model, NULL), ERR_OK);
    assert_int_equal(model_create_random(&config, 2, &s->stored, NULL), ERR_OK);
    assert_int_equal(train_layout_create(s->model, &train, &s->layout, NULL), ERR_OK);
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, isa, threads, &s->kernel), ERR_OK);
    s->values = mem_alloc(train_layout_count(s->layout), sizeof *s->values);
    assert_non_null(s->values);
    train_layout_values(s->layout, 5, s->values);
}

static void start_fini(struct start *s)
{
    mem_free(s->values);
    kernel_destroy(&s->kernel);
    train_layout_destroy(&s->layout);
    model_destroy(&s->stored);
    model_destroy(&s->model);
}

static void run(struct start *s, enum train_init init, const struct model *stored)
{
    const struct train_init_options options = {.init = init, .seed = 5, .stored = stored};
    assert_int_equal(train_init_values(s->layout, s->kernel, &options, s->values, NULL), ERR_OK);
}

/* Element (row, column) of scale B A. */
static double product_at(const struct start *s, const struct binding_adapter *a, size_t columns,
                         size_t row, size_t column)
{
    double sum = 0;
    for (size_t k = 0; k < a->rank; k++)
        sum += (double)s->values[a->b_offset + row * a->rank + k] *
               (double)s->values[a->a_offset + k * columns + column];
    return sum * (double)a->scale;
}

/* Squares of w, and of what scale B A leaves of it; the parts of modules at their rows. */
static void measure(const struct start *s, const struct model *stored, bool subtracts, size_t param,
                    double *whole, double *rest)
{
    const struct model_param *p = model_param(s->model, param);
    const struct binding_adapter *a = &train_layout_binding(s->layout)->slots[param].adapter;
    bool is_part = p->part.whole != MODEL_NO_PARAM;
    size_t from = is_part ? (size_t)p->part.whole : param;
    float w[64], q[64];
    assert_true(p->columns <= COUNT_OF(w));
    *whole = *rest = 0;
    for (size_t r = 0; r < p->rows; r++) {
        size_t at =
            is_part ? p->part.first + r / p->part.run * p->part.stride + r % p->part.run : r;
        model_values_read(stored, from, at, 1, w);
        model_values_read(s->model, from, at, 1, q);
        for (size_t c = 0; c < p->columns; c++) {
            double value = (double)w[c] - (subtracts ? (double)q[c] : 0);
            double left = value - product_at(s, a, p->columns, r, c);
            *whole += value * value;
            *rest += left * left;
        }
    }
}

static void check_factors(const char *type, enum train_init init)
{
    struct start s;
    start_init(&s, type, all_linear, 1, KERNEL_ISA_BEST);
    run(&s, init, s.stored);
    const struct binding *binding = train_layout_binding(s.layout);
    size_t seen = 0;
    for (size_t i = 0; i < binding->slot_count; i++) {
        double whole, rest;
        if (binding->slots[i].adapter.rank == 0)
            continue;
        measure(&s, s.stored, init == TRAIN_INIT_LOFTQ, i, &whole, &rest);
        /* Four directions of a random matrix of side 12 or 24 hold 30 to 65% of its squares. */
        if (!(rest < 0.8 * whole && rest > 0.2 * whole))
            fail_msg("%s: %s: %g of %g left", type, model_param(s.model, i)->name, rest, whole);
        seen++;
    }
    assert_true(seen >= 8);
    start_fini(&s);
}

static void test_train_init__factors_take_the_largest_part_of_the_weights(void **state)
{
    (void)state;
    check_factors("llama", TRAIN_INIT_PISSA);
    check_factors("phi3", TRAIN_INIT_PISSA); /* modules in one */
}

static void test_train_init__factors_give_back_what_quantizing_took(void **state)
{
    (void)state;
    check_factors("llama", TRAIN_INIT_LOFTQ);
}

/* The factors share the values evenly: rows of A are orthogonal, as columns of B are, and as long.
 */
static void test_train_init__both_factors_have_the_roots_of_the_values(void **state)
{
    static const char *const one[] = {"layers.1.mlp.up_proj"};
    struct start s;
    (void)state;
    start_init(&s, "llama", one, 1, KERNEL_ISA_BEST);
    run(&s, TRAIN_INIT_PISSA, s.model);
    size_t param = (size_t)model_param_index(s.model, MODEL_UP, 1);
    const struct model_param *p = model_param(s.model, param);
    const struct binding_adapter *a = &train_layout_binding(s.layout)->slots[param].adapter;
    double last = INFINITY;
    for (size_t i = 0; i < a->rank; i++) {
        for (size_t j = 0; j <= i; j++) {
            double in_a = 0, in_b = 0;
            for (size_t c = 0; c < p->columns; c++)
                in_a += (double)s.values[a->a_offset + i * p->columns + c] *
                        (double)s.values[a->a_offset + j * p->columns + c];
            for (size_t r = 0; r < p->rows; r++)
                in_b += (double)s.values[a->b_offset + r * a->rank + i] *
                        (double)s.values[a->b_offset + r * a->rank + j];
            assert_true(i == j ? fabs(in_a - in_b) < 1e-6 * in_a : fabs(in_a) + fabs(in_b) < 1e-6);
            if (i == j) {
                assert_true(in_a < last);
                last = in_a;
            }
        }
    }
    start_fini(&s);
}

static void test_train_init__gaussian_has_its_deviation_and_adds_nothing(void **state)
{
    struct start s;
    (void)state;
    start_init(&s, "llama", all_linear, 1, KERNEL_ISA_BEST);
    run(&s, TRAIN_INIT_GAUSSIAN, s.model);
    double squares = 0;
    size_t count = 0;
    for (size_t i = 0; i < train_layout_entry_count(s.layout); i++) {
        const struct train_entry *e = train_layout_entry(s.layout, i);
        for (size_t k = 0; k < e->count; k++) {
            double value = (double)s.values[e->offset + k];
            assert_true(e->part == TRAIN_PART_A || !(fabs(value) > 0));
            squares += value * value;
        }
        count += e->part == TRAIN_PART_A ? e->count : 0;
    }
    assert_true(fabs(sqrt(squares / (double)count) - 0.25) < 0.02);
    start_fini(&s);
}

static void test_train_init__a_direction_of_no_size_can_still_train(void **state)
{
    struct start s, usual;
    (void)state;
    start_init(&s, "llama", all_linear, 1, KERNEL_ISA_BEST);
    start_init(&usual, "llama", all_linear, 1, KERNEL_ISA_BEST);
    run(&s, TRAIN_INIT_LOFTQ, s.model); /* quantizing took nothing */
    assert_memory_equal(s.values, usual.values, train_layout_count(s.layout) * sizeof *s.values);
    start_fini(&s);
    start_fini(&usual);
}

static void test_train_init__bits_do_not_depend_on_threads_or_instructions(void **state)
{
    static const enum train_init inits[] = {TRAIN_INIT_GAUSSIAN, TRAIN_INIT_PISSA,
                                            TRAIN_INIT_LOFTQ};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(inits); i++) {
        struct start a, b;
        start_init(&a, "llama", all_linear, 1, KERNEL_ISA_BEST);
        start_init(&b, "llama", all_linear, 3, KERNEL_ISA_PORTABLE);
        run(&a, inits[i], a.stored);
        run(&b, inits[i], b.stored);
        assert_memory_equal(a.values, b.values, train_layout_count(a.layout) * sizeof *a.values);
        start_fini(&a);
        start_fini(&b);
    }
}

static enum err stop_at_second(void *context, size_t done, size_t total)
{
    *(size_t *)context = total;
    return done == 2 ? ERR_CANCELLED : ERR_OK;
}

static void test_train_init__stops_when_it_is_told_to(void **state)
{
    struct start s;
    size_t total = 0;
    (void)state;
    start_init(&s, "llama", all_linear, 1, KERNEL_ISA_BEST);
    const struct train_init_options options = {.init = TRAIN_INIT_PISSA,
                                               .stored = s.stored,
                                               .progress = stop_at_second,
                                               .context = &total};
    assert_int_equal(train_init_values(s.layout, s.kernel, &options, s.values, NULL),
                     ERR_CANCELLED);
    assert_int_equal(total, 14);
    start_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_init__factors_take_the_largest_part_of_the_weights),
        cmocka_unit_test(test_train_init__factors_give_back_what_quantizing_took),
        cmocka_unit_test(test_train_init__both_factors_have_the_roots_of_the_values),
        cmocka_unit_test(test_train_init__gaussian_has_its_deviation_and_adds_nothing),
        cmocka_unit_test(test_train_init__a_direction_of_no_size_can_still_train),
        cmocka_unit_test(test_train_init__bits_do_not_depend_on_threads_or_instructions),
        cmocka_unit_test(test_train_init__stops_when_it_is_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
