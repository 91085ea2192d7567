/* test_plot.c - axes, lines in characters and as a picture. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/plot/plot_page.h"
#include "cli/plot/plot_text.h"
#include "cli/plot/sparkline.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum { POINTS = 9, WIDTH = 48, HEIGHT = 10 };

struct sample {
    struct plot_point train[POINTS], eval[3];
    struct plot plot;
};

/* A line that falls, with a gap, and one that rises. */
static void init_sample(struct sample *s)
{
    for (size_t i = 0; i < POINTS; i++)
        s->train[i] = (struct plot_point){10.0 * (double)i, 4 - 0.25 * (double)i};
    s->train[4].y = (double)NAN;
    for (size_t i = 0; i < 3; i++)
        s->eval[i] = (struct plot_point){40.0 * (double)i, 1 + (double)i};
    s->plot = (struct plot){
        .title = "demo: loss",
        .subtitle = "step 80 of 80",
        .x_title = "step",
        .lines = {{.name = "train", .points = s->train, .count = POINTS},
                  {.name = "eval", .points = s->eval, .count = 3}},
        .line_count = 2,
    };
}

static void check_page(const struct plot *plot, bool unicode, const char *expected)
{
    static char text[8192];
    const struct style style = {.width = WIDTH};
    const struct plot_text_place all = {0, 0, WIDTH, HEIGHT};
    struct frame frame;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(frame_init(&frame, WIDTH, HEIGHT, unicode), ERR_OK);
    assert_int_equal(plot_text_draw(plot, &frame, all, NULL), ERR_OK);
    frame_print(&frame, &style, file);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    assert_string_equal(text, expected);
    frame_fini(&frame);
    (void)fclose(file);
}

static void test_plot_text__lines_are_named_at_their_ends(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    check_page(&s.plot, false,
               "demo: loss  step 80 of 80\n"
               "4 +**\n"
               "  |  ********\n"
               "3 +          **               ++++ + 3.000 eval\n"
               "  |                   ++++++++*\n"
               "2 +            +++++++         *** * 2.000 train\n"
               "  |    ++++++++\n"
               "1 +++++\n"
               "  ++-------+------+-------+------+\n"
               "   0      20     40      60     80  step\n");
    check_page(&s.plot, true,
               "demo: loss  step 80 of 80\n"
               "4 ┤⠉⠒⠒⠤⠤⣀⣀\n"
               "  │       ⠉⠉⠒⠤⢄⡀\n"
               "3 ┤                    ⢀⡀      ⢀⣀⠤⠤⠒ 3.000 eval\n"
               "  │                     ⣈⣑⠶⠤⢖⣊⡉⠁\n"
               "2 ┤              ⣀⣀⠤⠔⠒⠊⠉      ⠈⠉⠑⠒⠢⠤ 2.000 train\n"
               "  │      ⢀⣀⡠⠤⠔⠒⠉⠉\n"
               "1 ┤⣀⠤⠤⠒⠒⠉⠁\n"
               "  └┬───────┬───────┬───────┬───────┬\n"
               "   0      20      40      60      80  step\n");
}

static void test_plot__ticks_are_round_and_labels_have_the_digits_they_need(void **state)
{
    (void)state;
    static const struct {
        double low, high;
        bool is_log;
        const char *labels;
    } rows[] = {
        {0, 80, false, "0 20 40 60 80 "},
        {4.9, 5.6, false, "5.0 5.2 5.4 5.6 "},
        {-0.5, 0.25, false, "-0.4 -0.2 0.0 0.2 "},
        {1.5e-6, 2e-5, false, "5.0e-06 1.0e-05 1.5e-05 2.0e-05 "},
        {3, 3, false, "2.8 3.0 3.2 "},
        {0, 0, false, "-1.0 -0.5 0.0 0.5 1.0 "},
        {0.09, 1.1, true, "0.1 0.2 0.5 1 "},
        {1e-6, 2e3, true, "1e-06 1e-04 0.01 1 100 "},
        {2, 3, true, "2.0 2.2 2.4 2.6 2.8 3.0 "},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct plot_point points[] = {{0, rows[i].low}, {1, rows[i].high}};
        const struct plot plot = {.title = "t",
                                  .lines = {{.points = points, .count = 2}},
                                  .line_count = 1,
                                  .is_log = rows[i].is_log};
        struct plot_axis x, y;
        char labels[256] = "", label[PLOT_LABEL_BYTES];
        assert_int_equal(plot_axes(&plot, 5, 5, &x, &y, NULL), ERR_OK);
        for (size_t t = 0; t < y.tick_count; t++) {
            size_t n = strlen(labels);
            (void)snprintf(labels + n, sizeof labels - n, "%s ",
                           plot_axis_label(&y, y.ticks[t], label));
            double place = plot_axis_place(&y, y.ticks[t]);
            assert_true(place > -1e-6 && place < 1 + 1e-6);
        }
        assert_string_equal(labels, rows[i].labels);
    }
}

