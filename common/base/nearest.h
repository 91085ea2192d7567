/* nearest.h - "did you mean ...?" for words that people type. */
#ifndef COMMON_BASE_NEAREST_H
#define COMMON_BASE_NEAREST_H

#include <stddef.h>

#include "common/base/span.h"

enum { NEAREST_BYTES_MAX = 64 };

/* Steps of inserting, dropping, replacing one byte or swapping two neighbours that turn `a` into
 * `b`; NEAREST_BYTES_MAX when either is longer than that. */
size_t nearest_distance(struct text a, struct text b);

/* Keeps the best of several candidates: zero it, offer words, read `word` (NULL: none is near). A
 * word is near when its distance is at most a third of the longer one's length, and at least 1. */
struct nearest {
    const char *word; /* borrowed from the offers */
    size_t distance;
};
void nearest_offer(struct nearest *nearest, struct text typed, const char *candidate);

#endif
