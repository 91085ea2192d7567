/* message.c - descriptor tables of every structure, expanded from schemas/.
 *
 * One macro per kind says where a member lies; the table of a structure is its row list walked
 * once.
 */
#include "common/message/message.h"

#include "common/base/check.h"

/* The type of fields that have no element type. */
static const struct message_type message_type_none = {.name = "none"};

#define COUNT_OFFSET_BOOL(s, n)   0
#define COUNT_OFFSET_U32(s, n)    0
#define COUNT_OFFSET_U64(s, n)    0
#define COUNT_OFFSET_I64(s, n)    0
#define COUNT_OFFSET_F64(s, n)    0
#define COUNT_OFFSET_TEXT(s, n)   0
#define COUNT_OFFSET_BLOB(s, n)   0
#define COUNT_OFFSET_DIGEST(s, n) 0
#define COUNT_OFFSET_OBJECT(s, n) 0
#define COUNT_OFFSET_LIST(s, n)   offsetof(struct s, n##_count)

#define FIELD(s, kind_, type_, name_, max_, since_, text_)                                         \
    {.name = #name_,                                                                               \
     .kind = MESSAGE_##kind_,                                                                      \
     .since = (since_),                                                                            \
     .offset = offsetof(struct s, name_),                                                          \
     .count_offset = COUNT_OFFSET_##kind_(s, name_),                                               \
     .max = (size_t)(max_),                                                                        \
     .type = &message_type_##type_,                                                                \
     .text = (text_)},

#define TABLE(s, number_, ROWS)                                                                    \
    static const struct message_field fields_##s[] = {ROWS(FIELD, s)};                             \
    const struct message_type message_type_##s = {.name = #s,                                      \
                                                  .number = (number_),                             \
                                                  .size_bytes = sizeof(struct s),                  \
                                                  .fields = fields_##s,                            \
                                                  .field_count = COUNT_OF(fields_##s)};

#define PART_TABLE(NAME, name) TABLE(name, 0, PART_##NAME)
PART_ROWS(PART_TABLE)

#define MSG_TABLE(number, NAME, name, sender) TABLE(msg_##name, number, MSG_##NAME)
MESSAGE_ROWS(MSG_TABLE)

#define REC_TABLE(number, NAME, name) TABLE(rec_##name, number, REC_##NAME)
RECORD_ROWS(REC_TABLE)

const struct message_type *message_type_of(uint32_t message_number)
{
    switch (message_number) {
#define MSG_CASE(number, NAME, name, sender)                                                       \
    case number:                                                                                   \
        return &message_type_msg_##name;
        MESSAGE_ROWS(MSG_CASE)
#undef MSG_CASE
    default:
        return NULL;
    }
}

const struct message_type *message_record_type_of(uint32_t record_number)
{
    switch (record_number) {
#define REC_CASE(number, NAME, name)                                                               \
    case number:                                                                                   \
        return &message_type_rec_##name;
        RECORD_ROWS(REC_CASE)
#undef REC_CASE
    default:
        return NULL;
    }
}
