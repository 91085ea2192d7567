/* server_scale.h - scale in the loop: what it is told, what it wants done, what clients ask of it.
 *
 * Reads the file of providers at the start and on SIGHUP; a file that is wrong leaves things as
 * they were. Targets are decided by sched, which makes them durable.
 */
#ifndef COORDINATOR_LOOP_SERVER_SCALE_H
#define COORDINATOR_LOOP_SERVER_SCALE_H

#include "coordinator/loop/server_state.h"

struct server_scale;

/* After records were replayed and sockets are open. The errors of providers_read and
 * provider_check. */
MUST_CHECK enum err server_scale_open(struct server *server, struct err_text *et);

/* Before the loop closes its handles, and after. Workers go on. */
void server_scale_stop(struct server *server);
void server_scale_close(struct server *server);

/* Several times a second: workers, demand or time may have changed. */
void server_scale_tick(struct server *server);

/* The end of a turn, whose records are committed: what is due is decided and carried out. True when
 * there was anything; what it led to is to be committed too, before anything is said. */
MUST_CHECK bool server_scale_turn(struct server *server);

/* SIGHUP: reads the file again, when nothing is out. */
void server_scale_reload(struct server *server);

/* Workers that would have something to do, for autoscalers. */
uint32_t server_scale_desired(const struct server *server);

/* One row a provider for whoever shows them, at most LIMIT_PROVIDERS; borrowed until the next step.
 */
size_t server_scale_rows(const struct server *server, struct instant now,
                         struct provider_row rows[LIMIT_PROVIDERS]);

/* Of clients: MSG_SCALE and MSG_PROVIDERS_GET. */
void server_scale_request(struct server *server, struct server_peer *peer,
                          const union message_any *message);
void server_scale_providers(struct server *server, struct server_peer *peer,
                            const union message_any *message);

#endif
