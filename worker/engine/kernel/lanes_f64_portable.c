/* lanes_f64_portable.c - the product of doubles in plain C: fma chains, the oracle of the others.
 */
#define LANES_F64_TABLE lanes_f64_portable
#include "worker/engine/kernel/lanes_f64_body.inc"
