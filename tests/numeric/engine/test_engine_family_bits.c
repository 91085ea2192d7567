/* test_engine_family_bits.c - what must not change a bit, and what is the same by another way, for
 * every family: threads, instruction sets, rows at once, checkpointing, packing, the cache of keys
 * and values, and an adapter on a part of a fused module against the same on the whole.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "worker/engine/generate/generate.h"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

struct setup {
    enum kernel_isa isa;
    unsigned threads;
    size_t rows_at_once;
    bool checkpointing;
};

struct chain {
    struct digest digest;
    size_t count;
};

static enum err link_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    struct chain *chain = context;
    (void)row;
    struct span sums = {(const uint8_t *)result, sizeof *result};
    struct span values = {(const uint8_t *)gradient, chain->count * sizeof *gradient};
    chain->digest = digest_link(digest_link(chain->digest, sums), values);
    return ERR_OK;
}

/* Digest of losses and gradients; false when this machine lacks the instruction set. */
static bool run(const struct golden_family *g, struct setup setup, struct digest *out)
{
    struct kernel *kernel = engine_data_kernel(setup.isa, setup.threads);
    if (kernel == NULL)
        return false;
    struct train_options options = {.rows_at_once = setup.rows_at_once,
                                    .checkpointing = setup.checkpointing};
    struct train_row rows[GOLDEN_SEQUENCES];
    struct train *train = NULL;
    struct train_result results[GOLDEN_SEQUENCES];
    struct chain chain = {.count = g->count};
    golden_family_rows(g, rows);
    OK(train_create(g->model, kernel, g->layout, &options, &train));
    OK(train_rows(train, g->values, 1, 2, rows, GOLDEN_SEQUENCES, results, link_leaf, &chain, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    *out = chain.digest;
    return true;
}

static void test_family__bits_depend_on_nothing_else(void **state)
{
    static const struct setup setups[] = {
        {KERNEL_ISA_PORTABLE, 1, 1, false}, {KERNEL_ISA_AVX2, 2, 2, true},
        {KERNEL_ISA_AVX512, 1, 2, false},   {KERNEL_ISA_BEST, 2, 1, false},
        {KERNEL_ISA_BEST, 2, 2, true},
    };
    struct golden_family *g = golden_family_of_test(state);
    struct digest wanted, got;
    assert_true(run(g, (struct setup){KERNEL_ISA_BEST, 1, 1, false}, &wanted));
    for (size_t i = 0; i < COUNT_OF(setups); i++) {
        if (!run(g, setups[i], &got))
            print_message("skipped: setup %zu: this processor lacks the instruction set\n", i);
        else if (!digest_equal(wanted, got))
            fail_msg("%s: setup %zu: other bits", g->name, i);
    }
    golden_family_close(g);
}

static void test_family__a_packed_sample_has_the_logits_it_has_alone(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct golden_packed *packed = mem_alloc(1, sizeof *packed);
    size_t V = model_shape(g->model)->vocabulary;
    golden_family_pack(g, packed);
    float *together = golden_family_logits(g->model, g->layout, g->values, &packed->row);
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++) {
        const struct train_row *row = &g->sequences[n].row;
        float *alone = golden_family_logits(g->model, g->layout, g->values, row);
        assert_memory_equal(together + packed->starts[n] * V, alone,
                            row->token_count * V * sizeof *alone);
        mem_free(alone);
    }
    mem_free(together);
    mem_free(packed);
    golden_family_close(g);
}

/* Whether the last logits of a pass over the first `count` tokens are these. */
static bool ends_in(const struct golden_family *g, const struct train_row *row, size_t count,
                    const float *logits)
{
    size_t V = model_shape(g->model)->vocabulary;
    struct train_row first = *row;
    first.token_count = count;
    float *all = golden_family_logits(g->model, g->layout, g->values, &first);
    bool equal = memcmp(all + (count - 1) * V, logits, V * sizeof *all) == 0;
    mem_free(all);
    return equal;
}

/* The cache fed by pieces of one size; logits after each piece are rows of the full pass. A model
 * that rotates long samples otherwise is compared with the pass over the tokens so far; `wanted` is
 * such a pass for the last of them. */
static void check_cache(const struct golden_family *g, const struct train_row *row, size_t piece,
                        const float *wanted)
{
    size_t V = model_shape(g->model)->vocabulary;
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct generate *generate = NULL;
    assert_int_equal(generate_create(g->model, kernel, train_layout_binding(g->layout), g->values,
                                     row->token_count, &generate),
                     ERR_OK);
    for (size_t done = 0; done < row->token_count;) {
        size_t count = MIN(piece, row->token_count - done);
        const float *got;
        OK(generate_feed(generate, row->tokens + done, count, &got, &et));
        done += count;
        bool is_prefix = done <= model_shape(g->model)->positions_short;
        bool equal = is_prefix ? ends_in(g, row, done, got)
                               : memcmp(got, wanted + (done - 1) * V, V * sizeof *got) == 0;
        if (!equal)
            fail_msg("%s: other logits after %zu tokens in pieces of %zu", g->name, done, piece);
    }
    generate_destroy(&generate);
    kernel_destroy(&kernel);
}

static void test_family__cached_logits_are_those_of_the_full_pass(void **state)
{
    static const size_t pieces[] = {1, 5, 70};
    struct golden_family *g = golden_family_of_test(state);
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++) {
        const struct train_row *row = &g->sequences[n].row;
        float *wanted = golden_family_logits(g->model, g->layout, g->values, row);
        for (size_t p = 0; p < COUNT_OF(pieces); p++)
            check_cache(g, row, pieces[p], wanted);
        mem_free(wanted);
    }
    golden_family_close(g);
}

