/* test_run_log.c - files that grow with a job: after any break they go on as if there was none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/command/run_log.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/tensorboard/event_reader.h"

enum { POINTS = 12, FILE_BYTES_MAX = 1 << 20 };

/* Of two variants in turns; the follower has as many as a test wants. */
static void init_follow(struct follow *follow, struct log_point points[POINTS], size_t count)
{
    *follow = (struct follow){
        .id = "9c41e2b000000000",
        .name = ".my run/1",
        .points = points,
        .point_count = count,
        .variant_count = 2,
        .variants = {{.name = "seed=1"}, {.name = "seed=2"}},
        .created_unix_ms = 1700000000123,
        .steps_total = 6,
    };
    for (size_t i = 0; i < POINTS; i++)
        points[i] = (struct log_point){
            .step = i / 2 + 1,
            .loss = 3 - 0.125 * (double)i,
            .tokens = 100 * (i / 2 + 1),
            .unix_ms = 1700000001000 + 500 * i,
            .variant = i % 2,
        };
}

struct place {
    char folder[64], path[256];
};

static void make_place(struct place *place)
{
    (void)snprintf(place->folder, sizeof place->folder, "/tmp/test_run_log.XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof place->path,
                   "%s/_my_run_1-9c41e2b/seed=2/events.out.tfevents.1700000000.qfleet-9c41e2b",
                   place->folder);
}

static void drop_place(const struct place *place)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", place->folder);
    assert_int_equal(system(command), 0);
}

static void read_all(const struct place *place, struct bytes *out)
{
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(file_read(place->path, FILE_BYTES_MAX, out, NULL), ERR_OK);
}

static void write_count(const struct place *place, size_t count)
{
    struct log_point points[POINTS];
    struct follow follow;
    struct run_log_file file;
    init_follow(&follow, points, count);
    assert_int_equal(run_log_file_open(place->folder, &follow, 1, &file, NULL), ERR_OK);
    assert_int_equal(file.points, count / 2);
    run_log_file_close(&file);
}

static void test_run_log__a_file_that_grew_equals_one_that_was_written_at_once(void **state)
{
    (void)state;
    struct place place;
    struct bytes grown, whole;
    make_place(&place);
    for (size_t count = 0; count <= POINTS; count += 4)
        write_count(&place, count);
    read_all(&place, &grown);
    assert_int_equal(unlink(place.path), 0);
    write_count(&place, POINTS);
    read_all(&place, &whole);
    assert_true(span_equal(bytes_span(&grown), bytes_span(&whole)));
    bytes_fini(&grown);
    bytes_fini(&whole);
    drop_place(&place);
}

static void test_run_log__goes_on_behind_the_last_whole_record_wherever_it_was_cut(void **state)
{
    (void)state;
    struct place place;
    struct bytes whole, again;
    make_place(&place);
    write_count(&place, POINTS);
    read_all(&place, &whole);
    for (size_t size = 0; size < whole.size; size += 7) {
        assert_int_equal(truncate(place.path, (off_t)size), 0);
        write_count(&place, POINTS);
        read_all(&place, &again);
        assert_true(span_equal(bytes_span(&again), bytes_span(&whole)));
        bytes_fini(&again);
    }
    bytes_fini(&whole);
    drop_place(&place);
}

static void test_run_log__another_file_of_the_name_is_begun_anew(void **state)
{
    (void)state;
    struct place place;
    struct bytes whole, again;
    make_place(&place);
    write_count(&place, POINTS);
    read_all(&place, &whole);
    assert_int_equal(file_write_atomic(place.path, span_of_text(TEXT("notes")), NULL), ERR_OK);
    write_count(&place, POINTS);
    read_all(&place, &again);
    assert_true(span_equal(bytes_span(&again), bytes_span(&whole)));
    bytes_fini(&again);
    bytes_fini(&whole);
    drop_place(&place);
}

static void test_run_log__a_run_that_went_back_takes_its_points_back(void **state)
{
    (void)state;
    struct place place;
    struct bytes file;
    make_place(&place);
    write_count(&place, POINTS);
    write_count(&place, 6);
    read_all(&place, &file);
    struct event_reader reader = event_reader_of(bytes_span(&file));
    struct event_reader_event event;
    for (bool is_end = false; !is_end;)
        assert_int_equal(event_reader_next(&reader, &event, &is_end, NULL), ERR_OK);
    assert_int_equal(reader.record_count, 1 + 3);
    assert_int_equal(event.step, 3);
    bytes_fini(&file);
    drop_place(&place);
}

static void test_run_log__lines_are_of_one_variant_with_its_times(void **state)
{
    (void)state;
    struct log_point points[POINTS];
    struct follow follow;
    struct run_log log;
    struct bytes text;
    static const char expected[] =
        "{\"current_steps\": 3, \"elapsed_time\": \"0:00:02\", \"epoch\": 0.0, "
        "\"grad_norm\": 0.0, \"loss\": 2.375, \"lr\": 0.0, \"percentage\": 50.0, "
        "\"remaining_time\": \"0:00:02\", \"throughput\": 100.0, \"total_steps\": 6, "
        "\"total_tokens\": 300}\n";
    init_follow(&follow, points, POINTS);
    bytes_init(&text, FILE_BYTES_MAX);
    assert_int_equal(run_log_init(&follow, 1, &log), ERR_OK);
    assert_int_equal(log.count, POINTS / 2);
    assert_int_equal(run_log_lines(&log, 2, &text), ERR_OK);
    assert_true(text.size > sizeof expected);
    assert_memory_equal(text.data, expected, sizeof expected - 1);
    run_log_fini(&log);
    bytes_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_log__a_file_that_grew_equals_one_that_was_written_at_once),
        cmocka_unit_test(test_run_log__goes_on_behind_the_last_whole_record_wherever_it_was_cut),
        cmocka_unit_test(test_run_log__another_file_of_the_name_is_begun_anew),
        cmocka_unit_test(test_run_log__a_run_that_went_back_takes_its_points_back),
        cmocka_unit_test(test_run_log__lines_are_of_one_variant_with_its_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
