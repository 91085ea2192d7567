/* test_top_frame.c - pages of `qctl top`, whole. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/top_frame.h"
#include "common/base/check.h"
#include "common/message/state.h"

enum { POINTS = 40 };

struct sample {
    struct job_row jobs[4];
    struct worker_row workers[4];
    struct stage_row stages[3];
    struct plot_point points[POINTS];
    double losses[POINTS];
    struct plot plot;
    struct top_frame_view view;
};

static void init_jobs(struct sample *s)
{
    static const char *const names[] = {"waiting", "demo", "a name that is rather long", "broken"};
    static const enum job_state states[] = {JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_FAILED};
    for (size_t i = 0; i < COUNT_OF(s->jobs); i++)
        s->jobs[i] = (struct job_row){
            .job = 0x9c41e2b000000000u + i,
            .name = text_of(names[i]),
            .state = states[i],
            .created_unix_ms = 1700000000000,
            .ended_unix_ms = states[i] == JOB_DONE ? 1700000125000 : 0,
            .loss = (double)NAN,
            .eval_loss = (double)NAN,
        };
    s->jobs[1].stage = TEXT("train");
    s->jobs[1].done = 84;
    s->jobs[1].total = 200;
    s->jobs[1].loss = 2.104;
    s->jobs[1].eval_loss = 2.211;
    s->jobs[3].error = ERR_DATA;
    s->jobs[3].detail = TEXT("train.jsonl:3: expected an object\x1b[2J");
}

static void init_sample(struct sample *s)
{
    *s = (struct sample){
        .workers = {
            {.name = TEXT("w1"),
             .threads = 2,
             .task = TEXT("train 83 rows 0..4"),
             .rss_bytes = 300 << 20,
             .memory_bytes = 4ull << 30,
             .tokens_per_second = 6240},
            {.name = TEXT("w2"), .threads = 2, .rss_bytes = 10 << 20, .memory_bytes = 4ull << 30},
            {.name = TEXT("w3"),
             .threads = 2,
             .state = WORKER_QUIET,
             .detail = TEXT("silent for 6s"),
             .memory_bytes = 4ull << 30},
            {.name = TEXT("w4"), .threads = 2, .state = WORKER_LEFT},
        }};
    init_jobs(s);
    s->stages[0] = (struct stage_row){
        .name = TEXT("prepare"), .state = STAGE_DONE, .done = 2, .total = 2, .seconds = 12};
    s->stages[1] = (struct stage_row){.name = TEXT("train"),
                                      .state = STAGE_RUNNING,
                                      .done = 84,
                                      .total = 200,
                                      .seconds = 95,
                                      .where = TEXT("2 workers")};
    s->stages[2] = (struct stage_row){
        .name = TEXT("export"), .state = STAGE_WAITING, .total = 1, .detail = TEXT("needs train")};
    for (size_t i = 0; i < POINTS; i++) {
        s->losses[i] = 4 - 0.05 * (double)i;
        s->points[i] = (struct plot_point){2.0 * (double)(i + 1), s->losses[i]};
    }
    s->plot = (struct plot){.title = "loss",
                            .x_title = "step",
                            .lines = {{.name = "train", .points = s->points, .count = POINTS}},
                            .line_count = 1};
    s->view = (struct top_frame_view){
        .endpoint = "ipc:///srv/qfleet/control.sock",
        .now_unix_ms = 1700000100000,
        .jobs = s->jobs,
        .job_count = COUNT_OF(s->jobs),
        .selected = 1,
        .workers = s->workers,
        .worker_count = COUNT_OF(s->workers),
        .plot = &s->plot,
        .tokens_per_s = 6240,
        .seconds_left = 131,
        .losses = s->losses,
        .loss_count = POINTS,
        .stages = s->stages,
        .stage_count = COUNT_OF(s->stages),
    };
}

static void check_page(const struct top_frame_view *view, size_t width, size_t height, bool unicode,
                       const char *expected)
{
    static char text[1 << 16];
    const struct style style = {.width = width};
    struct frame frame;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(frame_init(&frame, width, height, unicode), ERR_OK);
    assert_int_equal(top_frame_draw(view, &frame), ERR_OK);
    frame_print(&frame, &style, file);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    assert_string_equal(text, expected);
    frame_fini(&frame);
    (void)fclose(file);
}

static void test_top_frame__a_wide_page_has_jobs_workers_and_a_curve(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    check_page(&s.view, 80, 22, true,
               "qfleet ipc:///srv/qfleet/control.sock                                  22:15:00Z\n"
               "workers ■□! 1 of 3 busy  6 threads  6 240 tok/s  rss 310M of 12G\n"
               "\n"
               "  ID       NAME              STATE   STAGE                  LOSS    EVAL    TIME\n"
               "  9c41e2b  waiting           wait                              -       -   1m40s\n"
               "▸ 9c41e2b  demo              run     train 84/200          2.104   2.211   1m40s\n"
               "  9c41e2b  a name that is +  ok                                -       -   2m05s\n"
               "  9c41e2b  broken            FAIL                              -       -   1m40s\n"
               "\n"
               "demo  train ━━━━━━╌╌╌╌╌╌╌╌╌╌ 84/200  6 240 tok/s  2m11s left\n"
               "loss\n"
               "4 ┤⠉⠒⠒⠒⠢⠤⣀⣀⣀⡀\n"
               "  │         ⠈⠉⠒⠢⠤⠤⠤⣀⡀\n"
               "  │                 ⠈⠉⠉⠉⠒⠢⠤⠤⠤⣀⡀\n"
               "3 ┤                           ⠈⠉⠉⠉⠒⠢⠤⣀⣀⣀⡀\n"
               "  │                                     ⠈⠉⠒⠒⠒⠢⠤⣀⣀⣀⡀\n"
               "  │                                               ⠈⠉⠒⠒⠒⠢⠤⣀⡀\n"
               "  │                                                       ⠈⠉⠉⠉⠒⠢⠤⠤⠤⣀ 2.050 train\n"
               "  └───────────────┬───────────────┬────────────────┬───────────────┬\n"
               "                 20              40               60              80  step\n"
               "\n"
               "q quit  j k select  enter stages  w workers  p curve  l log  s smooth\n");
}

static void test_top_frame__a_small_page_without_unicode_has_a_sparkline(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    check_page(&s.view, 48, 14, false,
               "qfleet ipc:///srv/qfleet/control.sock  22:15:00Z\n"
               "workers #-! 1 of 3 busy  6 threads  rss 310M of+\n"
               "\n"
               "  ID       NAME          STATE      LOSS    TIME\n"
               "  9c41e2b  waiting       wait          -   1m40s\n"
               "> 9c41e2b  demo          run       2.104   1m40s\n"
               "  9c41e2b  a name that+  ok            -   2m05s\n"
               "\n"
               "demo  train ######.......... 84/200  6 240 tok/s\n"
               "loss @@@@@#####*****+++++=====-----....._____\n"
               "\n"
               "\n"
               "\n"
               "q quit  j k select  enter stages  w workers\n");
}

static void test_top_frame__panes_show_stages_or_workers(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    s.view.pane = TOP_FRAME_STAGES;
    check_page(&s.view, 80, 16, true,
               "qfleet ipc:///srv/qfleet/control.sock                                  22:15:00Z\n"
               "workers ■□! 1 of 3 busy  6 threads  6 240 tok/s  rss 310M of 12G\n"
               "\n"
               "  ID       NAME              STATE   STAGE                  LOSS    EVAL    TIME\n"
               "  9c41e2b  waiting           wait                              -       -   1m40s\n"
               "▸ 9c41e2b  demo              run     train 84/200          2.104   2.211   1m40s\n"
               "  9c41e2b  a name that is +  ok                                -       -   2m05s\n"
               "\n"
               "demo  train ━━━━━━╌╌╌╌╌╌╌╌╌╌ 84/200  6 240 tok/s  2m11s left\n"
               "  ok      prepare                     2/2                12s\n"
               "  run     train                       84/200           1m35s  2 workers\n"
               "  wait    export                      0/1               0.0s      needs train\n"
               "\n"
               "\n"
               "\n"
               "q quit  j k select  enter stages  w workers  p curve  l log  s smooth\n");
    s.view.pane = TOP_FRAME_WORKERS;
    check_page(&s.view, 80, 16, true,
               "qfleet ipc:///srv/qfleet/control.sock                                  22:15:00Z\n"
               "workers ■□! 1 of 3 busy  6 threads  6 240 tok/s  rss 310M of 12G\n"
               "\n"
               "  ID       NAME              STATE   STAGE                  LOSS    EVAL    TIME\n"
               "  9c41e2b  waiting           wait                              -       -   1m40s\n"
               "▸ 9c41e2b  demo              run     train 84/200          2.104   2.211   1m40s\n"
               "  9c41e2b  a name that is +  ok                                -       -   2m05s\n"
               "\n"
               "  w1                   ready  300M of 4.0G          6 240  train 83 rows 0..4\n"
               "  w2                   ready  10M of 4.0G\n"
               "  w3                   quiet  0 of 4.0G                    silent for 6s\n"
               "  w4                   left   0 of 0\n"
               "\n"
               "\n"
               "\n"
               "q quit  j k select  enter stages  w workers  p curve  l log  s smooth\n");
}

static void test_top_frame__the_chosen_job_is_in_sight_and_its_words_steer_nothing(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    s.view.selected = 3;
    s.view.trouble = "no answer within 1.5s";
    s.view.tokens_per_s = 0;
    s.view.seconds_left = -1;
    s.plot.line_count = 0;
    check_page(&s.view, 72, 16, true,
               "qfleet no answer within 1.5s                                   22:15:00Z\n"
               "workers ■□! 1 of 3 busy  6 threads  6 240 tok/s  rss 310M of 12G\n"
               "\n"
               "  ID       NAME      STATE   STAGE                  LOSS    EVAL    TIME\n"
               "  9c41e2b  demo      run     train 84/200          2.104   2.211   1m40s\n"
               "  9c41e2b  a name +  ok                                -       -   2m05s\n"
               "▸ 9c41e2b  broken    FAIL                              -       -   1m40s\n"
               "\n"
               "broken    train.jsonl:3: expected an object?[2J\n"
               "loss █████▇▇▇▇▇▆▆▆▆▆▅▅▅▅▅▄▄▄▄▄▃▃▃▃▃▂▂▂▂▂▁▁▁▁▁\n"
               "\n"
               "\n"
               "\n"
               "\n"
               "\n"
               "q quit  j k select  enter stages  w workers  p curve  l log  s smooth\n");
}

static void test_top_frame__an_idle_fleet_says_how_to_begin(void **state)
{
    (void)state;
    const struct top_frame_view view = {.endpoint = "e", .now_unix_ms = 1000};
    check_page(&view, 60, 10, false,
               "qfleet e                                           00:00:01Z\n"
               "workers  0 of 0 busy  0 threads  rss 0 of 0\n"
               "\n"
               "  ID       NAME                      STATE      LOSS    TIME\n"
               "  no jobs; qctl submit recipe.yml gives one\n"
               "\n"
               "\n"
               "\n"
               "\n"
               "q quit  j k select  enter stages  w workers  p curve  l log\n");
    check_page(&view, 20, 3, false, "needs 40 by 10 char+\n\n\n");
}

/* Every size draws within its page. */
static void test_top_frame__all_sizes_hold(void **state)
{
    (void)state;
    struct sample s;
    init_sample(&s);
    for (size_t width = 1; width < 130; width += 3) {
        for (size_t height = 1; height < 40; height++) {
            struct frame frame;
            s.view.pane = (enum top_frame_pane)(height % 3);
            s.view.selected = (width + height) % 4;
            assert_int_equal(frame_init(&frame, width, height, width % 2 == 0), ERR_OK);
            assert_int_equal(top_frame_draw(&s.view, &frame), ERR_OK);
            frame_fini(&frame);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_top_frame__a_wide_page_has_jobs_workers_and_a_curve),
        cmocka_unit_test(test_top_frame__a_small_page_without_unicode_has_a_sparkline),
        cmocka_unit_test(test_top_frame__panes_show_stages_or_workers),
        cmocka_unit_test(test_top_frame__the_chosen_job_is_in_sight_and_its_words_steer_nothing),
        cmocka_unit_test(test_top_frame__an_idle_fleet_says_how_to_begin),
        cmocka_unit_test(test_top_frame__all_sizes_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
