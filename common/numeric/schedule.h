/* schedule.h - the learning rate of a step, with the meaning transformers gives these names. */
#ifndef COMMON_NUMERIC_SCHEDULE_H
#define COMMON_NUMERIC_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE };

struct schedule {
    enum schedule_kind kind;
    double peak;           /* learning_rate of the recipe */
    uint64_t warmup_steps; /* rate grows from 0 by peak / warmup_steps a step */
    uint64_t total_steps;
    double minimum_ratio; /* cosine ends at peak * minimum_ratio (cosine_min_lr_ratio); 0 usual */
};

/* Rate of optimizer step `step`, counted from 0: with warm-up the first step has rate 0. */
double schedule_rate(const struct schedule *schedule, uint64_t step);

#endif
