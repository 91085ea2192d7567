/* message_copy.c - one walk over the rows of a descriptor. */
#include "common/message/message_copy.h"

#include <string.h>

static enum err copy_bytes(const void *data, size_t size, struct arena *arena, const void **out)
{
    *out = NULL;
    if (size == 0)
        return ERR_OK;
    void *copy = arena_alloc(arena, size, 1);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(copy, data, size);
    *out = copy;
    return ERR_OK;
}

static enum err copy_inside(const struct message_type *type, uint8_t *value, struct arena *arena);

static enum err copy_list(const struct message_field *field, uint8_t *value, struct arena *arena)
{
    const void *elements;
    const void *copy;
    uint32_t count;
    memcpy(&elements, value + field->offset, sizeof elements);
    memcpy(&count, value + field->count_offset, sizeof count);
    size_t size = field->type->size_bytes;
    TRY(copy_bytes(elements, (size_t)count * size, arena, &copy));
    memcpy(value + field->offset, &copy, sizeof copy);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *first;
        memcpy(&first, value + field->offset, sizeof first);
        TRY(copy_inside(field->type, first + (size_t)i * size, arena));
    }
    return ERR_OK;
}

/* Replaces every pointer of a structure, whose own bytes are copied already, by one into `arena`.
 */
static enum err copy_inside(const struct message_type *type, uint8_t *value, struct arena *arena)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const struct message_field *field = &type->fields[i];
        void *member = value + field->offset;
        const void *copy;
        switch (field->kind) {
        case MESSAGE_TEXT:
            TRY(copy_bytes(((struct text *)member)->data, ((struct text *)member)->size, arena,
                           &copy));
            ((struct text *)member)->data = copy;
            break;
        case MESSAGE_BLOB:
            TRY(copy_bytes(((struct span *)member)->data, ((struct span *)member)->size, arena,
                           &copy));
            ((struct span *)member)->data = copy;
            break;
        case MESSAGE_OBJECT:
            TRY(copy_inside(field->type, member, arena));
            break;
        case MESSAGE_LIST:
            TRY(copy_list(field, value, arena));
            break;
        case MESSAGE_BOOL:
        case MESSAGE_U32:
        case MESSAGE_U64:
        case MESSAGE_I64:
        case MESSAGE_F64:
        case MESSAGE_DIGEST:
            break;
        }
    }
    return ERR_OK;
}

enum err message_copy(const struct message_type *type, const void *value, struct arena *arena,
                      void *out)
{
    memcpy(out, value, type->size_bytes);
    return copy_inside(type, out, arena);
}
