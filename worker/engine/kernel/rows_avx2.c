/* rows_avx2.c - row kernels for AVX2 and FMA; compiled with those flags, chosen at run time
 * (kernel.c). */
#if defined(__x86_64__)
#define ROWS_TABLE  rows_avx2
#define ROWS_BLOCKS block_avx2
#include "worker/engine/kernel/rows_body.inc"
#endif
