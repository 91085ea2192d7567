/* bnb_code.h - the four-bit types of bitsandbytes: a table of 16 levels and a scale a block.
 *
 *   value = level[code] * absmax      a block is `block_size` elements of the flattened matrix
 *   code  = the level nearest to x / absmax; half way, the lower one
 *
 * NF4's levels are quantiles of the normal distribution (Dettmers et al. 2023, QLoRA, appendix E),
 * FP4's the numbers of one sign, two exponent and one mantissa bit, in the order of their bits.
 * Two codes a byte, the first in the high half.
 * The scales may be coded themselves: less their mean, in blocks of 256 with the 256 levels of
 * the dynamic type (Dettmers 2016, 8-bit approximations), which also have an absmax.
 */
#ifndef COMMON_FORMATS_BITSANDBYTES_BNB_CODE_H
#define COMMON_FORMATS_BITSANDBYTES_BNB_CODE_H

#include <stddef.h>
#include <stdint.h>

enum bnb_code_type { BNB_CODE_NF4, BNB_CODE_FP4 };

enum { BNB_CODE_LEVELS = 16, BNB_CODE_NESTED_LEVELS = 256, BNB_CODE_NESTED_BLOCK = 256 };

/* "nf4". Static string. */
const char *bnb_code_name(enum bnb_code_type type);

/* The levels by code. Static. */
const float *bnb_code_levels(enum bnb_code_type type);

/* The levels of the dynamic type, ascending. */
void bnb_code_nested_levels(float levels[BNB_CODE_NESTED_LEVELS]);

/* Codes a whole matrix of finite numbers: codes, (count + 1) / 2 bytes, and the largest magnitude
 * of each block. */
void bnb_code_encode(enum bnb_code_type type, size_t block_size, size_t count, const float *x,
                     uint8_t *codes, float *absmax);

/* What is taken from scales before they are coded: their mean, an f64 sum in order, in f32. */
float bnb_code_nested_offset(size_t count, const float *scales);

/* Codes numbers by the 256 levels in blocks of BNB_CODE_NESTED_BLOCK. */
void bnb_code_nest(size_t count, const float *x, uint8_t *codes, float *absmax);

/* Scales become what a file with nested ones would say that they are. */
void bnb_code_nested_round(size_t count, float *scales);

#endif
