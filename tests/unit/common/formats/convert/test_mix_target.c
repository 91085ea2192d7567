/* test_mix_target.c - choices under a size or a loss against all choices there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_mix.h"
#include "common/formats/convert/mix_target.h"
#include "common/mem/mem.h"

enum { TENSORS = 6, CANDIDATES = 5, TRIALS = 2000 };

struct problem {
    struct mix_target_candidate candidates[TENSORS][CANDIDATES];
    struct mix_target_tensor tensors[TENSORS];
    size_t count;
};

/* A draw below `below`. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

/* Larger candidates lose less, more or less; sizes and losses may repeat. */
static void make(struct problem *p, uint64_t seed)
{
    uint64_t state = seed * 977 + 5;
    *p = (struct problem){.count = 1 + draw(&state, TENSORS)};
    for (size_t i = 0; i < p->count; i++) {
        p->tensors[i] = (struct mix_target_tensor){p->candidates[i], 1 + draw(&state, CANDIDATES)};
        uint32_t weights = 1 + draw(&state, 30);
        for (size_t k = 0; k < p->tensors[i].count; k++) {
            uint32_t bits = 2 + draw(&state, 7);
            p->candidates[i][k].size_bytes = weights * bits;
            p->candidates[i][k].loss =
                (double)weights / (double)(1u << bits) * (0.5 + draw(&state, 100) / 100.0);
        }
    }
}

static struct mix_target_total total_of(const struct problem *p, const size_t *chosen)
{
    struct mix_target_total total = {0, 0.0};
    for (size_t i = 0; i < p->count; i++) {
        assert_true(chosen[i] < p->tensors[i].count);
        total.size_bytes += p->candidates[i][chosen[i]].size_bytes;
        total.loss += p->candidates[i][chosen[i]].loss;
    }
    return total;
}

/* The next choice in counting order; false after the last. */
static bool next(const struct problem *p, size_t *chosen)
{
    for (size_t i = 0; i < p->count; i++) {
        if (++chosen[i] < p->tensors[i].count)
            return true;
        chosen[i] = 0;
    }
    return false;
}

/* Of all choices the least loss within a size, or the least size within a loss. */
static bool search_all(const struct problem *p, double limit, bool limits_size, double *best)
{
    size_t chosen[TENSORS] = {0};
    bool found = false;
    do {
        struct mix_target_total t = total_of(p, chosen);
        double spent = limits_size ? (double)t.size_bytes : t.loss;
        double lost = limits_size ? t.loss : (double)t.size_bytes;
        if (spent <= limit && (!found || lost < *best)) {
            *best = lost;
            found = true;
        }
    } while (next(p, chosen));
    return found;
}

/* What a step of one tensor can lose at most. */
static double largest_step(const struct problem *p, bool limits_size)
{
    double largest = 0.0;
    for (size_t i = 0; i < p->count; i++) {
        for (size_t a = 0; a < p->tensors[i].count; a++) {
            for (size_t b = 0; b < p->tensors[i].count; b++) {
                const struct mix_target_candidate *x = &p->candidates[i][a];
                const struct mix_target_candidate *y = &p->candidates[i][b];
                double step =
                    limits_size ? x->loss - y->loss : (double)x->size_bytes - (double)y->size_bytes;
                largest = MAX(largest, step);
            }
        }
    }
    return largest;
}

/* One trial; 1 when nothing is better. */
static unsigned try_one(const struct problem *p, double limit, bool limits_size)
{
    size_t chosen[TENSORS] = {9, 9, 9, 9, 9, 9};
    struct mix_target_total total;
    double best = 0.0;
    bool possible = search_all(p, limit, limits_size, &best);
    enum err err = limits_size
                       ? mix_target_fit(p->tensors, p->count, (uint64_t)limit, chosen, &total)
                       : mix_target_reach(p->tensors, p->count, limit, chosen, &total);
    assert_int_equal(err, possible ? ERR_OK : ERR_NOT_FOUND);
    if (!possible) {
        assert_true((limits_size ? (double)total.size_bytes : total.loss) > limit);
        assert_int_equal(chosen[0], 9);
        return 1;
    }
    struct mix_target_total again = total_of(p, chosen);
    assert_int_equal(again.size_bytes, total.size_bytes);
    assert_true(again.loss == total.loss);
    double spent = limits_size ? (double)total.size_bytes : total.loss;
    double lost = limits_size ? total.loss : (double)total.size_bytes;
    assert_true(spent <= limit);
    assert_true(lost <= best + largest_step(p, limits_size));
    return lost <= best * (1 + 1e-12);
}

