/* test_render.c - quantities, tables, progress and JSON as people and programs see them. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/render/frame.h"
#include "cli/render/human.h"
#include "cli/render/progress.h"
#include "cli/render/style.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/state.h"
#include "common/view/json_view.h"

/* What is printed, as text. */
struct sheet {
    FILE *file;
    char text[4096];
};

static void sheet_begin(struct sheet *sheet)
{
    memset(sheet->text, 0, sizeof sheet->text);
    sheet->file = tmpfile();
    assert_non_null(sheet->file);
}

static const char *sheet_end(struct sheet *sheet)
{
    rewind(sheet->file);
    size_t size = fread(sheet->text, 1, sizeof sheet->text - 1, sheet->file);
    sheet->text[size] = '\0';
    (void)fclose(sheet->file);
    return sheet->text;
}

static void test_human__durations_take_two_units(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0, "0.0s"},
                {0.44, "0.4s"},
                {9.94, "9.9s"},
                {9.96, "10s"},
                {59.4, "59s"},
                {59.6, "1m00s"},
                {190, "3m10s"},
                {3600, "1h00m"},
                {7500, "2h05m"},
                {86400, "1d00h"},
                {-1, "-"},
                {(double)NAN, "-"},
                {(double)INFINITY, "-"}};
    char out[HUMAN_BYTES];
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_string_equal(human_duration(rows[i].seconds, out), rows[i].text);
}

static void test_human__sizes_and_counts_stay_short(void **state)
{
    (void)state;
    char out[HUMAN_BYTES];
    assert_string_equal(human_size(0, out), "0");
    assert_string_equal(human_size(1023, out), "1023");
    assert_string_equal(human_size(1024, out), "1.0K");
    assert_string_equal(human_size(88064, out), "86K");
    assert_string_equal(human_size(1023 * 1024 + 900, out), "1.0M");
    assert_string_equal(human_size(UINT64_MAX, out), "16E");
    assert_string_equal(human_count(7, out), "7");
    assert_string_equal(human_count(48120, out), "48 120");
    assert_string_equal(human_count(UINT64_MAX, out), "18 446 744 073 709 551 615");
    assert_string_equal(human_id(0x0123456789abcdefull, out), "0123456");
    assert_string_equal(human_time(0, out), "-");
    assert_string_equal(human_time(1000, out), "1970-01-01T00:00:01Z");
}

static const struct table_column columns[] = {
    {"ID", TABLE_LEFT}, {"STEP", TABLE_RIGHT}, {"NOTE", TABLE_LEFT}, {"DETAIL", TABLE_LEFT}};

static void test_table__columns_align_and_empty_ones_vanish(void **state)
{
    (void)state;
    struct sheet sheet;
    struct table table;
    const struct style style = {.width = 100};
    table_init(&table, columns, COUNT_OF(columns));
    table_row(&table);
    table_cell(&table, 0, STYLE_BOLD, "é1");
    table_cell(&table, 1, STYLE_PLAIN, "5");
    table_row(&table);
    table_cell(&table, 0, STYLE_PLAIN, "long-id");
    table_cell(&table, 1, STYLE_PLAIN, "1200");
    table_cell(&table, 3, STYLE_PLAIN, "why");
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, true, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "ID       STEP  DETAIL\n"
                                           "é1          5  -\n"
                                           "long-id  1200  why\n");
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, false, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "é1          5  -\nlong-id  1200  why\n");
    table_fini(&table);
}

static void test_table__without_rows_only_the_header_is_printed(void **state)
{
    (void)state;
    struct sheet sheet;
    struct table table;
    const struct style style = {.width = 100};
    table_init(&table, columns, COUNT_OF(columns));
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, true, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "ID  STEP  NOTE  DETAIL\n");
    table_fini(&table);
}

static void test_table__a_long_last_column_is_cut_on_a_terminal_alone(void **state)
{
    (void)state;
    struct sheet sheet;
    struct table table;
    const struct table_column one[] = {{"DETAIL", TABLE_LEFT}};
    struct style style = {.width = 20, .terminal = true};
    table_init(&table, one, 1);
    table_row(&table);
    table_cell(&table, 0, STYLE_PLAIN, "0123456789012345678901234567890");
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, false, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "0123456789012345678+\n");
    style.terminal = false;
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, false, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "0123456789012345678901234567890\n");
    table_fini(&table);
}

