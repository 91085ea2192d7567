/* calibrate_statistics.c - by the names of sites. */
#include "worker/engine/calibrate/calibrate_statistics.h"

#include "common/base/check.h"
#include "worker/engine/nn/model_site.h"

unsigned calibrate_statistics_sums(unsigned kinds)
{
    static const struct {
        unsigned kinds;
        enum calibrate_sums sums;
    } rows[] = {
        {STATISTICS_SUM_X2, CALIBRATE_SUM_X2},
        {STATISTICS_SUM_ABS, CALIBRATE_SUM_ABS},
        {STATISTICS_MAX_ABS | STATISTICS_MIN_MAX | STATISTICS_AVERAGE | STATISTICS_AVERAGE_CHANNEL,
         CALIBRATE_RANGE},
    };
    unsigned sums = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        sums |= (kinds & rows[i].kinds) != 0 ? (unsigned)rows[i].sums : 0;
    return sums;
}

void calibrate_statistics_ask(const struct model *model, unsigned kinds,
                              struct statistics_ask *asks)
{
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        asks[i] =
            (struct statistics_ask){.name = site.name, .columns = site.columns, .kinds = kinds};
    }
}

enum err calibrate_statistics_take(void *context, const struct calibrate_leaf *leaf)
{
    const struct calibrate_statistics *c = context;
    const struct statistics_site *site =
        statistics_find(c->leaf, model_site(c->model, leaf->site).name);
    if (site == NULL)
        return ERR_OK;
    ASSERT(site->columns == leaf->columns);
    struct statistics_seen seen = {.tokens = leaf->tokens,
                                   .x = leaf->x,
                                   .sum_x2 = leaf->sum_x2,
                                   .sum_abs = leaf->sum_abs,
                                   .min = leaf->min,
                                   .max = leaf->max};
    bool counts = (site->kinds & (STATISTICS_HISTOGRAM | STATISTICS_HISTOGRAM_CHANNEL)) != 0;
    if (!counts && (calibrate_statistics_sums(site->kinds) & ~leaf->sums) == 0)
        seen.x = NULL; /* it is finite, and all that is asked for follows from the rest */
    return statistics_observe(c->leaf, (size_t)(site - c->leaf->sites), &seen);
}

enum err calibrate_statistics_row(struct calibrate *calibrate, const struct batch_input *row,
                                  struct statistics *leaf, struct err_text *et)
{
    struct calibrate_statistics context = {calibrate_model(calibrate), leaf};
    statistics_start(leaf, row->index);
    TRY(calibrate_row(calibrate, row, calibrate_statistics_take, &context, et));
    return statistics_end(leaf);
}
