/* run_plot.h - lines of one or more jobs, ready to be drawn. */
#ifndef CLI_COMMAND_RUN_PLOT_H
#define CLI_COMMAND_RUN_PLOT_H

#include "cli/command/follow.h"
#include "cli/plot/plot.h"

/* What a line goes over. */
enum run_plot_x { RUN_PLOT_STEP, RUN_PLOT_EPOCH, RUN_PLOT_TOKENS, RUN_PLOT_TIME };

struct run_plot {
    struct plot plot;
    struct arena arena; /* owned: points of lines, texts */
};

/* An empty plot of the metrics of `word` (asserted to be one). Release with run_plot_fini. */
void run_plot_init(struct run_plot *out, const char *word);
void run_plot_fini(struct run_plot *plot);

/* Adds a line a variant and metric of `word` that `follow` has points of. `label` comes before the
 * names of its lines where it is not NULL. `weight`: of plot_smooth for training points, 0: as they
 * are; `with_raw` keeps what was smoothed. ERR_LIMIT: more than PLOT_LINES_MAX lines;
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err run_plot_add(struct run_plot *plot, const char *word,
                                 const struct follow *follow, const char *label, enum run_plot_x x,
                                 double weight, bool with_raw, struct err_text *et);

#endif
