/* token_list.c - growth by doubling. */
#include "common/formats/tokenizer/token_list.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

void token_list_init(struct token_list *list)
{
    *list = (struct token_list){0};
}

void token_list_fini(struct token_list *list)
{
    mem_free(list->ids);
    *list = (struct token_list){0};
}

enum err token_list_reserve(struct token_list *list, size_t extra)
{
    size_t wanted;
    if (!check_add(list->count, extra, &wanted))
        return ERR_OUT_OF_MEMORY;
    if (wanted <= list->capacity && list->ids != NULL)
        return ERR_OK;
    size_t capacity = MAX(MAX(wanted, list->capacity + list->capacity / 2), (size_t)64);
    uint32_t *ids = mem_resize(list->ids, capacity, sizeof(*ids));
    if (ids == NULL)
        return ERR_OUT_OF_MEMORY;
    list->ids = ids;
    list->capacity = capacity;
    return ERR_OK;
}

enum err token_list_append(struct token_list *list, const uint32_t *ids, size_t count)
{
    TRY(token_list_reserve(list, count));
    if (count > 0)
        memcpy(list->ids + list->count, ids, count * sizeof(*ids));
    list->count += count;
    return ERR_OK;
}
