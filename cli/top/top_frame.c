/* top_frame.c - lines of the page, from the top. */
#include "cli/top/top_frame.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cli/plot/plot_text.h"
#include "cli/plot/sparkline.h"
#include "cli/render/human.h"
#include "cli/render/state_color.h"
#include "common/base/check.h"
#include "common/message/state.h"

enum {
    BAR_CELLS = 16,
    STAGE_WIDTH = 18,
    NUMBER_WIDTH = 7,
    WIDE = 72,   /* columns from which held-out losses are shown */
    MIDDLE = 64, /* and stages */
    NARROW = 48, /* and losses */
    NAME_MAX = 40,
    TEXT_BYTES = 512,
    JOBS_ROW = 3
};

static const char *text_of_field(struct text text, char out[TEXT_BYTES])
{
    (void)snprintf(out, TEXT_BYTES, "%.*s", (int)MIN(text.size, (size_t)TEXT_BYTES - 1),
                   text.size > 0 ? text.data : "");
    return out;
}

static void put_right(struct frame *f, size_t row, size_t end, enum style_color color,
                      const char *text)
{
    size_t width = style_width(text);
    if (width <= end)
        (void)frame_text(f, row, end - width, width, color, "%s", text);
}

/* ---- the head ---- */

static void draw_title(const struct top_frame_view *v, struct frame *f)
{
    char time[HUMAN_BYTES];
    bool is_bad = v->trouble != NULL;
    (void)frame_text(f, 0, 0, f->width, STYLE_BOLD, "qfleet");
    (void)frame_text(f, 0, 7, f->width - 18, is_bad ? STYLE_BAD : STYLE_DIM, "%s",
                     is_bad ? v->trouble : v->endpoint);
    (void)human_time(v->now_unix_ms, time);
    if (time[0] != '-')
        put_right(f, 0, f->width, STYLE_DIM, time + 11);
}

static bool is_here(const struct worker_row *w)
{
    return w->state != WORKER_LEFT && w->state != WORKER_LOST;
}

static bool is_busy(const struct worker_row *w)
{
    return is_here(w) && w->task.size > 0;
}

/* One sign a worker, so that a fleet is seen at a glance. */
static void draw_worker(const struct worker_row *w, struct frame *f, size_t column)
{
    const char *glyph = f->unicode ? "□" : "-";
    enum style_color color = STYLE_DIM;
    if (is_busy(w)) {
        glyph = f->unicode ? "■" : "#";
        color = STYLE_BUSY;
    }
    if (w->state == WORKER_DRAINING)
        color = STYLE_LINE_2;
    if (w->state == WORKER_QUIET || w->state == WORKER_LOST) {
        glyph = "!";
        color = STYLE_BAD;
    }
    frame_glyph(f, 1, column, color, glyph);
}

static void draw_fleet(const struct top_frame_view *v, struct frame *f)
{
    char line[TEXT_BYTES], rss[HUMAN_BYTES], memory[HUMAN_BYTES], speed[HUMAN_BYTES];
    uint64_t here = 0, busy = 0, threads = 0, rss_bytes = 0, memory_bytes = 0;
    double tokens_per_s = 0;
    size_t column = 8;
    (void)frame_text(f, 1, 0, 8, STYLE_PLAIN, "workers");
    for (size_t i = 0; i < v->worker_count; i++) {
        const struct worker_row *w = &v->workers[i];
        if (w->state == WORKER_LEFT)
            continue;
        if (column < f->width / 2)
            draw_worker(w, f, column++);
        here += is_here(w);
        busy += is_busy(w);
        threads += is_here(w) ? w->threads : 0;
        rss_bytes += is_here(w) ? w->rss_bytes : 0;
        memory_bytes += is_here(w) ? w->memory_bytes : 0;
        tokens_per_s += is_busy(w) ? w->tokens_per_second : 0;
    }
    (void)snprintf(line, sizeof line, "%" PRIu64 " of %" PRIu64 " busy  %" PRIu64 " threads", busy,
                   here, threads);
    column += 1 + frame_text(f, 1, column + 1, f->width, STYLE_PLAIN, "%s", line);
    if (tokens_per_s > 0 && f->width >= WIDE)
        column += frame_text(f, 1, column, f->width, STYLE_PLAIN, "  %s tok/s",
                             human_count((uint64_t)tokens_per_s, speed));
    (void)frame_text(f, 1, column, f->width, STYLE_PLAIN, "  rss %s of %s",
                     human_size(rss_bytes, rss), human_size(memory_bytes, memory));
}

