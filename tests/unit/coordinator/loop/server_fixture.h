/* server_fixture.h - a coordinator process in a folder of its own, and sockets to speak to it.
 *
 * Every function fails the test when something is not as it should be.
 */
#ifndef TESTS_UNIT_COORDINATOR_LOOP_SERVER_FIXTURE_H
#define TESTS_UNIT_COORDINATOR_LOOP_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/message/state.h"
#include "common/transport/transport.h"

enum { FIXTURE_WAIT_MS = 10000, FIXTURE_INPUTS = 4 };

struct server_fixture {
    char folder[64];
    char *arguments[20]; /* of the coordinator, after the program's name; NULL-ended */
    pid_t pid;
    int out;   /* the coordinator's stdout */
    int alive; /* end of a pipe: the coordinator ends with this process, however that ends */
    char control[256], bulk[256];
    struct transport *client_socket, *worker_socket, *bulk_socket;
    struct arena arena; /* of the last reply */
    struct bytes frame;
    struct bytes recipe; /* canonical */
    struct artifact_ref inputs[FIXTURE_INPUTS];
    char contents[FIXTURE_INPUTS][32];
};

/* A folder, inputs and a recipe; arguments for an embedded coordinator, which is not started. */
struct server_fixture *server_fixture_create(void);

/* cmocka's: starts a coordinator and connects; ends both and removes the folder. */
int server_fixture_set_up(void **state);
int server_fixture_tear_down(void **state);

/* The process. stop: with a signal, or 0 to wait only; returns the status of waitpid. */
void server_fixture_start(struct server_fixture *f);
int server_fixture_stop(struct server_fixture *f, int signal_number);

/* The sockets. */
void server_fixture_join(struct server_fixture *f);
void server_fixture_leave(struct server_fixture *f);

/* Sends, waiting for the connection if need be. */
void server_fixture_say(struct server_fixture *f, struct transport *t, uint32_t number,
                        const void *message);
/* The next message, which must be of kind `number`; it lives until the next call. */
const union message_any *server_fixture_hear(struct server_fixture *f, struct transport *t,
                                             uint32_t number);
/* The next message of any kind, NULL when none comes in `wait_ms`. */
const union message_any *server_fixture_hear_any(struct server_fixture *f, struct transport *t,
                                                 int wait_ms, uint32_t *number);

const struct msg_welcome *server_fixture_hello(struct server_fixture *f, enum peer_role role);

/* Brings an artifact of one chunk or none; true when it was there already. */
bool server_fixture_put(struct server_fixture *f, struct digest digest, struct span content,
                        bool ephemeral);

/* Submits the fixture's recipe and inputs under a request number, without or after bringing the
 * inputs. */
const struct msg_submitted *server_fixture_submit(struct server_fixture *f, uint64_t request);
uint64_t server_fixture_submit_all(struct server_fixture *f, uint64_t request);

#endif