static void test_plot__steps_have_whole_ticks(void **state)
{
    (void)state;
    const struct plot_point points[] = {{1, 5}, {3, 4}};
    struct plot plot = {.title = "t", .lines = {{.points = points, .count = 2}}, .line_count = 1};
    struct plot_axis x, y;
    assert_int_equal(plot_axes(&plot, 8, 5, &x, &y, NULL), ERR_OK);
    assert_int_equal(x.tick_count, 5); /* 1, 1.5, 2, 2.5, 3 */
    plot.x_is_whole = true;
    assert_int_equal(plot_axes(&plot, 8, 5, &x, &y, NULL), ERR_OK);
    assert_int_equal(x.tick_count, 3);
}

static void test_plot__what_cannot_be_drawn_says_why(void **state)
{
    (void)state;
    const struct plot_point below[] = {{0, -1}, {1, 0}}, none[] = {{0, (double)NAN}};
    struct plot plot = {.title = "demo: loss", .is_log = true, .line_count = 1};
    struct plot_axis x, y;
    struct err_text et;
    assert_int_equal(plot_axes(&plot, 5, 5, &x, &y, &et), ERR_STATE);
    assert_string_equal(et.text, "demo: loss: nothing has been logged (yet)");
    plot.lines[0] = (struct plot_line){.points = below, .count = 2};
    assert_int_equal(plot_axes(&plot, 5, 5, &x, &y, &et), ERR_STATE);
    assert_non_null(strstr(et.text, "no value is positive"));
    plot.is_log = false;
    plot.lines[0] = (struct plot_line){.points = none, .count = 1};
    assert_int_equal(plot_axes(&plot, 5, 5, &x, &y, &et), ERR_STATE);
    assert_non_null(strstr(et.text, "no value is a number"));
}

static void test_plot__smoothing_begins_without_a_bias_and_passes_over_gaps(void **state)
{
    (void)state;
    const struct plot_point points[] = {{1, 4}, {2, (double)NAN}, {3, 4}, {4, 1}};
    struct plot_point out[4];
    plot_smooth(points, 4, 0.5, out);
    assert_true(out[0].y == 4 && isnan(out[1].y) && out[2].y == 4);
    assert_true(fabs(out[3].y - (0.5 * 0.75 * 4 + 0.5 * 1) / 0.875) < 1e-12);
    plot_smooth(points, 4, 0, out);
    assert_true(out[3].y == 1);
}

static void test_plot__thinning_keeps_ends_and_extremes_of_every_column(void **state)
{
    (void)state;
    enum { MANY = 10000, COLUMNS = 20 };
    static struct plot_point points[MANY], out[4 * COLUMNS + 4];
    for (size_t i = 0; i < MANY; i++)
        points[i] = (struct plot_point){(double)i, (double)(i * 7919 % 1000)};
    points[1234].y = 5000;
    points[8765].y = -5000;
    struct plot plot = {
        .title = "t", .lines = {{.points = points, .count = MANY}}, .line_count = 1};
    struct plot_axis x, y;
    assert_int_equal(plot_axes(&plot, 5, 5, &x, &y, NULL), ERR_OK);
    size_t count = plot_thin(points, MANY, &x, COLUMNS, out);
    bool has_high = false, has_low = false;
    assert_in_range(count, 2 * COLUMNS, 4 * COLUMNS + 4);
    assert_true(out[0].x == 0 && out[count - 1].x == MANY - 1);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || out[i].x > out[i - 1].x);
        has_high = has_high || out[i].y == 5000;
        has_low = has_low || out[i].y == -5000;
    }
    assert_true(has_high && has_low);
    for (size_t i = 0; i < MANY; i += 2) /* as full of gaps as can be */
        points[i].y = (double)NAN;
    assert_in_range(plot_thin(points, MANY, &x, COLUMNS, out), 1, 4 * COLUMNS + 4);
}

