/* cmd_top.c - `qctl top`: asks once a second, draws, listens to keys. What is shown of one job is
 * what qctl plot and qctl graph show. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/run_plot.h"
#include "cli/plot/pace.h"
#include "cli/plot/run_metric.h"
#include "cli/screen/screen.h"
#include "cli/top/top_frame.h"
#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"

enum {
    ASK_MS = 1000,
    KEYS_MS = 40,
    REQUEST_WAIT_MS = 1500,
    JOBS_MAX = 200,
    ARENA_BYTES_MAX = 256 << 20,
    HEIGHT_ONCE = 24
};

struct top {
    struct invocation *invocation;
    struct client *client;
    struct screen *screen; /* NULL: --once */
    struct arena arena;    /* owned: lists of the last answers */
    struct top_frame_view view;
    uint64_t job; /* the chosen one; 0: none yet */
    struct follow follow;
    const char *word; /* metric of the curve */
    bool is_log;
    double weight; /* of smoothing */
    char trouble[512];
};

#define SMOOTH 0.95 /* by the key s */

/* ---- what is known ---- */

static enum err ask_jobs(struct top *top, struct arena *arena, struct msg_jobs *jobs,
                         struct err_text *et)
{
    const union message_any *reply = NULL;
    struct msg_jobs_get get = {.limit = JOBS_MAX};
    TRY(client_request(top->client, &message_type_msg_jobs_get, &get, &message_type_msg_jobs,
                       &reply, et));
    return message_copy(&message_type_msg_jobs, &reply->jobs, arena, jobs);
}

static enum err ask_workers(struct top *top, struct arena *arena, struct msg_workers *workers,
                            struct err_text *et)
{
    const union message_any *reply = NULL;
    struct msg_workers_get get = {0};
    TRY(client_request(top->client, &message_type_msg_workers_get, &get, &message_type_msg_workers,
                       &reply, et));
    return message_copy(&message_type_msg_workers, &reply->workers, arena, workers);
}

static enum err ask_stages(struct top *top, struct arena *arena, struct msg_job *job,
                           struct err_text *et)
{
    const union message_any *reply = NULL;
    struct msg_job_get get = {.prefix = text_of(top->follow.id), .points_after = UINT64_MAX};
    TRY(client_request(top->client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply,
                       et));
    return message_copy(&message_type_msg_job, &reply->job, arena, job);
}

/* The chosen job's place in the list; the first that works when none is chosen or it is gone. */
static size_t find_chosen(struct top *top, const struct msg_jobs *jobs)
{
    size_t found = 0;
    bool is_found = false;
    for (size_t i = 0; i < jobs->jobs_count && !is_found; i++) {
        is_found = jobs->jobs[i].job == top->job;
        found = is_found ? i : found;
    }
    for (size_t i = 0; i < jobs->jobs_count && !is_found; i++) {
        is_found = jobs->jobs[i].state == JOB_RUNNING;
        found = is_found ? i : found;
    }
    return found;
}

/* Follows another job from its first point on. */
static void choose(struct top *top, uint64_t job)
{
    if (top->job == job)
        return;
    mem_free(top->follow.points);
    follow_init(&top->follow, top->client, job, top->invocation);
    top->follow.is_quiet = true;
    top->job = job;
}

static enum err ask_all(struct top *top, struct arena *arena, struct top_frame_view *view,
                        struct err_text *et)
{
    struct msg_jobs jobs = {0};
    struct msg_workers workers = {0};
    struct msg_job job = {0};
    TRY(ask_jobs(top, arena, &jobs, et));
    TRY(ask_workers(top, arena, &workers, et));
    view->jobs = jobs.jobs;
    view->job_count = jobs.jobs_count;
    view->workers = workers.workers;
    view->worker_count = workers.workers_count;
    if (jobs.jobs_count == 0)
        return ERR_OK;
    view->selected = find_chosen(top, &jobs);
    choose(top, jobs.jobs[view->selected].job);
    TRY(follow_step(&top->follow, et));
    if (view->pane == TOP_FRAME_STAGES)
        TRY(ask_stages(top, arena, &job, et));
    view->stages = job.stages;
    view->stage_count = job.stages_count;
    return ERR_OK;
}

