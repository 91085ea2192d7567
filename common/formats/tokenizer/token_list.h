/* token_list.h - a growing list of token ids. */
#ifndef COMMON_FORMATS_TOKENIZER_TOKEN_LIST_H
#define COMMON_FORMATS_TOKENIZER_TOKEN_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct token_list {
    uint32_t *ids; /* owned */
    size_t count;
    size_t capacity;
};

void token_list_init(struct token_list *list);
void token_list_fini(struct token_list *list);

/* Room for `extra` more ids. ERR_OUT_OF_MEMORY leaves the list as it was. */
MUST_CHECK enum err token_list_reserve(struct token_list *list, size_t extra);

MUST_CHECK enum err token_list_append(struct token_list *list, const uint32_t *ids, size_t count);

#endif