static void test_plot_page__a_picture_has_a_piece_of_line_between_gaps(void **state)
{
    (void)state;
    struct sample s;
    struct picture picture;
    struct bytes svg, png;
    init_sample(&s);
    assert_int_equal(plot_page_draw(&s.plot, &picture, NULL), ERR_OK);
    bytes_init(&svg, 1 << 20);
    bytes_init(&png, 1 << 24);
    assert_int_equal(picture_write_svg(&picture, &svg), ERR_OK);
    assert_int_equal(picture_write_png(&picture, &png), ERR_OK);
    bytes_append(&svg, "", 1);
    size_t lines = 0, marks = 8 + 3;
    for (const char *at = (const char *)svg.data; (at = strstr(at, "<polyline")) != NULL; at++)
        lines++;
    assert_int_equal(lines, 2 + 1 + marks);
    /* From (0, 4), the upper left corner, to (30, 3.25). */
    assert_non_null(strstr((const char *)svg.data, "points=\"72.0,76.0 162.0,104.3 252.0,132.7 "
                                                   "342.0,161.0\"/>"));
    assert_non_null(strstr((const char *)svg.data, ">2.000 train</text>"));
    bytes_fini(&svg);
    bytes_fini(&png);
    picture_fini(&picture);
}

static void test_plot__running_out_of_memory_is_told(void **state)
{
    (void)state;
    struct sample s;
    enum err page = ERR_OUT_OF_MEMORY, text = ERR_OUT_OF_MEMORY;
    init_sample(&s);
    for (size_t n = 1; page != ERR_OK || text != ERR_OK; n++) {
        struct picture picture;
        struct frame frame;
        const struct plot_text_place all = {0, 0, WIDTH, HEIGHT};
        assert_in_range(n, 1, 1000);
        assert_int_equal(frame_init(&frame, WIDTH, HEIGHT, true), ERR_OK);
        (void)mem_fault_after(n);
        page = plot_page_draw(&s.plot, &picture, NULL);
        (void)mem_fault_after(0);
        assert_true(page == ERR_OK || page == ERR_OUT_OF_MEMORY);
        if (page == ERR_OK)
            picture_fini(&picture);
        (void)mem_fault_after(n);
        text = plot_text_draw(&s.plot, &frame, all, NULL);
        (void)mem_fault_after(0);
        assert_true(text == ERR_OK || text == ERR_OUT_OF_MEMORY);
        frame_fini(&frame);
    }
}

static void test_sparkline__shows_means_of_shares(void **state)
{
    (void)state;
    const double values[] = {8, 8, 6, 6, 4, (double)NAN, 1, 1};
    char out[64];
    assert_string_equal(sparkline_print(values, 8, 4, true, out), "█▆▄▁");
    assert_string_equal(sparkline_print(values, 8, 4, false, out), "@*=_");
    assert_string_equal(sparkline_print(values, 1, 4, false, out), "_");
    assert_string_equal(sparkline_print(values + 5, 1, 4, false, out), "");
    assert_string_equal(sparkline_print(values, 0, 4, false, out), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plot_text__lines_are_named_at_their_ends),
        cmocka_unit_test(test_plot__ticks_are_round_and_labels_have_the_digits_they_need),
        cmocka_unit_test(test_plot__steps_have_whole_ticks),
        cmocka_unit_test(test_plot__what_cannot_be_drawn_says_why),
        cmocka_unit_test(test_plot__smoothing_begins_without_a_bias_and_passes_over_gaps),
        cmocka_unit_test(test_plot__thinning_keeps_ends_and_extremes_of_every_column),
        cmocka_unit_test(test_plot_page__a_picture_has_a_piece_of_line_between_gaps),
        cmocka_unit_test(test_plot__running_out_of_memory_is_told),
        cmocka_unit_test(test_sparkline__shows_means_of_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
