/* run_metric.h - the numbers of a run that can be drawn and handed to viewers, one row each: what
 * `qctl plot` calls them, and their tag in event files, which are those of the Trainer. */
#ifndef CLI_PLOT_RUN_METRIC_H
#define CLI_PLOT_RUN_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/message/message.h"

/* The value at `point`, NaN where it has none; `before` is the training point before it, or NULL.
 */
typedef double (*run_metric_f)(const struct log_point *point, const struct log_point *before);

struct run_metric {
    const char *word;   /* of `qctl plot`; metrics of one word share a picture */
    const char *series; /* within it; "" where it is alone */
    const char *tag;    /* in event files */
    bool is_eval;       /* evaluations have it, else training points do */
    run_metric_f value;
};

/* Row by row; NULL beyond the last. */
const struct run_metric *run_metric_at(size_t index);

/* What a word means, for people; NULL for a word that is none. Static. */
const char *run_metric_title(const char *word);

/* The words, "loss, perplexity, ..."; static. */
const char *run_metric_words(void);

#endif
