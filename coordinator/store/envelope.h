/* envelope.h - how a durable record lies on disk: a head, a link of the hash chain, the payload.
 *
 *   offset  bytes
 *   0       1      version of this layout, ENVELOPE_VERSION
 *   1       1      0
 *   2       2      record number, little-endian
 *   4       4      payload bytes, little-endian
 *   8       8      unix_ms, little-endian
 *   16      32     link: H(H(link of the record before || bytes 0..15) || payload), H is
 * BLAKE2b-256 48      ...    payload: the record's fields as common/wire encodes them
 *
 * A link covers every record before it, so a changed, lost, doubled or moved record breaks the
 * chain at its place. Pure; refuses to know where the bytes are kept.
 */
#ifndef COORDINATOR_STORE_ENVELOPE_H
#define COORDINATOR_STORE_ENVELOPE_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/digest/digest.h"
#include "common/mem/bytes.h"
#include "coordinator/store/store.h"

enum { ENVELOPE_VERSION = 1, ENVELOPE_HEAD_BYTES = 16, ENVELOPE_BYTES = 48 };

/* The link before the first record. */
struct digest envelope_genesis(void);

/* Appends the envelope of `record` to `out` and advances *link to it. ERR_LIMIT,
 * ERR_OUT_OF_MEMORY: *link is as it was. */
MUST_CHECK enum err envelope_write(const struct store_record *record, struct digest *link,
                                   struct bytes *out);

/* Reads one envelope; record->payload lies in `content`. ERR_STORE when it is cut, of another
 * version, or does not continue *link; then *link is as it was. `seq` is for the message. */
MUST_CHECK enum err envelope_read(struct span content, uint64_t seq, struct digest *link,
                                  struct store_record *record, struct err_text *et);

#endif
