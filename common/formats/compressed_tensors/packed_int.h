/* packed_int.h - small signed integers in 32-bit words, as pack-quantized files hold them.
 *
 * Element i of a row is stored as code + 2^(bits-1), unsigned, from bit i * bits of the row's words
 * on: 32 elements are `bits` words, lowest bits first, and an element may begin in one word and end
 * in the next. Files of compressed-tensors before 0.15 leave out what would cross; they are the
 * same for 2, 4 and 8 bits.
 */
#ifndef COMMON_FORMATS_COMPRESSED_TENSORS_PACKED_INT_H
#define COMMON_FORMATS_COMPRESSED_TENSORS_PACKED_INT_H

#include <stddef.h>
#include <stdint.h>

/* Words of a row of `count` elements. */
size_t packed_int_words(unsigned bits, size_t count);

/* Writes packed_int_words words of 4 bytes, little-endian. codes[i * stride] is element i, in the
 * range of the bits. */
void packed_int_encode(unsigned bits, size_t count, const int8_t *codes, size_t stride,
                       uint8_t *words);

/* The same the other way. words: as many as that, `word_stride` words from one to the next. */
void packed_int_decode(unsigned bits, size_t count, const uint8_t *words, size_t word_stride,
                       int8_t *codes);

#endif
