/* worker_loop.h - the shell of a worker: socket, timers, signals, the compute thread; translates
 * what happens into events of the agent and carries its effects out. Decides nothing.
 */
#ifndef WORKER_LOOP_WORKER_LOOP_H
#define WORKER_LOOP_WORKER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/transport/supervisor.h"
#include "common/transport/transport.h"
#include "worker/engine/kernel/kernel.h"

struct worker_loop_options {
    const char *coordinator; /* endpoint of its control socket */
    const char *name;        /* NULL: the name of the machine */
    unsigned threads;        /* 0: the processors of the machine */
    uint64_t memory_bytes;   /* 0: the memory of the machine */
    const char *cache_folder;
    bool cache_is_private; /* the folder goes with the process */
    uint64_t cache_bytes_max;
    enum kernel_isa isa;
    const struct transport_keys *own; /* NULL for local sockets */
    const uint8_t *server_public;     /* likewise */
    int parent_fd;                    /* leaves when it reads end of file; -1: none */
    uint32_t orphan_ms;               /* leaves after so long without a coordinator; 0: never */
    struct supervisor_environment supervisor; /* the service manager, when there is one */
    const char *provider;                     /* who started it; NULL: a person */
    const char *allocation;                   /* its place there, or NULL */
    uint64_t time_limit_ms;                   /* it will be ended after so long; 0: never */
};

/* Serves until it is told to leave. ERR_OK when that was asked for (drained, retired, SIGTERM);
 * otherwise the reason, in `et` too. transport_startup has been called. */
MUST_CHECK enum err worker_loop_run(const struct worker_loop_options *options, struct err_text *et);

/* The wall clock, in seconds since 1970: batch systems tell ends as times. */
uint64_t worker_loop_unix_s(void);

#endif
