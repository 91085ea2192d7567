/* server.h - the coordinator as a process: sockets, clock, timers, signals, threads, and nothing
 * clever. Decisions are made in sched; here they are carried out in the one order that keeps the
 * promise: events in, records committed, then messages out and works started.
 */
#ifndef COORDINATOR_LOOP_SERVER_H
#define COORDINATOR_LOOP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/transport/supervisor.h"

struct server_options {
    const char *data_folder;      /* made when missing, mode 0700 */
    const char *control_endpoint; /* NULL: ipc in the data folder */
    const char *bulk_endpoint;    /* NULL: ipc in the data folder */
    const char *advertise;        /* the bulk endpoint as peers reach it; NULL: as it is bound */
    const char *key_list_path;    /* TCP: who may connect; read again on SIGHUP */
    const char *secret_path;      /* TCP: own key file */
    const char *http_address;    /* metrics and page: HOST:PORT, "off"; NULL: 127.0.0.1:7072 when it
                                    is free, off when embedded */
    const char *http_token_path; /* who may look; NULL: DATA/http.token, for loopback only */
    const char *providers_path;  /* where workers come from; NULL: this machine, when asked; read
                                    again on SIGHUP */
    const char *search_path;     /* PATH: where programs of providers are; NULL: not known */
    bool is_embedded;            /* serves one `qctl run`: STOP is allowed, ends with its parent */
    int parent_fd;               /* ends when this descriptor reads end of file; -1: none */
    uint64_t map_size_bytes;     /* of the store; 0: its default */
    uint64_t ephemeral_bytes_max;             /* round traffic; 0: a quarter of this machine's
                                                 memory, LIMIT_EPHEMERAL_MIB at most */
    uint64_t free_bytes_min;                  /* floor of the disk under which nothing new starts */
    struct supervisor_environment supervisor; /* the service manager, when there is one */
};

/* Runs until a signal, STOP or a fatal error; *exit_code is what the process shall return: 0 or
 * STORE_EXIT_CODE. Prints "ready control=EP bulk=EP" on stdout once it listens. Errors are those of
 * the start, with text. */
MUST_CHECK enum err server_run(const struct server_options *options, int *exit_code,
                               struct err_text *et);

/* For the files of this folder. */
struct server;

/* Monotonic time as sched takes it, and wall-clock time for people. */
struct instant server_now(void);
uint64_t server_unix_ms(void);

/* Says why on stderr and stops with STORE_EXIT_CODE; nothing more leaves the process. */
void server_fail(struct server *server, enum err err, const char *what);

/* Takes in nothing more and ends the loop when what is out has come back. */
void server_stop(struct server *server);

/* A line on stderr. */
void server_log(const char *format, ...) PRINTF(1, 2);

#endif
