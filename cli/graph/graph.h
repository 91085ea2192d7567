/* graph.h - the stages of a job as the lines of a picture.
 *
 * A line is a stage, or the same stage of several variants that are in the same states from their
 * first stage to their last ("train[0..39]"). Lines stand so that each follows what it needs and
 * that few lanes are open at once: what a result needs, just before it. Pure; rows may come from a
 * coordinator of another version, so edges that do not point backwards are left out.
 */
#ifndef CLI_GRAPH_GRAPH_H
#define CLI_GRAPH_GRAPH_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/stage_set.h"

/* From so many equal variants on they are one line. */
enum { GRAPH_FOLD_MIN = 3 };

struct graph_line {
    const struct stage_row *row; /* the first of its stages, borrowed */
    const char *name;            /* as short as it can be: "train[0..39]", "train[3]" */
    uint32_t count;              /* stages */
    uint64_t done, running, total;
    double seconds, seconds_min; /* the longest and the shortest of them */
    struct stage_set after;      /* lines above that it needs */
};

struct graph {
    struct graph_line *lines; /* in the arena */
    uint32_t count;
};

/* `rows` are borrowed. ERR_OUT_OF_MEMORY, ERR_LIMIT (more rows than a job may have). */
MUST_CHECK enum err graph_build(const struct stage_row *rows, uint32_t count, bool folds,
                                struct arena *arena, struct graph *out);

#endif