/* ---- parts of fused modules ---- */

static struct train_layout *layout_of(const struct golden_family *g, const char *target)
{
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = GOLDEN_RANK,
                                  .alpha = GOLDEN_ALPHA,
                                  .targets = &target,
                                  .target_count = 1};
    struct train_layout *layout = NULL;
    OK(train_layout_create(g->model, &config, &layout, &et));
    assert_int_equal(train_layout_entry_count(layout), 2);
    return layout;
}

/* The module's name: the parameter's without ".weight". */
static void module_name(const struct model_param *p, char *out, size_t size)
{
    (void)snprintf(out, size, "%.*s", (int)(strlen(p->name) - strlen(".weight")), p->name);
}

/* Rows of the part's B (entry 1, after A) to the places in B of the fused module that they are. */
static void place_rows(const struct model_param *p, const float *from, float *to)
{
    for (size_t r = 0; r < p->rows; r++) {
        size_t row = p->part.first + r / p->part.run * p->part.stride + r % p->part.run;
        memcpy(to + row * GOLDEN_RANK, from + r * GOLDEN_RANK, GOLDEN_RANK * sizeof *to);
    }
}

/* An adapter on the part, and one on the fused module with the same A and B zero elsewhere. */
static double part_difference(const struct golden_family *g, const struct model_param *p)
{
    char part_name[128], whole_name[128];
    module_name(p, part_name, sizeof part_name);
    module_name(model_param(g->model, (size_t)p->part.whole), whole_name, sizeof whole_name);
    struct train_layout *part = layout_of(g, part_name), *whole = layout_of(g, whole_name);
    const struct train_entry *part_b = train_layout_entry(part, 1);
    const struct train_entry *whole_b = train_layout_entry(whole, 1);
    float *part_values = mem_alloc(train_layout_count(part), sizeof *part_values);
    float *whole_values = mem_alloc(train_layout_count(whole), sizeof *whole_values);
    const struct train_row *row = &g->sequences[0].row;
    for (size_t i = 0; i < train_layout_count(part); i++)
        part_values[i] = 0.5f * random_uniform_f32(7, i) - 0.25f;
    memcpy(whole_values, part_values, part_b->offset * sizeof *whole_values);
    place_rows(p, part_values + part_b->offset, whole_values + whole_b->offset);
    float *base = golden_family_logits(g->model, NULL, NULL, row);
    float *got = golden_family_logits(g->model, part, part_values, row);
    float *wanted = golden_family_logits(g->model, whole, whole_values, row);
    double worst = 0, effect = 0;
    for (size_t i = 0; i < row->token_count * model_shape(g->model)->vocabulary; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)wanted[i]));
        effect = fmax(effect, fabs((double)got[i] - (double)base[i]));
    }
    assert_true(effect > 1e-2);
    mem_free(base);
    mem_free(got);
    mem_free(wanted);
    mem_free(part_values);
    mem_free(whole_values);
    train_layout_destroy(&part);
    train_layout_destroy(&whole);
    return worst;
}

static void test_family__an_adapter_on_a_part_is_one_on_the_whole(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    size_t parts = 0;
    for (size_t i = 0; i < model_param_count(g->model); i++) {
        const struct model_param *p = model_param(g->model, i);
        if (p->part.whole == MODEL_NO_PARAM)
            continue;
        double worst = part_difference(g, p);
        parts++;
        if (!(worst < 1e-5))
            fail_msg("%s: %s: logits differ by %.1e", g->name, p->name, worst);
    }
    print_message("%s: %zu parts\n", g->name, parts);
    golden_family_close(g);
}

#define TESTS(family)                                                                              \
    GOLDEN_TEST(bits_depend_on_nothing_else, family),                                              \
        GOLDEN_TEST(a_packed_sample_has_the_logits_it_has_alone, family),                          \
        GOLDEN_TEST(cached_logits_are_those_of_the_full_pass, family),                             \
        GOLDEN_TEST(an_adapter_on_a_part_is_one_on_the_whole, family),

int main(void)
{
    const struct CMUnitTest tests[] = {GOLDEN_FAMILIES(TESTS)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