/* ---- jobs ---- */

/* Columns of the table; 0 for one that has no room. */
struct columns {
    size_t name, state, stage, loss, eval, time; /* where they begin, the last three end */
    size_t name_width;
};

static struct columns columns_of(const struct frame *f)
{
    struct columns c = {.name = 11, .time = f->width};
    size_t end = f->width - 8;
    c.eval = f->width >= WIDE ? end : 0;
    end -= c.eval > 0 ? NUMBER_WIDTH + 1 : 0;
    c.loss = f->width >= NARROW ? end : 0;
    end -= c.loss > 0 ? NUMBER_WIDTH + 2 : 2;
    c.stage = f->width >= MIDDLE ? end - STAGE_WIDTH : 0;
    end -= c.stage > 0 ? STAGE_WIDTH + 2 : 0;
    end -= 6;
    c.name_width = MIN(end - 2 - c.name, (size_t)NAME_MAX);
    size_t spare = end - 2 - c.name - c.name_width; /* goes to the right of short names */
    c.state = end - spare;
    c.stage -= c.stage > 0 ? spare : 0;
    return c;
}

static void draw_job(const struct top_frame_view *v, size_t index, const struct columns *c,
                     size_t row, struct frame *f)
{
    const struct job_row *job = &v->jobs[index];
    char text[TEXT_BYTES], id[HUMAN_BYTES], number[HUMAN_BYTES];
    bool is_chosen = index == v->selected;
    uint64_t end_ms = job->ended_unix_ms != 0 ? job->ended_unix_ms : v->now_unix_ms;
    double age = (double)(end_ms - MIN(end_ms, job->created_unix_ms)) / 1000;
    if (is_chosen)
        frame_glyph(f, row, 0, STYLE_BOLD, f->unicode ? "▸" : ">");
    (void)frame_text(f, row, 2, 7, is_chosen ? STYLE_BOLD : STYLE_PLAIN, "%s",
                     human_id(job->job, id));
    (void)frame_text(f, row, c->name, c->name_width, is_chosen ? STYLE_BOLD : STYLE_PLAIN, "%s",
                     text_of_field(job->name, text));
    (void)frame_text(f, row, c->state, 6, state_color_job((enum job_state)job->state), "%s",
                     state_job_word((enum job_state)job->state));
    if (c->stage > 0) {
        size_t used = frame_text(f, row, c->stage, STAGE_WIDTH, STYLE_PLAIN, "%s",
                                 text_of_field(job->stage, text));
        if (job->total > 0)
            (void)frame_text(f, row, c->stage + used + 1, STAGE_WIDTH - MIN(used + 1, STAGE_WIDTH),
                             STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, job->done, job->total);
    }
    if (c->loss > 0)
        put_right(f, row, c->loss, STYLE_PLAIN, human_number(job->loss, number));
    if (c->eval > 0)
        put_right(f, row, c->eval, STYLE_PLAIN, human_number(job->eval_loss, number));
    put_right(f, row, c->time, STYLE_DIM, human_duration(age, number));
}

