/* top_frame.h - the page of `qctl top`: who computes, which jobs there are, and one of them closer.
 *
 *     qfleet ipc:///...                                   10:44:01
 *     workers ■■□  2 of 3 busy  6 threads  21 400 tok/s  rss 1.2G of 12G
 *
 *       ID       NAME      STATE  STAGE          LOSS    EVAL   TIME
 *     > 9c41e2b  demo      run    train 84/200  2.104   2.211  3m10s
 *
 *     demo  train ━━━━╌╌╌╌ 84/200  12 480 tok/s  41s left
 *     its curve, its stages, or the workers
 *
 *     q quit  j k select  enter stages  ...
 *
 * Refuses to know: clocks, terminals, coordinators.
 */
#ifndef CLI_TOP_TOP_FRAME_H
#define CLI_TOP_TOP_FRAME_H

#include "cli/plot/plot.h"
#include "cli/render/frame.h"
#include "common/message/message.h"

enum { TOP_FRAME_WIDTH_MIN = 40, TOP_FRAME_HEIGHT_MIN = 10 };

/* What the lower part shows. */
enum top_frame_pane { TOP_FRAME_CURVE, TOP_FRAME_STAGES, TOP_FRAME_WORKERS };

/* What is known at one moment; all borrowed. */
struct top_frame_view {
    const char *endpoint;
    const char *trouble; /* shown in place of the endpoint; NULL: none */
    uint64_t now_unix_ms;
    const struct job_row *jobs; /* newest first */
    size_t job_count;
    size_t selected; /* among them */
    const struct worker_row *workers;
    size_t worker_count;
    enum top_frame_pane pane;
    const struct plot *plot; /* of the selected job */
    double tokens_per_s;     /* its speed; 0: unknown */
    double seconds_left;     /* negative: unknown */
    const double *losses;    /* of its training, for a page that has no room for a curve */
    size_t loss_count;
    const struct stage_row *stages; /* its stages */
    size_t stage_count;
};

/* Draws the whole page, at least TOP_FRAME_WIDTH_MIN by TOP_FRAME_HEIGHT_MIN, or a word about its
 * size. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err top_frame_draw(const struct top_frame_view *view, struct frame *frame);

#endif
