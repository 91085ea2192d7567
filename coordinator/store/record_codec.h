/* record_codec.h - records to payload bytes and back, by the descriptors of record.def. */
#ifndef COORDINATOR_STORE_RECORD_CODEC_H
#define COORDINATOR_STORE_RECORD_CODEC_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"

/* Appends the payload of `record`, which is of kind `number`. ERR_LIMIT when a field is larger than
 * its row allows, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err record_codec_write(uint32_t number, const union message_record *record,
                                       struct bytes *out);

/* Reads one; texts and blobs borrow from `payload`, lists from `arena`. ERR_STORE for an unknown
 * kind or a payload that is not one of this kind. */
MUST_CHECK enum err record_codec_read(uint32_t number, struct span payload, struct arena *arena,
                                      union message_record *out);

#endif