/* Rows of the table, so placed that the chosen one is among them. Returns the row below. */
static size_t draw_jobs(const struct top_frame_view *v, struct frame *f, size_t rows)
{
    struct columns c = columns_of(f);
    size_t shown = MIN(v->job_count, rows);
    size_t first = v->selected >= shown ? v->selected + 1 - shown : 0;
    (void)frame_text(f, JOBS_ROW, 2, 9, STYLE_DIM, "ID");
    (void)frame_text(f, JOBS_ROW, c.name, 9, STYLE_DIM, "NAME");
    (void)frame_text(f, JOBS_ROW, c.state, 9, STYLE_DIM, "STATE");
    if (c.stage > 0)
        (void)frame_text(f, JOBS_ROW, c.stage, 9, STYLE_DIM, "STAGE");
    if (c.loss > 0)
        put_right(f, JOBS_ROW, c.loss, STYLE_DIM, "LOSS");
    if (c.eval > 0)
        put_right(f, JOBS_ROW, c.eval, STYLE_DIM, "EVAL");
    put_right(f, JOBS_ROW, c.time, STYLE_DIM, "TIME");
    for (size_t i = 0; i < shown; i++)
        draw_job(v, first + i, &c, JOBS_ROW + 1 + i, f);
    if (v->job_count == 0)
        (void)frame_text(f, JOBS_ROW + 1, 2, f->width, STYLE_DIM,
                         "no jobs; qctl submit recipe.yml gives one");
    return JOBS_ROW + 1 + MAX(shown, (size_t)1);
}

/* ---- the chosen one ---- */

static void draw_chosen(const struct top_frame_view *v, struct frame *f, size_t row)
{
    const struct job_row *job = &v->jobs[v->selected];
    char text[TEXT_BYTES], number[HUMAN_BYTES];
    size_t at =
        frame_text(f, row, 0, f->width / 3, STYLE_BOLD, "%s", text_of_field(job->name, text)) + 2;
    if (job->total > 0) {
        size_t full = (size_t)((double)MIN(job->done, job->total) / (double)job->total * BAR_CELLS);
        at += frame_text(f, row, at, STAGE_WIDTH, STYLE_PLAIN, "%s ",
                         text_of_field(job->stage, text));
        for (size_t i = 0; i < BAR_CELLS; i++)
            frame_glyph(f, row, at + i, i < full ? STYLE_BUSY : STYLE_DIM,
                        f->unicode ? (i < full ? "━" : "╌") : (i < full ? "#" : "."));
        at += BAR_CELLS + 1;
        at += frame_text(f, row, at, f->width, STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, job->done,
                         job->total);
    }
    if (v->tokens_per_s > 0)
        at += frame_text(f, row, at, f->width, STYLE_PLAIN, "  %s tok/s",
                         human_count((uint64_t)v->tokens_per_s, number));
    if (v->seconds_left >= 0)
        at += frame_text(f, row, at, f->width, STYLE_PLAIN, "  %s left",
                         human_duration(v->seconds_left, number));
    if (job->detail.size > 0)
        (void)frame_text(f, row, at, f->width, job->error != 0 ? STYLE_BAD : STYLE_DIM, "  %s",
                         text_of_field(job->detail, text));
}

static void draw_sparkline(const struct top_frame_view *v, struct frame *f, size_t row)
{
    char line[3 * FRAME_SIDE_MAX + 1];
    size_t width = f->width > 6 ? f->width - 6 : 1;
    (void)frame_text(f, row, 0, 5, STYLE_DIM, "loss");
    (void)frame_text(f, row, 5, width, STYLE_LINE_1, "%s",
                     sparkline_print(v->losses, v->loss_count, width, f->unicode, line));
}

static enum err draw_curve(const struct top_frame_view *v, struct frame *f, size_t row, size_t rows)
{
    struct err_text et = {{0}};
    if (rows < PLOT_TEXT_HEIGHT_MIN) {
        if (rows > 0)
            draw_sparkline(v, f, row);
        return ERR_OK;
    }
    const struct plot_text_place place = {row, 0, f->width, rows};
    enum err err = v->plot != NULL ? plot_text_draw(v->plot, f, place, &et) : ERR_STATE;
    if (err == ERR_STATE)
        (void)frame_text(f, row, 2, f->width, STYLE_DIM, "%s",
                         et.text[0] != '\0' ? et.text : "nothing has been logged (yet)");
    return err == ERR_STATE ? ERR_OK : err;
}

