/* rows_avx512.c - row kernels for AVX-512F; compiled with those flags, chosen at run time
 * (kernel.c). */
#if defined(__x86_64__)
#define ROWS_TABLE  rows_avx512
#define ROWS_BLOCKS block_avx512
#include "worker/engine/kernel/rows_body.inc"
#endif
