/* message_equal.c - one walk over the rows of a descriptor. */
#include "common/message/message_equal.h"

#include <string.h>

static bool equal_list(const struct message_field *field, const uint8_t *a, const uint8_t *b)
{
    uint32_t count_a, count_b;
    memcpy(&count_a, a + field->count_offset, sizeof count_a);
    memcpy(&count_b, b + field->count_offset, sizeof count_b);
    if (count_a != count_b)
        return false;
    const uint8_t *rows_a, *rows_b;
    memcpy(&rows_a, a + field->offset, sizeof rows_a);
    memcpy(&rows_b, b + field->offset, sizeof rows_b);
    for (uint32_t i = 0; i < count_a; i++) {
        size_t at = (size_t)i * field->type->size_bytes;
        if (!message_equal(field->type, rows_a + at, rows_b + at))
            return false;
    }
    return true;
}

static bool equal_field(const struct message_field *field, const uint8_t *a, const uint8_t *b)
{
    const void *member_a = a + field->offset;
    const void *member_b = b + field->offset;
    switch (field->kind) {
    case MESSAGE_BOOL:
        return *(const bool *)member_a == *(const bool *)member_b;
    case MESSAGE_U32:
        return memcmp(member_a, member_b, sizeof(uint32_t)) == 0;
    case MESSAGE_U64:
    case MESSAGE_I64:
    case MESSAGE_F64:
        return memcmp(member_a, member_b, sizeof(uint64_t)) == 0;
    case MESSAGE_TEXT:
        return text_equal(*(const struct text *)member_a, *(const struct text *)member_b);
    case MESSAGE_BLOB:
        return span_equal(*(const struct span *)member_a, *(const struct span *)member_b);
    case MESSAGE_DIGEST:
        return memcmp(member_a, member_b, sizeof(struct digest)) == 0;
    case MESSAGE_OBJECT:
        return message_equal(field->type, member_a, member_b);
    case MESSAGE_LIST:
        return equal_list(field, a, b);
    }
    return false;
}

bool message_equal(const struct message_type *type, const void *a, const void *b)
{
    for (size_t i = 0; i < type->field_count; i++)
        if (!equal_field(&type->fields[i], a, b))
            return false;
    return true;
}