/* Stages from the first that is not done on, when not all have room. */
static void draw_stages(const struct top_frame_view *v, struct frame *f, size_t row, size_t rows)
{
    char text[TEXT_BYTES], number[HUMAN_BYTES];
    size_t first = 0;
    while (first + rows < v->stage_count && v->stages[first].state == STAGE_DONE)
        first++;
    first = MIN(first, v->stage_count - MIN(v->stage_count, rows));
    for (size_t i = 0; i < MIN(rows, v->stage_count - first); i++) {
        const struct stage_row *s = &v->stages[first + i];
        (void)frame_text(f, row + i, 2, 6, state_color_stage((enum stage_state)s->state), "%s",
                         state_stage_word((enum stage_state)s->state));
        (void)frame_text(f, row + i, 10, 26, STYLE_PLAIN, "%s", text_of_field(s->name, text));
        size_t at = 38;
        if (s->total > 0)
            (void)frame_text(f, row + i, at, 14, STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, s->done,
                             s->total);
        put_right(f, row + i, at + 22, STYLE_DIM, human_duration(s->seconds, number));
        size_t used =
            frame_text(f, row + i, at + 24, 12, STYLE_PLAIN, "%s", text_of_field(s->where, text));
        (void)frame_text(f, row + i, at + 25 + MAX(used, (size_t)3), f->width, STYLE_DIM, "%s",
                         text_of_field(s->detail, text));
    }
}

static void draw_workers(const struct top_frame_view *v, struct frame *f, size_t row, size_t rows)
{
    char text[TEXT_BYTES], a[HUMAN_BYTES], b[HUMAN_BYTES];
    for (size_t i = 0; i < MIN(rows, v->worker_count); i++) {
        const struct worker_row *w = &v->workers[i];
        enum style_color color = state_color_worker((enum worker_state)w->state);
        (void)frame_text(f, row + i, 2, 20, STYLE_BOLD, "%s", text_of_field(w->name, text));
        (void)frame_text(f, row + i, 23, 6, color, "%s",
                         state_worker_word((enum worker_state)w->state));
        (void)frame_text(f, row + i, 30, 12, STYLE_PLAIN, "%s of %s", human_size(w->rss_bytes, a),
                         human_size(w->memory_bytes, b));
        if (w->tokens_per_second > 0)
            put_right(f, row + i, 57, STYLE_PLAIN, human_count((uint64_t)w->tokens_per_second, a));
        (void)frame_text(f, row + i, w->tokens_per_second > 0 ? 58 : 59, f->width, STYLE_PLAIN,
                         "%s%s", w->tokens_per_second > 0 ? " " : "",
                         text_of_field(w->task.size > 0 ? w->task : w->detail, text));
    }
}

static void draw_keys(struct frame *f)
{
    static const char *const keys[] = {"q quit",  "j k select", "enter stages", "w workers",
                                       "p curve", "l log",      "s smooth"};
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        if (at + style_width(keys[i]) <= f->width)
            at += frame_text(f, f->height - 1, at, f->width, STYLE_DIM, "%s", keys[i]) + 2;
    }
}

enum err top_frame_draw(const struct top_frame_view *view, struct frame *frame)
{
    if (frame->width < TOP_FRAME_WIDTH_MIN || frame->height < TOP_FRAME_HEIGHT_MIN) {
        (void)frame_text(frame, 0, 0, frame->width, STYLE_BAD, "needs %d by %d characters",
                         TOP_FRAME_WIDTH_MIN, TOP_FRAME_HEIGHT_MIN);
        return ERR_OK;
    }
    draw_title(view, frame);
    draw_fleet(view, frame);
    size_t rows = MAX((frame->height - JOBS_ROW - 2) / 3, (size_t)2);
    size_t row = draw_jobs(view, frame, rows) + 1;
    size_t end = frame->height - 2;
    if (view->pane != TOP_FRAME_WORKERS && view->job_count > 0 && row < end)
        draw_chosen(view, frame, row++);
    draw_keys(frame);
    size_t left = end > row ? end - row : 0;
    if (view->pane == TOP_FRAME_WORKERS)
        draw_workers(view, frame, row, left);
    else if (view->pane == TOP_FRAME_STAGES)
        draw_stages(view, frame, row, left);
    else if (view->job_count > 0)
        return draw_curve(view, frame, row, left);
    return ERR_OK;
}
