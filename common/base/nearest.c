/* nearest.c - optimal string alignment distance over three rows. */
#include "common/base/nearest.h"

#include "common/base/check.h"

size_t nearest_distance(struct text a, struct text b)
{
    if (a.size >= NEAREST_BYTES_MAX || b.size >= NEAREST_BYTES_MAX)
        return NEAREST_BYTES_MAX;
    size_t rows[3][NEAREST_BYTES_MAX + 1] = {{0}};
    for (size_t j = 0; j <= b.size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t *now = rows[i % 3];
        const size_t *before = rows[(i + 2) % 3];
        const size_t *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t replaced = before[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            now[j] = MIN(MIN(before[j], now[j - 1]) + 1, replaced);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1])
                now[j] = MIN(now[j], earlier[j - 2] + 1);
        }
    }
    return rows[a.size % 3][b.size];
}

void nearest_offer(struct nearest *nearest, struct text typed, const char *candidate)
{
    struct text word = text_of(candidate);
    size_t distance = nearest_distance(typed, word);
    if (distance > MAX(MAX(typed.size, word.size) / 3, (size_t)1))
        return;
    if (nearest->word == NULL || distance < nearest->distance) {
        nearest->word = candidate;
        nearest->distance = distance;
    }
}
