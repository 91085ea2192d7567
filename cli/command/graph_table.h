/* graph_table.h - a job's graph as a table with lanes, and its longest way. */
#ifndef CLI_COMMAND_GRAPH_TABLE_H
#define CLI_COMMAND_GRAPH_TABLE_H

#include "cli/command/command.h"
#include "common/message/message.h"

/* STATE STAGE WHERE TIME DONE DETAIL. With `folds`, variants that are alike share a line. Fits the
 * width of a terminal. */
MUST_CHECK enum err graph_table_print(struct invocation *invocation, const struct msg_job *job,
                                      bool folds);

/* The stages of the longest way with the time of each, "~" before what is estimated, and what it
 * takes in all. */
MUST_CHECK enum err graph_table_print_path(struct invocation *invocation,
                                           const struct msg_job *job);

#endif
