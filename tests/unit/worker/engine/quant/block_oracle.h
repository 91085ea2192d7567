/* block_oracle.h - one element of a block, the slow way: in f64, from the drawing of the format. */
#ifndef TESTS_UNIT_WORKER_ENGINE_QUANT_BLOCK_ORACLE_H
#define TESTS_UNIT_WORKER_ENGINE_QUANT_BLOCK_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/engine/tensor/dtype.h"

/* Exact: every product and sum of the formats fits in 53 bits. */
double block_oracle_value(enum dtype dtype, const uint8_t *block, size_t index);

/* The bytes at which a block's f16 scales stand; returns how many there are. */
size_t block_oracle_scales(enum dtype dtype, size_t at[2]);

#endif
