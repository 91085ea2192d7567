/* wire.h - the only codec: structures of common/message to bytes and back.
 *
 * A message is one msgpack array [number, field, field, ...]; a structure inside it is an array of
 * its fields, a LIST an array of such arrays. BOOL, integers, TEXT (str) and BLOB (bin) are
 * msgpack's own; a DIGEST is bin 32, an F64 is bin 8 with its little-endian bits, so that no value
 * changes on the way. A record has the same form without the number, which its envelope holds.
 *
 * Every frame is hostile. It is walked by wire_check before msgpack-c sees it; only the one
 * shortest encoding of a value is accepted, so a structure has exactly one frame and equal frames
 * mean equal values. A shorter array is accepted when every missing field was brought by a later
 * version
 * (`since`); the missing fields are zero. A longer one is from a newer version and refused.
 *
 * Refuses to know: sockets, what a message means, whether a number makes sense.
 */
#ifndef COMMON_WIRE_WIRE_H
#define COMMON_WIRE_WIRE_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"

/* Ceiling for the arena of one decode: what the largest frame can become in memory. */
enum { WIRE_ARENA_BYTES = 64 << 20 };

/* Appends the frame of a message: `value` is the structure that `type` (a message_type_msg_*)
 * describes. ERR_LIMIT when a text, blob or list is longer than its row allows, or the frame is
 * longer than LIMIT_FRAME_BYTES; ERR_FORMAT when a text holds a NUL; ERR_OUT_OF_MEMORY. On an error
 * the content of `out` is as before. */
MUST_CHECK enum err wire_encode(const struct message_type *type, const void *value,
                                struct bytes *out);

/* The message in `frame`. *type is its descriptor, the member of *out named by the message is
 * filled. TEXT and BLOB point into `frame`, lists into `arena`: valid while both live.
 * ERR_TRUNCATED, ERR_PROTOCOL (not the form above), ERR_VERSION (a number or fields that this
 * version does not know), ERR_LIMIT (a budget), ERR_OUT_OF_MEMORY. On an error *type is
 * untouched. */
MUST_CHECK enum err wire_decode(struct span frame, struct arena *arena,
                                const struct message_type **type, union message_any *out);

/* The same for a record or a part: the array of its fields, without a number and without the
 * ceiling of a control frame. */
MUST_CHECK enum err wire_encode_fields(const struct message_type *type, const void *value,
                                       struct bytes *out);
MUST_CHECK enum err wire_decode_fields(const struct message_type *type, struct span frame,
                                       struct arena *arena, void *value);

/* Whether `frame` is exactly one object of the subset above, in shortest form, nested at most
 * `depth_max` (LIMIT_FRAME_DEPTH or less) deep, of at most `object_max` objects, and no array
 * claims more elements than bytes remain. Allocates nothing. */
MUST_CHECK enum err wire_check(struct span frame, size_t depth_max, size_t object_max);

#endif
