/* grid_lanes_avx512.c - the loops of integer grids in AVX-512. */
#if defined(__x86_64__)
#define GRID_LANES grid_lanes_avx512
#include "worker/engine/quant/grid_lanes_body.inc"
#endif
