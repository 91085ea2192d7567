/* test_scores.c - numbers of rows survive their blob, and ranges fold to the same bits as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "worker/engine/compare/scores.h"

enum { ROWS = 21, BLOB_BYTES = 1 << 20 };

static const struct perplexity RULES = {
    .protocol = PERPLEXITY_WINDOWS, .length = 256, .has_bos = true, .tokenizer = "00c0ffee"};

static struct compare_sums row_of(size_t i)
{
    return (struct compare_sums){.positions = 255 - i,
                                 .agreements = 200 - i,
                                 .base_loss = 700.1 / (double)(i + 1),
                                 .result_loss = 710.3 / (double)(i + 1),
                                 .kl = 0.1 / (double)(i + 3),
                                 .kl_max = (double)((i * 8) % ROWS)};
}

static struct bytes blob_of(uint64_t first, uint64_t end)
{
    struct compare_sums rows[ROWS];
    struct bytes blob;
    const struct scores scores = {.first = first,
                                  .count = end - first,
                                  .total = ROWS,
                                  .base_bytes = 1000,
                                  .result_bytes = 300,
                                  .perplexity = RULES};
    for (uint64_t i = first; i < end; i++)
        rows[i - first] = row_of(i);
    bytes_init(&blob, BLOB_BYTES);
    assert_int_equal(scores_write(&scores, rows, &blob), ERR_OK);
    return blob;
}

static bool sums_equal(const struct compare_sums *a, const struct compare_sums *b)
{
    return a->positions == b->positions && a->agreements == b->agreements &&
           memcmp(&a->base_loss, &b->base_loss, 4 * sizeof(double)) == 0;
}

static void test_scores__rows_come_back_as_they_were(void **state)
{
    (void)state;
    struct bytes blob = blob_of(3, 9);
    struct scores scores;
    assert_int_equal(scores_open(bytes_span(&blob), "scores/0", &scores, NULL), ERR_OK);
    assert_int_equal(scores.first, 3);
    assert_int_equal(scores.count, 6);
    assert_int_equal(scores.total, ROWS);
    assert_int_equal(scores.base_bytes, 1000);
    assert_int_equal(scores.result_bytes, 300);
    assert_true(perplexity_equal(&scores.perplexity, &RULES));
    for (size_t i = 0; i < 6; i++) {
        struct compare_sums want = row_of(3 + i), found = scores_at(&scores, i);
        assert_true(sums_equal(&want, &found));
    }
    bytes_fini(&blob);
}

/* Folds blobs cut at `cuts`, 0 and ROWS included. */
static struct compare_sums folded(const uint64_t *cuts, size_t count)
{
    struct bytes blobs[ROWS];
    struct scores parts[ROWS] = {{0}};
    struct compare_sums sums;
    for (size_t i = 0; i < count; i++) {
        blobs[i] = blob_of(cuts[i], cuts[i + 1]);
        assert_int_equal(scores_open(bytes_span(&blobs[i]), "scores", &parts[i], NULL), ERR_OK);
    }
    assert_int_equal(scores_fold(parts, count, &sums, NULL), ERR_OK);
    for (size_t i = 0; i < count; i++)
        bytes_fini(&blobs[i]);
    return sums;
}

static void test_scores__any_ranges_fold_along_one_tree(void **state)
{
    (void)state;
    const uint64_t whole[] = {0, ROWS}, some[] = {0, 1, 5, 5, 16, ROWS};
    struct compare_sums one = folded(whole, 1), many = folded(some, 5);
    struct fold_sum kl;
    fold_sum_init(&kl);
    for (size_t i = 0; i < ROWS; i++)
        fold_sum_push(&kl, row_of(i).kl);
    assert_true(sums_equal(&one, &many));
    assert_true(one.kl == fold_sum_finish(&kl));
    assert_true(one.kl_max == ROWS - 1);
}

static void test_scores__gaps_overlaps_and_other_rules_are_refused(void **state)
{
    (void)state;
    static const uint64_t ranges[][2] = {{0, 9}, {9, ROWS}, {8, ROWS}, {10, ROWS}};
    struct bytes blobs[COUNT_OF(ranges)];
    struct scores parts[COUNT_OF(ranges)];
    struct compare_sums sums;
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        blobs[i] = blob_of(ranges[i][0], ranges[i][1]);
        assert_int_equal(scores_open(bytes_span(&blobs[i]), "scores", &parts[i], NULL), ERR_OK);
    }
    for (size_t i = 1; i < COUNT_OF(ranges); i++) {
        const struct scores pair[] = {parts[0], parts[i]};
        assert_int_equal(scores_fold(pair, 2, &sums, NULL), i == 1 ? ERR_OK : ERR_FORMAT);
    }
    assert_int_equal(scores_fold(parts, 1, &sums, NULL), ERR_FORMAT);
    assert_int_equal(scores_fold(parts, 0, &sums, NULL), ERR_FORMAT);
    parts[1].perplexity.length = 512;
    assert_int_equal(scores_fold(parts, 2, &sums, NULL), ERR_FORMAT);
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        bytes_fini(&blobs[i]);
}

static void test_scores__numbers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct bytes blob = blob_of(0, 2);
    struct scores scores;
    assert_int_equal(scores_open(bytes_span(&blob), "scores", &scores, NULL), ERR_OK);
    double *sums = (double *)(void *)(blob.data + ((const uint8_t *)scores.sums - blob.data));
    uint64_t *counts =
        (uint64_t *)(void *)(blob.data + ((const uint8_t *)scores.counts - blob.data));
    double kept = sums[2];
    sums[2] = -1;
    assert_int_equal(scores_open(bytes_span(&blob), "scores", &scores, NULL), ERR_FORMAT);
    sums[2] = __builtin_inf();
    assert_int_equal(scores_open(bytes_span(&blob), "scores", &scores, NULL), ERR_FORMAT);
    sums[2] = kept;
    counts[1] = counts[0] + 1;
    assert_int_equal(scores_open(bytes_span(&blob), "scores", &scores, NULL), ERR_FORMAT);
    bytes_fini(&blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores__rows_come_back_as_they_were),
        cmocka_unit_test(test_scores__any_ranges_fold_along_one_tree),
        cmocka_unit_test(test_scores__gaps_overlaps_and_other_rules_are_refused),
        cmocka_unit_test(test_scores__numbers_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
