/* mem.h - the one door to the heap: sizes are checked for overflow, failure is an error.
 *
 * No other file calls malloc, calloc, realloc or free (tests/lint). Tests make the n-th allocation
 * fail through the fault counter, so every caller's out-of-memory path can be swept.
 */
#ifndef COMMON_MEM_MEM_H
#define COMMON_MEM_MEM_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"

/* `count` zeroed objects of `size` bytes, NULL when the product overflows or memory is out.
 * A zero product yields a valid pointer. Caller owns; release with mem_free. */
void *mem_alloc(size_t count, size_t size);

/* As realloc for `count * size` bytes; new bytes are not zeroed. NULL on failure, `old` stays
 * valid. */
void *mem_resize(void *old, size_t count, size_t size);

/* `size` zeroed bytes aligned to 64. Release with mem_free. */
void *mem_alloc_aligned(size_t count, size_t size);

/* A terminated copy. NULL when memory is out. Caller owns. */
char *mem_copy_text(struct text text);

/* NULL is allowed. */
void mem_free(void *pointer);

/* From now on blocks of 256 KiB and more go back to the system when they are freed. The C library
 * otherwise raises that bound to the largest block it saw and keeps what many threads freed: a
 * coordinator through which megabytes pass each round would hold most of them, a worker what its
 * last task took. Once, at start. */
void mem_return_large_blocks(void);

/* Makes the allocation number `n` from now (1 is the next) and all later ones of this thread fail;
 * 0 turns faults off. Returns the number of allocations asked for since the last call. For tests.
 */
size_t mem_fault_after(size_t n);

#endif