static void test_target__choices_hold_the_limit_and_are_the_best_or_close(void **state)
{
    (void)state;
    for (unsigned limits_size = 0; limits_size <= 1; limits_size++) {
        unsigned best = 0;
        for (uint64_t seed = 0; seed < TRIALS; seed++) {
            struct problem p;
            uint64_t random = seed + 17;
            make(&p, seed);
            double limit = limits_size == 1 ? draw(&random, 100 * (uint32_t)p.count)
                                            : draw(&random, 3000 * (uint32_t)p.count) / 1000.0;
            best += try_one(&p, limit, limits_size == 1);
        }
        print_message("%u of %d are the best there is\n", best, TRIALS);
        assert_true(best > TRIALS * 95 / 100);
    }
}

static void test_target__more_room_never_loses_more(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct problem p;
        size_t chosen[TENSORS];
        struct mix_target_total small, large;
        make(&p, seed);
        uint64_t smallest = 0, largest = 0;
        assert_int_equal(mix_target_fit(p.tensors, p.count, 0, chosen, &small), ERR_NOT_FOUND);
        smallest = small.size_bytes;
        assert_int_equal(mix_target_fit(p.tensors, p.count, smallest, chosen, &small), ERR_OK);
        assert_int_equal(mix_target_fit(p.tensors, p.count, UINT64_MAX, chosen, &large), ERR_OK);
        largest = large.size_bytes;
        assert_true(small.loss >= large.loss && smallest <= largest);
        assert_int_equal(small.size_bytes, smallest);
        /* all the room gives the least loss, which is then reached with no more */
        assert_int_equal(mix_target_reach(p.tensors, p.count, large.loss, chosen, &small), ERR_OK);
        assert_true(small.size_bytes <= largest && small.loss <= large.loss);
    }
}

static void test_target__a_model_of_many_tensors_is_chosen_alike_each_time(void **state)
{
    (void)state;
    enum { MANY = 700 };
    uint64_t random = 3;
    struct mix_target_candidate(*candidates)[6] = mem_alloc(MANY, sizeof *candidates);
    struct mix_target_tensor *tensors = mem_alloc(MANY, sizeof *tensors);
    size_t *first = mem_alloc(MANY, sizeof *first), *second = mem_alloc(MANY, sizeof *second);
    struct mix_target_total a, b, flat = {0, 0.0};
    static const double bits[] = {2.625, 3.4375, 4.5, 5.5, 6.5625, 8.5};
    uint64_t weights = 0;
    assert_non_null(candidates);
    assert_non_null(tensors);
    assert_non_null(first);
    assert_non_null(second);
    for (size_t i = 0; i < MANY; i++) {
        uint64_t count = (1 + draw(&random, 8)) << 21;
        double importance = 1e-4 * (1 + draw(&random, 1000));
        for (size_t k = 0; k < 6; k++)
            candidates[i][k] =
                (struct mix_target_candidate){(uint64_t)((double)count * bits[k]) / 8,
                                              importance / (double)(1u << (2 * (unsigned)bits[k])) *
                                                  (0.8 + draw(&random, 400) / 1000.0)};
        tensors[i] = (struct mix_target_tensor){candidates[i], 6};
        weights += count;
        flat.size_bytes += candidates[i][2].size_bytes;
        flat.loss += candidates[i][2].loss;
    }
    uint64_t limit = mix_target_size_bytes(4.5, weights);
    assert_int_equal(limit, flat.size_bytes);
    assert_int_equal(mix_target_fit(tensors, MANY, limit, first, &a), ERR_OK);
    assert_int_equal(mix_target_fit(tensors, MANY, limit, second, &b), ERR_OK);
    assert_memory_equal(first, second, MANY * sizeof *first);
    assert_true(a.size_bytes <= limit && limit - a.size_bytes < limit / 10000);
    assert_true(a.loss < 0.8 * flat.loss); /* than all in the one format of that size */
    mem_free(candidates);
    mem_free(tensors);
    mem_free(first);
    mem_free(second);
}

