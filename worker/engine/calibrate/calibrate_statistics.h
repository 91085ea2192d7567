/* calibrate_statistics.h - leaves of calibration as statistics that fold (common/calibration). */
#ifndef WORKER_ENGINE_CALIBRATE_CALIBRATE_STATISTICS_H
#define WORKER_ENGINE_CALIBRATE_CALIBRATE_STATISTICS_H

#include "common/calibration/statistics.h"
#include "worker/engine/calibrate/calibrate.h"

/* What struct calibrate has to sum for these kinds: bits of enum calibrate_sums. */
unsigned calibrate_statistics_sums(unsigned kinds);

/* asks: (model_site_count), the same kinds of every site, in the sites' order; names are borrowed
 * from the model. A caller may drop some, or ask more of one. */
void calibrate_statistics_ask(const struct model *model, unsigned kinds,
                              struct statistics_ask *asks);

/* A calibrate_leaf_f with its context: sites that the statistics do not have are passed over. The
 * leaf has been started, and is ended by the caller. */
struct calibrate_statistics {
    const struct model *model;
    struct statistics *leaf;
};
enum err calibrate_statistics_take(void *context, const struct calibrate_leaf *leaf);

/* Makes `leaf` the finished leaf of a row; row->index is its place in the tree. Errors of
 * calibrate_row; after one, the leaf holds nothing of use. */
MUST_CHECK enum err calibrate_statistics_row(struct calibrate *calibrate,
                                             const struct batch_input *row, struct statistics *leaf,
                                             struct err_text *et);

#endif