static void test_table__wide_characters_and_marks_stay_in_their_columns(void **state)
{
    (void)state;
    struct sheet sheet;
    struct table table;
    const struct style style = {.width = 100};
    const struct table_column two[] = {{"NAME", TABLE_LEFT}, {"STATE", TABLE_LEFT}};
    static const char *const names[] = {"\xe6\xa8\xa1\xe5\x9e\x8b", "e\xcc\x81te\xcc\x81", "plain"};
    table_init(&table, two, COUNT_OF(two));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%s", names[i]);
        table_cell(&table, 1, STYLE_PLAIN, "ok");
    }
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, false, sheet.file), ERR_OK);
    assert_string_equal(sheet_end(&sheet), "\xe6\xa8\xa1\xe5\x9e\x8b   ok\n"
                                           "e\xcc\x81te\xcc\x81    ok\n"
                                           "plain  ok\n");
    table_fini(&table);
}

static void test_table__lines_fit_a_terminal(void **state)
{
    (void)state;
    struct sheet sheet;
    struct table table;
    const struct style style = {.width = 40, .terminal = true};
    table_init(&table, columns, COUNT_OF(columns));
    table_row(&table);
    table_cell(&table, 0, STYLE_PLAIN, "id");
    table_cell(&table, 1, STYLE_PLAIN, "5");
    table_cell(&table, 2, STYLE_PLAIN, "a name of many many many words");
    table_cell(&table, 3, STYLE_PLAIN, "and a reason of as many of them");
    table_row(&table);
    table_cell(&table, 2, STYLE_PLAIN,
               "\xe6\xa8\xa1\xe5\x9e\x8b\xe6\xa8\xa1\xe5\x9e\x8b\xe6\xa8"
               "\xa1\xe5\x9e\x8b\xe6\xa8\xa1\xe5\x9e\x8b");
    table_cell(&table, 3, STYLE_PLAIN, "short");
    sheet_begin(&sheet);
    assert_int_equal(table_print(&table, &style, false, sheet.file), ERR_OK);
    assert_string_equal(
        sheet_end(&sheet),
        "id  5  a name of many +  and a reason o+\n"
        "-   -  \xe6\xa8\xa1\xe5\x9e\x8b\xe6\xa8\xa1\xe5\x9e\x8b\xe6\xa8\xa1\xe5\x9e\x8b"
        "\xe6\xa8\xa1\xe5\x9e\x8b  short\n");
    table_fini(&table);
}

static void test_style__colour_obeys_no_color_and_the_flag(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_false(style_of(file, STYLE_AUTO, NULL, "xterm", NULL).color);
    assert_true(style_of(file, STYLE_ALWAYS, "1", "xterm", NULL).color);
    assert_false(style_of(file, STYLE_NEVER, NULL, "xterm", NULL).color);
    assert_true(style_of(file, STYLE_AUTO, NULL, NULL, "en_US.UTF-8").unicode);
    assert_false(style_of(file, STYLE_AUTO, NULL, NULL, "C").unicode);
    (void)fclose(file);
}

static void test_style__texts_of_others_do_not_steer_the_terminal(void **state)
{
    (void)state;
    char text[] = "a\x1b[2J\nb\x7f \xc2\x9b"
                  "1m \xc3\xa9";
    assert_string_equal(style_clean(text), "a?[2J?b? ??1m \xc3\xa9");
    char turned[] = "a\xe2\x80\xaetxt.exe \x9b"
                    "1m \xe6\xa8";
    assert_string_equal(style_clean(turned), "a???txt.exe ?1m ??");
}

static void test_frame__wide_characters_take_two_cells_and_marks_none(void **state)
{
    (void)state;
    struct sheet sheet;
    struct frame frame;
    const struct style style = {.color = true};
    static const char steers[] = "a\x1b\xe6\x97\xa5\xcc\x81z"; /* wide, then combining */
    assert_int_equal(frame_init(&frame, 8, 4, true), ERR_OK);
    assert_int_equal(frame_text(&frame, 0, 0, 8, STYLE_PLAIN, "%s", steers), 5);
    assert_int_equal(frame_text(&frame, 1, 2, 4, STYLE_BUSY, "%s",
                                "\xc3\xa9"
                                "bcdef"),
                     4);
    assert_int_equal(frame_text(&frame, 2, 6, 99, STYLE_PLAIN, "%s",
                                "\xe2\x96"
                                "xyz"),
                     2);
    assert_int_equal(frame_text(&frame, 9, 0, 99, STYLE_PLAIN, "beyond the page"), 8);
    frame_glyph(&frame, 3, 0, STYLE_PLAIN, "\xe2\xa0\x81");
    sheet_begin(&sheet);
    frame_print(&frame, &style, sheet.file);
    assert_string_equal(sheet_end(&sheet), "a?\xe6\x97\xa5\xcc\x81z\n  \x1b[36m\xc3\xa9"
                                           "bc+\x1b[0m\n      ?+\n\xe2\xa0\x81\n");
    frame_fini(&frame);
    assert_int_equal(frame_init(&frame, 4, 1, false), ERR_OK);
    (void)frame_text(&frame, 0, 0, 4, STYLE_PLAIN, "%s",
                     "\xc3\xa9"
                     "b");
    sheet_begin(&sheet);
    frame_print(&frame, &style, sheet.file);
    assert_string_equal(sheet_end(&sheet), "?b\n");
    frame_fini(&frame);
}

