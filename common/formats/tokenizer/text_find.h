/* text_find.h - where a text occurs in another. */
#ifndef COMMON_FORMATS_TOKENIZER_TEXT_FIND_H
#define COMMON_FORMATS_TOKENIZER_TEXT_FIND_H

#include "common/base/span.h"

/* Where `part` begins in `text` from `at` <= text.size on; text.size when it does not. */
static inline size_t text_find(struct text text, size_t at, struct text part)
{
    while (part.size > 0 && part.size <= text.size - at) {
        const char *place = memchr(text.data + at, part.data[0], text.size - part.size - at + 1);
        if (place == NULL)
            return text.size;
        at = (size_t)(place - text.data);
        if (memcmp(place, part.data, part.size) == 0)
            return at;
        at++;
    }
    return part.size == 0 ? at : text.size;
}

#endif