/* Asks for everything; what was known stays when there is no answer, and is said to be old. */
static enum err refresh(struct top *top, struct err_text *et)
{
    struct arena arena;
    struct top_frame_view view = {
        .endpoint = top->view.endpoint, .pane = top->view.pane, .now_unix_ms = exchange_unix_ms()};
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err = ask_all(top, &arena, &view, et);
    if (err != ERR_OK) {
        (void)snprintf(top->trouble, sizeof top->trouble, "%s",
                       et->text[0] != '\0' ? et->text : error_text(err));
        top->view.trouble = top->trouble;
        arena_fini(&arena);
        return err;
    }
    arena_fini(&top->arena);
    top->arena = arena;
    top->view = view;
    return ERR_OK;
}

/* ---- what is shown ---- */

static bool is_training(const struct job_row *job)
{
    return job->state == JOB_RUNNING && text_is(job->stage, state_kind_word(STAGE_KIND_TRAIN));
}

static void fill_pace(const struct top *top, struct top_frame_view *view)
{
    const struct follow *follow = &top->follow;
    view->seconds_left = -1;
    if (view->job_count == 0 || !is_training(&view->jobs[view->selected]))
        return;
    struct pace pace = pace_of(follow->points, follow->point_count,
                               follow->variant_count == 0 ? follow->steps_total : 0);
    view->tokens_per_s = pace.tokens_per_s;
    view->seconds_left = pace.seconds_left;
}

/* Losses of training, of all variants one after the other. */
static enum err fill_losses(struct arena *arena, const struct follow *follow,
                            struct top_frame_view *view)
{
    double *losses = arena_alloc(arena, MAX(follow->point_count, (size_t)1), sizeof *losses);
    if (losses == NULL)
        return ERR_OUT_OF_MEMORY;
    view->loss_count = 0;
    for (size_t i = 0; i < follow->point_count; i++) {
        if (!follow->points[i].is_eval)
            losses[view->loss_count++] = follow->points[i].loss;
    }
    view->losses = losses;
    return ERR_OK;
}

static enum err draw(struct top *top, size_t width, size_t height, bool unicode,
                     struct frame *frame, struct err_text *et)
{
    struct top_frame_view view = top->view;
    struct run_plot plot;
    run_plot_init(&plot, top->word);
    plot.plot.is_log = top->is_log;
    enum err err;
    TRY_OUT(
        run_plot_add(&plot, top->word, &top->follow, NULL, RUN_PLOT_STEP, top->weight, false, et));
    TRY_OUT(fill_losses(&plot.arena, &top->follow, &view));
    fill_pace(top, &view);
    view.plot = &plot.plot;
    TRY_OUT(frame_init(frame, width, height, unicode));
    err = top_frame_draw(&view, frame);
    if (err != ERR_OK)
        frame_fini(frame);
out:
    run_plot_fini(&plot);
    return err;
}

static enum err show(struct top *top, struct err_text *et)
{
    struct frame frame;
    size_t width, height;
    screen_size(top->screen, &width, &height);
    TRY(draw(top, width, height, screen_is_unicode(top->screen), &frame, et));
    screen_show(top->screen, &frame);
    frame_fini(&frame);
    return ERR_OK;
}

/* ---- keys ---- */

static void move(struct top *top, int by)
{
    const struct top_frame_view *v = &top->view;
    if (v->job_count == 0 || (by < 0 && v->selected == 0) ||
        (by > 0 && v->selected + 1 >= v->job_count))
        return;
    top->view.selected = by < 0 ? v->selected - 1 : v->selected + 1;
    choose(top, v->jobs[top->view.selected].job);
}

/* The next word of the table of metrics. */
static const char *next_word(const char *word)
{
    const struct run_metric *metric;
    bool is_past = false;
    for (size_t i = 0; (metric = run_metric_at(i)) != NULL; i++) {
        bool is_same = strcmp(metric->word, word) == 0;
        if (is_past && !is_same)
            return metric->word;
        is_past = is_past || is_same;
    }
    return run_metric_at(0)->word;
}

