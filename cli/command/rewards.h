/* rewards.h - what preference tuning says of its pairs, for people. */
#ifndef CLI_COMMAND_REWARDS_H
#define CLI_COMMAND_REWARDS_H

#include "common/message/message.h"

enum { REWARDS_BYTES = 128 };

/* Writes "0.1230 over -0.0450, margin 0.1680, accuracy 72.0%" and returns `out`; "" where the
 * loss is not over pairs. */
const char *rewards_print(const struct log_point *point, char out[REWARDS_BYTES]);

/* The last point of pairs, of evaluations or of training; NULL when there is none. */
const struct log_point *rewards_last(const struct log_point *points, size_t count, bool is_eval);

#endif
