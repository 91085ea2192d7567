/* init.c - values element by element from the counter generator. */
#include "common/numeric/init.h"

#include "common/base/check.h"
#include "common/numeric/random.h"

void init_kaiming_uniform(uint64_t key, size_t fan_in, size_t begin, size_t count, float *out)
{
    ASSERT(fan_in > 0);
    float bound = (float)(1.0 / __builtin_sqrt((double)fan_in));
    for (size_t i = 0; i < count; i++)
        out[i] = (2.0f * random_uniform_f32(key, begin + i) - 1.0f) * bound;
}

void init_normal(uint64_t key, float deviation, size_t begin, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = random_normal_f32(key, begin + i) * deviation;
}
