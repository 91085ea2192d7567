/* server_http.h - the window of the coordinator: http.h in the event loop. Answers are given after
 * the turn's commit, so nothing is shown that is not durable. What is measured for /metrics is
 * measured here too.
 */
#ifndef COORDINATOR_LOOP_SERVER_HTTP_H
#define COORDINATOR_LOOP_SERVER_HTTP_H

#include "coordinator/loop/server_state.h"

/* Listens as the options say. Where nothing was asked for and the default port is taken, it says so
 * and goes on without. ERR_USAGE, ERR_EXISTS, errors of the token's file. */
MUST_CHECK enum err server_http_open(struct server *server, struct err_text *et);

/* Watches it; the loop is there. */
MUST_CHECK enum err server_http_watch(struct server *server, struct err_text *et);

/* After the commit: answers what came in. */
void server_http_serve(struct server *server);

/* At the end of a turn: how long it took since the loop woke up. */
void server_http_measure_turn(struct server *server);

/* After the loop is closed. */
void server_http_close(struct server *server);

#endif
