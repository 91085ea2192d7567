/* grid_lanes.c - which table fits the processor. */
#include "worker/engine/quant/grid_lanes.h"

const struct grid_lanes *grid_lanes_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &grid_lanes_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &grid_lanes_avx2;
#endif
    return &grid_lanes_portable;
}