static void test_frame__half_of_a_wide_character_is_never_shown(void **state)
{
    (void)state;
    struct sheet sheet;
    struct frame frame;
    const struct style style = {.color = false};
    static const char wide[] = "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5";
    assert_int_equal(frame_init(&frame, 6, 3, true), ERR_OK);
    assert_int_equal(frame_text(&frame, 0, 0, 4, STYLE_PLAIN, "%s", wide), 3); /* one, and "+" */
    (void)frame_text(&frame, 1, 0, 6, STYLE_PLAIN, "%s", wide);
    (void)frame_text(&frame, 1, 1, 2, STYLE_PLAIN, "ab"); /* over two halves */
    (void)frame_text(&frame, 2, 5, 6, STYLE_PLAIN, "%s", wide);
    sheet_begin(&sheet);
    frame_print(&frame, &style, sheet.file);
    assert_string_equal(sheet_end(&sheet), "\xe6\x97\xa5+\n ab \xe6\x97\xa5\n     +\n");
    frame_fini(&frame);
}

static void test_progress__a_log_stays_quiet(void **state)
{
    (void)state;
    struct sheet sheet;
    struct progress progress;
    sheet_begin(&sheet);
    progress_init(&progress, sheet.file, (struct style){.width = 100});
    for (uint64_t step = 0; step <= 1000; step++) {
        const struct progress_view view = {.stage = "train",
                                           .done = step,
                                           .total = 1000,
                                           .loss = (double)NAN,
                                           .eval_loss = (double)NAN};
        progress_update(&progress, &view, 1000 + step);
    }
    progress_end(&progress);
    const char *text = sheet_end(&sheet);
    size_t lines = 0;
    for (const char *at = text; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 11);
    assert_null(strchr(text, '\r'));
    assert_non_null(strstr(text, "train    1 000/1 000"));
}

static void test_progress__what_does_not_begin_says_why(void **state)
{
    (void)state;
    struct sheet sheet;
    struct progress progress;
    sheet_begin(&sheet);
    progress_init(&progress, sheet.file, (struct style){.width = 100});
    for (uint64_t done = 0; done < 2; done++) {
        const struct progress_view view = {.stage = "train",
                                           .detail = "no room",
                                           .done = done,
                                           .total = 2,
                                           .loss = (double)NAN,
                                           .eval_loss = (double)NAN};
        progress_update(&progress, &view, 1000 + done);
    }
    progress_end(&progress);
    assert_string_equal(sheet_end(&sheet), "train    0/2  no room\ntrain    1/2\n");
}

static void test_progress__what_stands_still_says_why_at_once_and_seldom(void **state)
{
    (void)state;
    struct sheet sheet;
    struct progress progress;
    sheet_begin(&sheet);
    progress_init(&progress, sheet.file, (struct style){.width = 100});
    for (uint64_t second = 1; second <= 44; second++) {
        struct progress_view view = {.stage = "train",
                                     .detail = second < 3 || second > 40 ? "" : "disk is full",
                                     .is_only_why = true,
                                     .done = 1 + (second > 40),
                                     .total = 100,
                                     .loss = (double)NAN,
                                     .eval_loss = (double)NAN};
        progress_update(&progress, &view, second * 1000);
    }
    assert_string_equal(sheet_end(&sheet),
                        "train    1/100  disk is full\ntrain    1/100  disk is full\n");
}

/* Quick steps and slow ones, up to a fortnight of them. */
static void test_progress__a_log_of_ten_thousand_steps_stays_under_a_megabyte(void **state)
{
    (void)state;
    static const uint64_t paces_ms[] = {1, 100, 1000, 10000, 29999, 30000, 120000};
    for (size_t pace = 0; pace < COUNT_OF(paces_ms); pace++) {
        struct sheet sheet;
        struct progress progress;
        sheet_begin(&sheet);
        progress_init(&progress, sheet.file, (struct style){.width = 100});
        for (uint64_t step = 0; step <= 10000; step++) {
            const struct progress_view view = {.stage = "train",
                                               .done = step,
                                               .total = 10000,
                                               .loss = 10000.5,
                                               .eval_loss = 10000.5,
                                               .tokens_per_s = 123456};
            progress_update(&progress, &view, 1000 + step * paces_ms[pace]);
        }
        progress_end(&progress);
        long size = ftell(sheet.file);
        assert_in_range(size, 400, 1000000); /* a line a tenth is 11 lines */
        print_message("%6" PRIu64 " ms a step: %ld bytes\n", paces_ms[pace], size);
        (void)sheet_end(&sheet);
    }
}

