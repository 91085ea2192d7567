/* block_avx2.c - block decoders for AVX2; compiled with those flags, chosen at run time
 * (kernel/kernel.c). */
#if defined(__x86_64__)
#define BLOCK_TABLE block_avx2
#include "worker/engine/quant/block_body.inc"
#endif
