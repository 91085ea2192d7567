/* lanes_f64_avx2.c - the product of doubles for AVX2; compiled with those flags, chosen at run time
 * (kernel.c). */
#if defined(__x86_64__)
#define LANES_F64_TABLE lanes_f64_avx2
#include "worker/engine/kernel/lanes_f64_body.inc"
#endif
