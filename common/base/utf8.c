/* utf8.c - see utf8.h. */
#include "common/base/utf8.h"

size_t utf8_size(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || left < size)
        return 0;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    }
    return size;
}

bool utf8_is_line(struct text text)
{
    const uint8_t *data = (const uint8_t *)text.data;
    for (size_t i = 0, size; i < text.size; i += size) {
        size = utf8_size(data + i, text.size - i);
        if (size == 0 || data[i] < 0x20 || data[i] == 0x7F ||
            (data[i] == 0xC2 && data[i + 1] < 0xA0))
            return false;
    }
    return true;
}
