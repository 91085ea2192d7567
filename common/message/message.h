/* message.h - the structures of messages and records, expanded from schemas/, and their
 * descriptors.
 *
 * Knows no encoding: common/wire walks the descriptors. Everything a value points to (TEXT, BLOB,
 * LIST) is borrowed: from the frame and the arena after a decode, from the caller before an encode.
 *
 *   struct artifact_ref          a part                        message_type_artifact_ref
 *   struct msg_lease_grant       a message, MSG_LEASE_GRANT    message_type_msg_lease_grant
 *   struct rec_task_done         a record, REC_TASK_DONE       message_type_rec_task_done
 */
#ifndef COMMON_MESSAGE_MESSAGE_H
#define COMMON_MESSAGE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ids.h"
#include "common/base/limits.h"
#include "common/base/span.h"
#include "common/digest/digest.h"
#include "schemas/message/bulk.def"
#include "schemas/message/client.def"
#include "schemas/message/lease.def"
#include "schemas/message/message.def"
#include "schemas/message/part.def"
#include "schemas/message/session.def"
#include "schemas/record/record.def"

enum { MESSAGE_PROTOCOL = 1 };

/* One member of a structure, by kind. */
#define MESSAGE_MEMBER_BOOL(type, name)   bool name;
#define MESSAGE_MEMBER_U32(type, name)    uint32_t name;
#define MESSAGE_MEMBER_U64(type, name)    uint64_t name;
#define MESSAGE_MEMBER_I64(type, name)    int64_t name;
#define MESSAGE_MEMBER_F64(type, name)    double name;
#define MESSAGE_MEMBER_TEXT(type, name)   struct text name;
#define MESSAGE_MEMBER_BLOB(type, name)   struct span name;
#define MESSAGE_MEMBER_DIGEST(type, name) struct digest name;
#define MESSAGE_MEMBER_OBJECT(type, name) struct type name;
#define MESSAGE_MEMBER_LIST(type, name)                                                            \
    struct type *name;                                                                             \
    uint32_t name##_count;

#define MESSAGE_MEMBER(self, kind, type, name, max, since, text) MESSAGE_MEMBER_##kind(type, name)

#define MESSAGE_PART_STRUCT(NAME, name)                                                            \
    struct name {                                                                                  \
        PART_##NAME(MESSAGE_MEMBER, name)                                                          \
    };
PART_ROWS(MESSAGE_PART_STRUCT)

#define MESSAGE_MSG_STRUCT(number, NAME, name, sender)                                             \
    struct msg_##name {                                                                            \
        MSG_##NAME(MESSAGE_MEMBER, msg_##name)                                                     \
    };
MESSAGE_ROWS(MESSAGE_MSG_STRUCT)

#define MESSAGE_REC_STRUCT(number, NAME, name)                                                     \
    struct rec_##name {                                                                            \
        REC_##NAME(MESSAGE_MEMBER, rec_##name)                                                     \
    };
RECORD_ROWS(MESSAGE_REC_STRUCT)

/* Numbers on the wire and on disk. */
enum message_number {
#define MESSAGE_ENUM(number, NAME, name, sender) MSG_##NAME = (number),
    MESSAGE_ROWS(MESSAGE_ENUM)
#undef MESSAGE_ENUM
};

enum record_number {
#define RECORD_ENUM(number, NAME, name) REC_##NAME = (number),
    RECORD_ROWS(RECORD_ENUM)
#undef RECORD_ENUM
};

enum message_kind {
    MESSAGE_BOOL,
    MESSAGE_U32,
    MESSAGE_U64,
    MESSAGE_I64,
    MESSAGE_F64,
    MESSAGE_TEXT,
    MESSAGE_BLOB,
    MESSAGE_DIGEST,
    MESSAGE_OBJECT,
    MESSAGE_LIST,
};

struct message_field {
    const char *name;
    enum message_kind kind;
    uint32_t since;
    size_t offset;                   /* of the member */
    size_t count_offset;             /* LIST: of <name>_count, a uint32_t */
    size_t max;                      /* bytes or elements */
    const struct message_type *type; /* OBJECT, LIST: of the element */
    const char *text;
};

struct message_type {
    const char *name;
    uint32_t number; /* on the wire or on disk, 0 for a part */
    size_t size_bytes;
    const struct message_field *fields;
    size_t field_count;
};

#define MESSAGE_PART_EXTERN(NAME, name) extern const struct message_type message_type_##name;
PART_ROWS(MESSAGE_PART_EXTERN)
#define MESSAGE_MSG_EXTERN(number, NAME, name, sender)                                             \
    extern const struct message_type message_type_msg_##name;
MESSAGE_ROWS(MESSAGE_MSG_EXTERN)
#define MESSAGE_REC_EXTERN(number, NAME, name)                                                     \
    extern const struct message_type message_type_rec_##name;
RECORD_ROWS(MESSAGE_REC_EXTERN)

/* Descriptor of a message or record number, NULL when there is none. */
const struct message_type *message_type_of(uint32_t message_number);
const struct message_type *message_record_type_of(uint32_t record_number);

/* The largest struct msg_* and struct rec_*: storage for a decode of unknown kind. */
union message_any {
#define MESSAGE_ANY_MSG(number, NAME, name, sender) struct msg_##name name;
    MESSAGE_ROWS(MESSAGE_ANY_MSG)
#undef MESSAGE_ANY_MSG
};

union message_record {
#define MESSAGE_ANY_REC(number, NAME, name) struct rec_##name name;
    RECORD_ROWS(MESSAGE_ANY_REC)
#undef MESSAGE_ANY_REC
};

#endif
