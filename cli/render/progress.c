/* progress.c - bar, counts, loss, speed, time left. */
#include "cli/render/progress.h"

#include <math.h>
#include <string.h>

#include "cli/render/human.h"
#include "common/base/check.h"

enum { LOG_EVERY_MS = 30000, STANDS_MS = 5000, BAR_CELLS = 20 };

void progress_init(struct progress *progress, FILE *out, struct style style)
{
    *progress = (struct progress){.out = out, .style = style};
}

/* Seconds left as told, or at the pace of this stage so far; negative when unknown. */
static double time_left(const struct progress *p, const struct progress_view *view, uint64_t now_ms)
{
    if (view->seconds_left > 0)
        return view->seconds_left;
    uint64_t done = view->done - MIN(view->done, p->stage_start_done);
    double elapsed = (double)(now_ms - p->stage_start_ms) / 1000;
    if (done == 0 || view->total <= view->done || elapsed < 1)
        return -1;
    return elapsed / (double)done * (double)(view->total - view->done);
}

static size_t put_bar(const struct progress *p, double part, char *out, size_t size)
{
    size_t n = 0;
    size_t full = (size_t)(part * BAR_CELLS);
    for (size_t i = 0; i < BAR_CELLS; i++) {
        const char *cell = p->style.unicode ? (i < full ? "━" : "╌") : (i < full ? "#" : ".");
        int used = snprintf(out + n, size - n, "%s", cell);
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    int used = snprintf(out + n, size - n, " ");
    return MIN(n + (size_t)MAX(used, 0), size - 1);
}

static void print_view(const struct progress *p, const struct progress_view *view, uint64_t now_ms,
                       char *out, size_t size)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    size_t n = 0;
    int used = snprintf(out, size, "%-8s ", p->stage[0] != '\0' ? p->stage : "wait");
    n = MIN((size_t)MAX(used, 0), size - 1);
    if (view->total > 0 && p->style.terminal)
        n += put_bar(p, (double)MIN(view->done, view->total) / (double)view->total, out + n,
                     size - n);
    if (view->total > 0)
        used = snprintf(out + n, size - n, "%s/%s", human_count(view->done, a),
                        human_count(view->total, b));
    else
        used = snprintf(out + n, size - n, "%s", view->detail != NULL ? view->detail : "");
    n = MIN(n + (size_t)MAX(used, 0), size - 1);
    bool waits = view->done == 0 || p->stands;
    if (view->total > 0 && waits && view->detail != NULL && view->detail[0] != '\0') {
        used = snprintf(out + n, size - n, "  %s", view->detail);
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    if (isfinite(view->loss)) {
        used = snprintf(out + n, size - n, "  loss %.4f", view->loss);
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    if (isfinite(view->eval_loss)) {
        used = snprintf(out + n, size - n, "  eval %.4f", view->eval_loss);
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    if (view->note != NULL && view->note[0] != '\0') {
        used = snprintf(out + n, size - n, "  %s", view->note);
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    if (view->tokens_per_s > 0) {
        used =
            snprintf(out + n, size - n, "  %s tok/s", human_count((uint64_t)view->tokens_per_s, a));
        n = MIN(n + (size_t)MAX(used, 0), size - 1);
    }
    double left = time_left(p, view, now_ms);
    if (left >= 0)
        (void)snprintf(out + n, size - n, "  %s left", human_duration(left, a));
}

static bool enter_stage(struct progress *p, const struct progress_view *view, uint64_t now_ms)
{
    const char *stage = view->stage != NULL ? view->stage : "";
    if (strncmp(p->stage, stage, sizeof p->stage - 1) == 0 && p->moved_ms != 0)
        return false;
    (void)snprintf(p->stage, sizeof p->stage, "%s", stage);
    p->stage_start_ms = now_ms;
    p->stage_start_done = view->done;
    p->shown_tenth = 0;
    return true;
}

/* Whether it stood still for so long that people want to know why. */
static void look_whether_it_moves(struct progress *p, const struct progress_view *view, bool is_new,
                                  uint64_t now_ms)
{
    if (is_new || view->done != p->moved_done) {
        p->moved_ms = MAX(now_ms, (uint64_t)1);
        p->moved_done = view->done;
        p->stands_shown = false;
    }
    p->stands = now_ms - p->moved_ms >= STANDS_MS && view->detail != NULL && *view->detail != '\0';
}

/* In a log. */
static bool is_time(const struct progress *p, const struct progress_view *view, bool is_new,
                    unsigned tenth, uint64_t now_ms)
{
    bool is_late = now_ms - p->shown_ms >= LOG_EVERY_MS;
    if (p->stands && (!p->stands_shown || is_late))
        return true;
    return !view->is_only_why && (is_new || tenth > p->shown_tenth || is_late);
}

static void erase(struct progress *p)
{
    if (p->live_line)
        (void)fputs("\r\x1b[K", p->out);
    p->live_line = false;
}

void progress_update(struct progress *progress, const struct progress_view *view, uint64_t now_ms)
{
    char line[512];
    bool is_new = enter_stage(progress, view, now_ms);
    unsigned tenth = view->total > 0 ? (unsigned)(10 * view->done / view->total) : 0;
    look_whether_it_moves(progress, view, is_new, now_ms);
    if (!progress->style.terminal && !is_time(progress, view, is_new, tenth, now_ms))
        return;
    progress->stands_shown = progress->stands;
    print_view(progress, view, now_ms, line, sizeof line);
    progress->shown_ms = MAX(now_ms, (uint64_t)1);
    progress->shown_tenth = tenth;
    if (progress->style.terminal) {
        size_t shown = style_bytes(line, progress->style.width - 1);
        (void)fprintf(progress->out, "\r%.*s\x1b[K", (int)shown, line);
        progress->live_line = true;
    } else {
        (void)fprintf(progress->out, "%s\n", line);
    }
    (void)fflush(progress->out);
}

void progress_say(struct progress *progress, const char *text)
{
    erase(progress);
    (void)fprintf(progress->out, "%s\n", text);
    (void)fflush(progress->out);
}

void progress_end(struct progress *progress)
{
    erase(progress);
    (void)fflush(progress->out);
}
