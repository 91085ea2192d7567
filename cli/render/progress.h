/* progress.h - how far a job is: one live line on a terminal, a quiet line now and then in a log.
 *
 * In a log a line comes when the stage changes, after a tenth of the stage, when it stands still
 * for a reason that is known, or after half a minute. Refuses to know: clocks (time is handed in),
 * jobs.
 */
#ifndef CLI_RENDER_PROGRESS_H
#define CLI_RENDER_PROGRESS_H

#include <stdint.h>
#include <stdio.h>

#include "cli/render/style.h"

/* What is known at one moment. */
struct progress_view {
    const char *stage;  /* "train"; NULL or "" before the first */
    const char *detail; /* shown while nothing moves: why it waits */
    bool is_only_why;   /* in a log nothing is shown but that */
    uint64_t done;
    uint64_t total;      /* 0: unknown */
    double loss;         /* NaN: none yet */
    double eval_loss;    /* NaN: none yet */
    double tokens_per_s; /* 0: unknown */
    const char *note;    /* after the losses; NULL or "": nothing */
    double seconds_left; /* 0: told from the pace of the stage, as it was seen */
};

struct progress {
    FILE *out;
    struct style style;
    bool live_line; /* a line without line feed is on the screen */
    char stage[64];
    uint64_t stage_start_ms;
    uint64_t stage_start_done;
    uint64_t shown_ms;
    unsigned shown_tenth;
    uint64_t moved_ms; /* when `moved_done` changed */
    uint64_t moved_done;
    bool stands, stands_shown; /* still, for a reason */
};

void progress_init(struct progress *progress, FILE *out, struct style style);

/* Shows the state at `now_ms` (monotonic), if it is time to. */
void progress_update(struct progress *progress, const struct progress_view *view, uint64_t now_ms);

/* A line of text above the live line. */
void progress_say(struct progress *progress, const char *text);

/* Takes the live line away. */
void progress_end(struct progress *progress);

#endif
