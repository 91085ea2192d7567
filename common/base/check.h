/* check.h - invariants and checked arithmetic.
 *
 * ASSERT is for broken invariants and stays on in release: a wrong scheduler is worse than one that
 * restarts and replays. Bad input is never an ASSERT; it is an error.
 */
#ifndef COMMON_BASE_CHECK_H
#define COMMON_BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            check_failed(#condition, __FILE__, __LINE__);                                          \
    } while (0)

/* Prints the broken invariant with its place on stderr and aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

/* Each returns false, leaving *out alone, when the exact result does not fit. */
static inline bool check_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

static inline bool check_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#ifndef MIN /* headers of systems and libraries bring the same two */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

#endif
