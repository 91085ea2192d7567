/* graph_lanes.h - a graph drawn from the top down, as a history is: a lane for each line that lines
 * below still need.
 *
 *     ● prepare
 *     └─● pack
 *     │ ● init
 *     └─┴─● train
 *     └─● export
 *
 * So many lanes fit; the last one stands for all that do not.
 */
#ifndef CLI_GRAPH_GRAPH_LANES_H
#define CLI_GRAPH_GRAPH_LANES_H

#include "cli/graph/graph.h"

enum { GRAPH_LANES_MAX = 16, GRAPH_LANES_BYTES = 6 * (GRAPH_LANES_MAX + 1) + 1 };

/* Lines that lines below need, in the order in which they came. */
struct graph_lanes {
    const struct graph *graph; /* borrowed */
    uint32_t lane[LIMIT_JOB_STAGES];
    uint32_t count;
    uint32_t shown; /* at most so many lanes are drawn */
    uint32_t at;    /* line to be drawn next */
    bool with_unicode;
};

/* `shown`: 1 to GRAPH_LANES_MAX. */
void graph_lanes_init(struct graph_lanes *lanes, const struct graph *graph, uint32_t shown,
                      bool with_unicode);

/* The lanes left of the next line, and its node: `out` is text of 2 columns for each lane and 2 for
 * the node. Returns the columns. Call it once a line, from the first to the last. */
size_t graph_lanes_next(struct graph_lanes *lanes, char out[GRAPH_LANES_BYTES]);

#endif
