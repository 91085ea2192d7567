/* base64.c - four characters at a time. */
#include "common/formats/tokenizer/base64.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool base64_decode(struct text text, struct bytes *out)
{
    size_t start = out->size;
    if (text.size % 4 != 0)
        return false;
    for (size_t at = 0; at < text.size; at += 4) {
        bool last = at + 4 == text.size;
        size_t padding = 0;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
            char c = text.data[at + i];
            int value = value_of(c);
            if (value < 0 && last && i >= 2 && c == '=') {
                padding++;
                value = 0;
            } else if (padding > 0) {
                value = -1;
            }
            if (value < 0) {
                if (out->err == ERR_OK)
                    out->size = start;
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        uint8_t bytes[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        bytes_append(out, bytes, 3 - padding);
    }
    return true;
}
