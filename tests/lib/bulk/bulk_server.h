/* bulk_server.h - a coordinator's bulk socket for tests: keeps what it is given in memory, on a
 * thread of its own.
 */
#ifndef TESTS_LIB_BULK_BULK_SERVER_H
#define TESTS_LIB_BULK_BULK_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/digest/digest.h"

struct bulk_server;

/* Listens on ipc://FOLDER/bulk.sock; FOLDER must be 0700. NULL on failure. */
struct bulk_server *bulk_server_start(const char *folder);
void bulk_server_stop(struct bulk_server **server);
const char *bulk_server_endpoint(const struct bulk_server *server);

/* Puts content there as if a client had. */
struct digest bulk_server_add(struct bulk_server *server, struct span content);

/* What was put, empty when there is no such artifact. Borrowed until stop, and the same until then:
 * the server's thread may go on while it is read. */
struct span bulk_server_find(struct bulk_server *server, struct digest digest);

enum bulk_server_fault {
    BULK_SERVER_MUTE,      /* leaves the next requests unanswered */
    BULK_SERVER_BUSY,      /* answers the next beginnings of a put with ERR_BUSY */
    BULK_SERVER_FORGETFUL, /* as if it was killed and started again at each of the next chunks that
                              are put: of those puts it knows nothing */
    BULK_SERVER_LATE, /* before each answer from now on, so many to requests that nobody waits for
                       */
    BULK_SERVER_CORRUPT, /* not 0: flips a bit of every chunk it serves from now on */
    BULK_SERVER_FAULTS
};

/* From now on; 0: no more. */
void bulk_server_misbehave(struct bulk_server *server, enum bulk_server_fault fault,
                           unsigned count);

/* Does what the next `count` requests of kind `number` ask, and loses its answers. */
void bulk_server_lose(struct bulk_server *server, uint32_t number, unsigned count);

/* Puts that were begun so far, and whether it holds one now that was neither ended nor forgotten.
 */
uint64_t bulk_server_begun(struct bulk_server *server);
bool bulk_server_knows_put(struct bulk_server *server);

/* Chunks served so far. */
uint64_t bulk_server_chunks(struct bulk_server *server);

#endif
