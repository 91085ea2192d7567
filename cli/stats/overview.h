/* overview.h - every tensor of a quantized model beside what calibration saw at its input: the
 * table of `qctl stats JOB`.
 *
 * Refuses to know: coordinators, jobs.
 */
#ifndef CLI_STATS_OVERVIEW_H
#define CLI_STATS_OVERVIEW_H

#include <stdio.h>

#include "cli/render/style.h"
#include "cli/stats/figures.h"
#include "common/calibration/statistics.h"
#include "common/formats/json/json_write.h"

/* What was seen at one input; NaN where it was not recorded. */
struct overview_site {
    uint64_t columns, tokens;
    double min, max;
    double mean_abs;
    double outlier; /* max |x| over mean |x| */
    double spread;  /* sum x^2 of the column at 99% over that of the column in the middle */
};

/* A tensor, its input, or both. */
struct overview_row {
    struct text name;                   /* of the tensor, else of the site */
    const struct figure *figure;        /* NULL: not quantized (yet) */
    const struct statistics_site *site; /* NULL: nothing was seen, or it is not known which */
    struct overview_site seen;          /* with a site */
    struct tensor_place place;
};

struct overview {
    struct arena arena; /* owned */
    struct overview_row *rows;
    size_t count;
};

enum overview_key {
    OVERVIEW_WEIGHTED,
    OVERVIEW_ERROR,
    OVERVIEW_OUTPUT,
    OVERVIEW_OUTLIER,
    OVERVIEW_SPREAD,
    OVERVIEW_BITS,
    OVERVIEW_SIZE,
    OVERVIEW_PLACE,
    OVERVIEW_KEY_COUNT
};

/* The word of --sort. Static. */
const char *overview_key_word(enum overview_key key);

/* OVERVIEW_KEY_COUNT when there is none of this word. */
enum overview_key overview_key_find(const char *word);

struct overview_site overview_site_of(const struct statistics_site *site);

/* Joins them; `stats` may be NULL. Borrows both. ERR_OUT_OF_MEMORY. Release with overview_fini. */
MUST_CHECK enum err overview_init(struct overview *overview, const struct figures *figures,
                                  const struct statistics *stats);
void overview_fini(struct overview *overview);

/* Worst first: the largest error or outlier, the fewest bits; PLACE is the order of the model. What
 * is not known comes last, equals by place. */
void overview_sort(struct overview *overview, enum overview_key key);

/* The first `top` rows as a table. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err overview_print(const struct overview *overview, size_t top,
                                   const struct style *style, bool with_header, FILE *out);

/* Member "tensors": of the first `top` rows {name, figures or null, input or null}. */
void overview_write(const struct overview *overview, size_t top, struct json_write *w);

/* One figure or one site as an object. */
void overview_write_figure(const struct figure *figure, const char *key, struct json_write *w);
void overview_write_site(const struct statistics_site *site, const char *key, struct json_write *w);

/* A number, null when it is not finite. */
void overview_write_number(struct json_write *w, const char *key, double value);

#endif
