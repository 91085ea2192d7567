/* block_avx512.c - block decoders for AVX-512; compiled with those flags, chosen at run time
 * (kernel/kernel.c). */
#if defined(__x86_64__)
#define BLOCK_TABLE block_avx512
#include "worker/engine/quant/block_body.inc"
#endif