static void test_progress__a_slow_stage_says_a_line_in_half_a_minute(void **state)
{
    (void)state;
    struct sheet sheet;
    struct progress progress;
    sheet_begin(&sheet);
    progress_init(&progress, sheet.file, (struct style){.width = 100});
    const struct progress_view view = {.stage = "train",
                                       .done = 1,
                                       .total = 1000,
                                       .loss = 2.5,
                                       .eval_loss = (double)NAN,
                                       .tokens_per_s = 1234};
    for (uint64_t second = 1; second <= 61; second++)
        progress_update(&progress, &view, second * 1000);
    assert_string_equal(sheet_end(&sheet), "train    1/1 000  loss 2.5000  1 234 tok/s\n"
                                           "train    1/1 000  loss 2.5000  1 234 tok/s\n"
                                           "train    1/1 000  loss 2.5000  1 234 tok/s\n");
}

static void test_json_view__words_ids_and_absent_numbers(void **state)
{
    (void)state;
    struct job_row row = {
        .job = 0x1f,
        .name = TEXT("a \"b\""),
        .state = JOB_FAILED,
        .priority = -2,
        .loss = 0.5,
        .eval_loss = (double)NAN,
        .error = ERR_DATA,
        .detail = TEXT("row 3"),
    };
    struct json_write w;
    struct span text;
    json_write_init(&w, JSON_WRITE_COMPACT, 1 << 16);
    json_view_object(&w, NULL, &message_type_job_row, &row);
    assert_int_equal(json_write_finish(&w, &text), ERR_OK);
    char copy[1024] = {0};
    memcpy(copy, text.data, MIN(text.size, sizeof copy - 1));
    json_write_fini(&w);
    assert_string_equal(
        copy, "{\"created_unix_ms\":0,\"detail\":\"row 3\",\"done\":0,\"ended_unix_ms\":0,"
              "\"error\":\"DATA\",\"eval_loss\":null,\"job\":\"000000000000001f\",\"loss\":0.5,"
              "\"name\":\"a \\\"b\\\"\",\"owner\":\"\",\"priority\":-2,\"spec\":null,"
              "\"stage\":\"\",\"started_unix_ms\":0,\"state\":\"FAIL\",\"step_bytes\":0,\"total\":"
              "0,\"variants\":[]}");
}

static void test_json_view__a_strange_name_is_shown_and_takes_nothing_away(void **state)
{
    (void)state;
    const struct worker_row rows[] = {{.name = TEXT("\xC3\xA4\xFFz\xE2\x82")},
                                      {.name = TEXT("next")}};
    struct json_write w;
    struct span text;
    char copy[4096] = {0};
    json_write_init(&w, JSON_WRITE_COMPACT, 1 << 16);
    json_view_list(&w, NULL, &message_type_worker_row, rows, COUNT_OF(rows));
    assert_int_equal(json_write_finish(&w, &text), ERR_OK);
    memcpy(copy, text.data, MIN(text.size, sizeof copy - 1));
    json_write_fini(&w);
    assert_non_null(strstr(copy, "\"name\":\"\xC3\xA4\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\""));
    assert_non_null(strstr(copy, "\"name\":\"next\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_human__durations_take_two_units),
        cmocka_unit_test(test_human__sizes_and_counts_stay_short),
        cmocka_unit_test(test_table__columns_align_and_empty_ones_vanish),
        cmocka_unit_test(test_table__without_rows_only_the_header_is_printed),
        cmocka_unit_test(test_table__a_long_last_column_is_cut_on_a_terminal_alone),
        cmocka_unit_test(test_table__wide_characters_and_marks_stay_in_their_columns),
        cmocka_unit_test(test_table__lines_fit_a_terminal),
        cmocka_unit_test(test_style__colour_obeys_no_color_and_the_flag),
        cmocka_unit_test(test_style__texts_of_others_do_not_steer_the_terminal),
        cmocka_unit_test(test_frame__wide_characters_take_two_cells_and_marks_none),
        cmocka_unit_test(test_frame__half_of_a_wide_character_is_never_shown),
        cmocka_unit_test(test_progress__a_log_stays_quiet),
        cmocka_unit_test(test_progress__what_does_not_begin_says_why),
        cmocka_unit_test(test_progress__what_stands_still_says_why_at_once_and_seldom),
        cmocka_unit_test(test_progress__a_log_of_ten_thousand_steps_stays_under_a_megabyte),
        cmocka_unit_test(test_progress__a_slow_stage_says_a_line_in_half_a_minute),
        cmocka_unit_test(test_json_view__words_ids_and_absent_numbers),
        cmocka_unit_test(test_json_view__a_strange_name_is_shown_and_takes_nothing_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
