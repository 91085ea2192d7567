/* block_portable.c - block decoders in plain C. */
#define BLOCK_TABLE block_portable
#include "worker/engine/quant/block_body.inc"
