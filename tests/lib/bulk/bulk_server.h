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

/* Flips a bit of every chunk it serves from now on. */
void bulk_server_corrupt(struct bulk_server *server, bool corrupt);

/* Leaves the next `count` requests unanswered. */
void bulk_server_mute(struct bulk_server *server, unsigned count);

/* Answers the next `count` beginnings of a put with ERR_BUSY. */
void bulk_server_busy(struct bulk_server *server, unsigned count);

/* As if it was killed and started again at each of the next `count` chunks that are put: of those
 * puts it knows nothing. */
void bulk_server_forget(struct bulk_server *server, unsigned count);

/* Does what the next `count` requests of kind `number` ask, and loses its answers. */
void bulk_server_lose(struct bulk_server *server, uint32_t number, unsigned count);

/* Before each answer from now on, so many to requests that nobody waits for. */
void bulk_server_late(struct bulk_server *server, unsigned count);

/* Puts that were begun so far, and whether it holds one now that was neither ended nor forgotten.
 */
uint64_t bulk_server_begun(struct bulk_server *server);
bool bulk_server_knows_put(struct bulk_server *server);

/* Chunks served so far. */
uint64_t bulk_server_chunks(struct bulk_server *server);

#endif
