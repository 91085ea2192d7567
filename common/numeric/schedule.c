/* schedule.c - warm-up, then a shape over the remaining steps. */
#include "common/numeric/schedule.h"

#include "common/base/check.h"
#include "common/numeric/scalar.h"

static double cosine(const struct schedule *s, double progress)
{
    double shape = 0.5 * (1.0 + scalar_cos(0x1.921fb54442d18p+1 * progress));
    return s->minimum_ratio + (1.0 - s->minimum_ratio) * shape;
}

double schedule_rate(const struct schedule *s, uint64_t step)
{
    if (step < s->warmup_steps)
        return s->peak * ((double)step / (double)s->warmup_steps);
    uint64_t span = s->total_steps > s->warmup_steps ? s->total_steps - s->warmup_steps : 1;
    double progress = MIN((double)(step - s->warmup_steps) / (double)span, 1.0);
    switch (s->kind) {
    case SCHEDULE_CONSTANT:
        return s->peak;
    case SCHEDULE_LINEAR:
        return s->peak * (1.0 - progress);
    case SCHEDULE_COSINE:
        return s->peak * cosine(s, progress);
    }
    ASSERT(false);
}