/* False: it is over. */
static bool take_key(struct top *top, int key)
{
    enum top_frame_pane *pane = &top->view.pane;
    switch (key) {
    case 'q':
        return false;
    case 'j':
    case SCREEN_DOWN:
        move(top, 1);
        break;
    case 'k':
    case SCREEN_UP:
        move(top, -1);
        break;
    case SCREEN_ENTER:
        *pane = *pane == TOP_FRAME_STAGES ? TOP_FRAME_CURVE : TOP_FRAME_STAGES;
        break;
    case 'w':
        *pane = *pane == TOP_FRAME_WORKERS ? TOP_FRAME_CURVE : TOP_FRAME_WORKERS;
        break;
    case 'p':
        top->word = *pane == TOP_FRAME_CURVE ? next_word(top->word) : top->word;
        *pane = TOP_FRAME_CURVE;
        break;
    case 'l':
        top->is_log = !top->is_log;
        break;
    case 's':
        top->weight = top->weight == 0 ? SMOOTH : 0;
        break;
    case SCREEN_ESCAPE:
        *pane = TOP_FRAME_CURVE;
        break;
    default:
        break;
    }
    return true;
}

/* Until q or a signal. */
static enum err run_screen(struct top *top, struct err_text *et)
{
    uint64_t asked_ms = 0;
    for (bool is_new = true;;) {
        uint64_t now_ms = exchange_now_ms();
        if (is_new || now_ms - asked_ms >= ASK_MS) {
            struct err_text trouble = {{0}};
            (void)!refresh(top, &trouble); /* shown in the first line */
            asked_ms = exchange_now_ms();
            TRY(show(top, et));
        }
        int key = screen_key(top->screen);
        if (!take_key(top, key))
            return ERR_OK;
        is_new = key != SCREEN_NONE;
        if (is_new)
            continue;
        int number = follow_pause(KEYS_MS);
        if (number != 0) {
            top->invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
            return ERR_OK;
        }
    }
}

static enum err run_once(struct top *top, struct err_text *et)
{
    const struct style *style = &top->invocation->style;
    struct frame frame;
    uint64_t width = style->width, height = HEIGHT_ONCE;
    TRY(command_u64(top->invocation, "width", TOP_FRAME_WIDTH_MIN, FRAME_SIDE_MAX, &width, et));
    TRY(command_u64(top->invocation, "height", TOP_FRAME_HEIGHT_MIN, FRAME_SIDE_MAX, &height, et));
    TRY(refresh(top, et));
    TRY(draw(top, (size_t)width, (size_t)height, style->unicode, &frame, et));
    frame_print(&frame, style, top->invocation->out);
    frame_fini(&frame);
    return ERR_OK;
}

enum err cmd_top(struct invocation *invocation, struct err_text *et)
{
    struct top top = {.invocation = invocation, .word = "loss"};
    const struct environment *env = invocation->environment;
    const struct style *style = &invocation->style;
    bool is_once = command_flag(invocation, "once") || !style->terminal || isatty(0) != 1;
    top.view.endpoint = command_text(invocation, "coordinator");
    if (top.view.endpoint == NULL)
        top.view.endpoint = env->coordinator != NULL ? env->coordinator : "";
    TRY(command_connect(invocation, &top.client, et));
    arena_init(&top.arena, ARENA_BYTES_MAX);
    enum err err = ERR_OK;
    if (is_once) {
        err = run_once(&top, et);
    } else {
        client_set_wait(top.client, REQUEST_WAIT_MS);
        follow_block_signals();
        err = screen_open(env->term, style->color, style->unicode, &top.screen, et);
        if (err == ERR_OK)
            err = run_screen(&top, et);
        screen_close(&top.screen);
    }
    mem_free(top.follow.points);
    arena_fini(&top.arena);
    client_close(&top.client);
    return err;
}
