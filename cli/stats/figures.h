/* figures.h - what quantizing tensors cost, as tasks reported it while the job goes on.
 *
 * Refuses to know: where the reports come from.
 */
#ifndef CLI_STATS_FIGURES_H
#define CLI_STATS_FIGURES_H

#include "cli/stats/tensor_place.h"
#include "common/base/error.h"
#include "common/mem/arena.h"

/* Errors are NaN where the method did not measure them. */
struct figure {
    struct text name, format;
    uint64_t rows, columns, size_bytes;
    double bits;     /* a weight */
    double relative; /* sum (w - w')^2 / sum w^2 */
    double weighted; /* the same, columns weighed by their importance */
    double largest;  /* max |w - w'| */
    double output;   /* of the layer's outputs on calibration text */
    struct tensor_place place;
};

struct figures {
    struct arena arena; /* owned: names, items */
    struct figure *items;
    size_t count, capacity;
};

void figures_init(struct figures *figures);
void figures_fini(struct figures *figures);

/* Adds the tensors of one artifact "figures"; `name` is for messages. ERR_FORMAT with the field,
 * ERR_OUT_OF_MEMORY: what was added before stays. */
MUST_CHECK enum err figures_add(struct figures *figures, struct span content, const char *name,
                                struct err_text *et);

#endif
