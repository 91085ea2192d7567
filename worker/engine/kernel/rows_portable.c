/* rows_portable.c - row kernels in plain C, fused multiply-adds through fmaf: the oracle of the
 * others. */
#define ROWS_TABLE  rows_portable
#define ROWS_BLOCKS block_portable
#include "worker/engine/kernel/rows_body.inc"
