/* graph_path.h - the longest way through a job: the stages that decide when it ends.
 *
 * A stage that is done counts with the time that it took, one at work with its time so far and
 * what is left at its pace, one that waits with what stages of its kind took in this job (the one
 * in the middle). What has no such time counts as nothing and is said to be unknown. Pure.
 */
#ifndef CLI_GRAPH_GRAPH_PATH_H
#define CLI_GRAPH_GRAPH_PATH_H

#include "common/message/stage_set.h"

enum graph_time { GRAPH_MEASURED, GRAPH_ESTIMATED, GRAPH_UNKNOWN };

struct graph_step {
    uint32_t stage; /* index into the rows */
    double seconds;
    enum graph_time time;
};

/* The steps, first to last; returns how many. Of ways of one length, the one of the first stages.
 */
uint32_t graph_path(const struct stage_row *rows, uint32_t count,
                    struct graph_step steps[LIMIT_JOB_STAGES]);

#endif
