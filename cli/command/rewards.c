/* rewards.c - see rewards.h. */
#include "cli/command/rewards.h"

#include <stdio.h>

const char *rewards_print(const struct log_point *point, char out[REWARDS_BYTES])
{
    out[0] = '\0';
    if (point->pairs > 0)
        (void)snprintf(out, REWARDS_BYTES, "%.4f over %.4f, margin %.4f, accuracy %.1f%%",
                       point->reward_chosen, point->reward_rejected,
                       point->reward_chosen - point->reward_rejected, 100 * point->accuracy);
    return out;
}

const struct log_point *rewards_last(const struct log_point *points, size_t count, bool is_eval)
{
    for (size_t i = count; i > 0; i--)
        if (points[i - 1].is_eval == is_eval && points[i - 1].pairs > 0)
            return &points[i - 1];
    return NULL;
}
