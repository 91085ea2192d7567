/* test_calibration_events.c - counts of bins as a viewer's histogram. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/calibration_events.h"
#include "common/base/check.h"
#include "common/formats/tensorboard/event_reader.h"

enum { BINS = 4, FILE_BYTES_MAX = 1 << 20 };

/* Bins of a half from -2 to 2. */
struct sample {
    int32_t exponents[1];
    uint64_t counts[2 * BINS];
    double sum_x2[2];
    float min[2], max[2];
    struct statistics_site sites[3];
    struct statistics statistics;
};

static void init_sample(struct sample *s)
{
    *s = (struct sample){.exponents = {-1},
                         .counts = {0, 0, 3, 0, 5, 0, 0, 2},
                         .sum_x2 = {4, 2.5},
                         .min = {-0.25f, -0.75f},
                         .max = {1.75f, 0.25f}};
    const struct histogram histogram = {.bins = BINS,
                                        .is_signed = true,
                                        .channels = 1,
                                        .exponents = s->exponents,
                                        .counts = s->counts};
    s->sites[0] = (struct statistics_site){.name = TEXT("bare"), .kinds = STATISTICS_SUM_X2};
    s->sites[1] = (struct statistics_site){
        .name = TEXT("layers.0.q_proj"),
        .columns = 2,
        .kinds = STATISTICS_HISTOGRAM | STATISTICS_MIN_MAX | STATISTICS_SUM_X2,
        .sum_x2 = s->sum_x2,
        .min = s->min,
        .max = s->max,
        .histogram = histogram,
    };
    s->sites[2] = s->sites[1];
    s->sites[2].name = TEXT("layers.0.up_proj");
    s->sites[2].kinds = STATISTICS_HISTOGRAM;
    s->statistics = (struct statistics){.sites = s->sites, .count = COUNT_OF(s->sites)};
}

static struct event_reader_value next(struct event_reader *reader)
{
    struct event_reader_event event;
    struct event_reader_value value;
    bool is_end;
    assert_int_equal(event_reader_next(reader, &event, &is_end, NULL), ERR_OK);
    assert_false(is_end);
    assert_true(event_reader_value(&event.summary, &value));
    return value;
}

static void test_calibration_events__counts_lie_between_their_limits(void **state)
{
    (void)state;
    static const double limits[] = {-0.5, 0, 0.5, 1, 1.5, 2}, counts[] = {3, 0, 5, 0, 0, 2};
    struct sample s;
    struct bytes out;
    size_t count;
    bool is_end;
    struct event_reader_event event;
    init_sample(&s);
    bytes_init(&out, FILE_BYTES_MAX);
    assert_int_equal(calibration_events_print(&s.statistics, 12.5, &out, &count), ERR_OK);
    assert_int_equal(count, 2);
    struct event_reader reader = event_reader_of(bytes_span(&out));
    assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_true(event.wall_s == 12.5 && event.file_version.size > 0);
    struct event_reader_value value = next(&reader);
    assert_true(text_is(value.tag, "calibration/layers.0.q_proj"));
    assert_true(value.min == -0.75 && value.max == 1.75 && value.total == 10 && value.sum == 2.5 &&
                value.sum_squares == 6.5);
    assert_int_equal(value.counts.size, sizeof counts);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        assert_true(event_reader_f64(value.limits, i) == limits[i]);
        assert_true(event_reader_f64(value.counts, i) == counts[i]);
    }
    value = next(&reader); /* without extremes: the ends of what was counted */
    assert_true(value.min == -1 && value.max == 2);
    bytes_fini(&out);
}

static void test_calibration_events__without_counts_nothing_is_written(void **state)
{
    (void)state;
    struct sample s;
    struct bytes out;
    size_t count = 7;
    init_sample(&s);
    memset(s.counts, 0, sizeof s.counts);
    bytes_init(&out, FILE_BYTES_MAX);
    assert_int_equal(calibration_events_print(&s.statistics, 0, &out, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(out.size, 0);
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration_events__counts_lie_between_their_limits),
        cmocka_unit_test(test_calibration_events__without_counts_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