static void test_target__what_cannot_be_searched_is_refused(void **state)
{
    (void)state;
    struct mix_target_candidate c[MIX_TARGET_CANDIDATES_MAX + 1] = {{1, 0.5}};
    struct mix_target_tensor none = {c, 0}, many = {c, COUNT_OF(c)}, one = {c, 1};
    struct mix_target_total total;
    size_t chosen[1];
    assert_int_equal(mix_target_fit(&one, 0, 10, chosen, &total), ERR_LIMIT);
    assert_int_equal(mix_target_fit(&none, 1, 10, chosen, &total), ERR_LIMIT);
    assert_int_equal(mix_target_fit(&many, 1, 10, chosen, &total), ERR_LIMIT);
    assert_int_equal(mix_target_reach(&one, 1, 0.0 / 0.0, chosen, &total), ERR_NOT_FINITE);
    assert_int_equal(mix_target_fit(&one, 1, 1, chosen, &total), ERR_OK);
    c[0].loss = 1.0 / 0.0;
    assert_int_equal(mix_target_fit(&one, 1, 10, chosen, &total), ERR_NOT_FINITE);
    c[0] = (struct mix_target_candidate){UINT64_MAX, 0.0};
    assert_int_equal(mix_target_fit(&one, 1, UINT64_MAX, chosen, &total), ERR_LIMIT);
    assert_int_equal(mix_target_size_bytes(0.0 / 0.0, 8), 0);
    assert_int_equal(mix_target_size_bytes(-1.0, 8), 0);
    assert_int_equal(mix_target_size_bytes(4.85, 1000), 606);
}

static void test_candidates__are_what_the_width_allows(void **state)
{
    (void)state;
    static const struct {
        uint64_t columns;
        size_t count;
        enum block_format formats[CONVERT_MIX_CANDIDATES_MAX];
    } rows[] = {
        {4096,
         6,
         {BLOCK_FORMAT_Q2_K, BLOCK_FORMAT_Q3_K, BLOCK_FORMAT_Q4_K, BLOCK_FORMAT_Q5_K,
          BLOCK_FORMAT_Q6_K, BLOCK_FORMAT_Q8_0}},
        {2080, 4, {BLOCK_FORMAT_IQ4_NL, BLOCK_FORMAT_Q5_0, BLOCK_FORMAT_Q5_1, BLOCK_FORMAT_Q8_0}},
        {100, 1, {BLOCK_FORMAT_F16}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        enum block_format out[CONVERT_MIX_CANDIDATES_MAX];
        assert_int_equal(convert_mix_candidates(rows[i].columns, out), rows[i].count);
        assert_memory_equal(out, rows[i].formats, rows[i].count * sizeof *out);
        for (size_t k = 1; k < rows[i].count; k++) /* the fewest bits first */
            assert_true(block_format_bytes(out[k - 1]) * block_format_elements(out[k]) <
                        block_format_bytes(out[k]) * block_format_elements(out[k - 1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target__choices_hold_the_limit_and_are_the_best_or_close),
        cmocka_unit_test(test_target__more_room_never_loses_more),
        cmocka_unit_test(test_target__a_model_of_many_tensors_is_chosen_alike_each_time),
        cmocka_unit_test(test_target__what_cannot_be_searched_is_refused),
        cmocka_unit_test(test_candidates__are_what_the_width_allows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
