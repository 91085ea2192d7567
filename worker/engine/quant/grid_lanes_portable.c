/* grid_lanes_portable.c - the loops of integer grids in plain C. */
#define GRID_LANES grid_lanes_portable
#include "worker/engine/quant/grid_lanes_body.inc"
