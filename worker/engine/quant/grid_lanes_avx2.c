/* grid_lanes_avx2.c - the loops of integer grids in AVX2. */
#if defined(__x86_64__)
#define GRID_LANES grid_lanes_avx2
#include "worker/engine/quant/grid_lanes_body.inc"
#endif
