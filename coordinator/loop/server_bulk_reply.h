/* server_bulk_reply.h - one frame of the bulk socket to its answer; runs on the thread pool. */
#ifndef COORDINATOR_LOOP_SERVER_BULK_REPLY_H
#define COORDINATOR_LOOP_SERVER_BULK_REPLY_H

#include "common/mem/bytes.h"
#include "common/transport/transport_keys.h"
#include "coordinator/artifact/artifact.h"

/* A connection, which brings one artifact at a time: a beginning takes the place of what was begun
 * before, so that what its asker gave up, for whatever reason, is held no longer than that. */
struct server_bulk_session {
    struct artifact_store *artifacts; /* borrowed */
    uint64_t free_bytes_min;
    enum transport_role role;
    struct artifact_put *put; /* owned; NULL: none is begun */
};

/* Appends the answer to `frame`; nothing when the frame is none that asks. ERR_BUSY: no answer yet,
 * somebody reads what is needed for it; to be tried again a moment later. */
MUST_CHECK enum err server_bulk_reply(struct server_bulk_session *session, struct span frame,
                                      struct bytes *out);

/* Abandons what was begun. */
void server_bulk_reply_end(struct server_bulk_session *session);

#endif
