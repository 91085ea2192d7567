/* test_metric.c - the text that Prometheus reads, byte by byte. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/metrics/metric.h"

static void assert_text(struct bytes *out, const char *expected)
{
    bytes_append(out, "", 1);
    assert_int_equal(bytes_status(out), ERR_OK);
    assert_string_equal((const char *)out->data, expected);
    bytes_fini(out);
}

static void test_metric__a_family_has_help_type_and_values(void **state)
{
    struct bytes out;
    (void)state;
    bytes_init(&out, 1 << 16);
    metric_begin(&out, METRIC_JOBS);
    metric_count(&out, METRIC_JOBS, "run", UINT64_MAX);
    metric_count(&out, METRIC_JOBS, "ok", 0);
    metric_single(&out, METRIC_STORE_USED, 0.07);
    assert_text(&out, "# HELP qfleet_jobs jobs that are kept, by state\n"
                      "# TYPE qfleet_jobs gauge\n"
                      "qfleet_jobs{state=\"run\"} 18446744073709551615\n"
                      "qfleet_jobs{state=\"ok\"} 0\n"
                      "# HELP qfleet_store_used_ratio share of the store's map that is used\n"
                      "# TYPE qfleet_store_used_ratio gauge\n"
                      "qfleet_store_used_ratio 0.07\n");
}

static void test_metric__labels_are_escaped(void **state)
{
    struct bytes out;
    (void)state;
    bytes_init(&out, 1 << 16);
    metric_count(&out, METRIC_JOBS, "a\\b\"c\nd", 1);
    assert_text(&out, "qfleet_jobs{state=\"a\\\\b\\\"c\\nd\"} 1\n");
}

static void test_metric__what_is_no_number_has_its_word(void **state)
{
    struct bytes out;
    (void)state;
    bytes_init(&out, 1 << 16);
    metric_number(&out, METRIC_TRAIN_LOSS_MAX, NULL, NAN);
    metric_number(&out, METRIC_TRAIN_LOSS_MAX, NULL, INFINITY);
    metric_number(&out, METRIC_TRAIN_LOSS_MAX, NULL, -INFINITY);
    assert_text(&out, "qfleet_train_loss_max NaN\nqfleet_train_loss_max +Inf\n"
                      "qfleet_train_loss_max -Inf\n");
}

static void test_metric__buckets_add_up(void **state)
{
    struct metric_histogram histogram = {0};
    struct bytes out;
    (void)state;
    metric_observe(&histogram, 0);
    metric_observe(&histogram, 0.001); /* a bound belongs to its bucket */
    metric_observe(&histogram, 0.0011);
    metric_observe(&histogram, 100);
    metric_observe(&histogram, NAN); /* no time at all */
    metric_observe(&histogram, -1);
    bytes_init(&out, 1 << 16);
    metric_seconds(&out, METRIC_COMMIT_SECONDS, &histogram);
    bytes_append(&out, "", 1);
    const char *text = (const char *)out.data;
    assert_non_null(strstr(text, "# TYPE qfleet_commit_seconds histogram\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"1e-05\"} 1\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"0.001\"} 2\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"0.0025\"} 3\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"10\"} 3\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_bucket{le=\"+Inf\"} 4\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_sum 100.0021\n"));
    assert_non_null(strstr(text, "qfleet_commit_seconds_count 4\n"));
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metric__a_family_has_help_type_and_values),
        cmocka_unit_test(test_metric__labels_are_escaped),
        cmocka_unit_test(test_metric__what_is_no_number_has_its_word),
        cmocka_unit_test(test_metric__buckets_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
