/* local_fleet.h - a coordinator and its workers as children of this process: started, watched,
 * started again when they die, ended with it.
 *
 * Children live in a process group of their own (Ctrl-C reaches this process alone), read the end
 * of a pipe as their parent's death, and write to log files in the data folder:
 *
 *     DATA/coordinator.log, worker-1.log   what they say
 *     DATA/coordinator.pid, worker-1.pid   who they are, while they run
 *
 * The sockets lie in a 0700 folder under the system's temporary folder, since their paths must be
 * short.
 */
#ifndef CLI_COMMAND_LOCAL_FLEET_H
#define CLI_COMMAND_LOCAL_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/error.h"

enum {
    LOCAL_FLEET_WORKERS_MAX = 256,
    LOCAL_FLEET_PATH_BYTES = 4096,
    LOCAL_FLEET_ENDPOINT_BYTES = 128
};

struct local_fleet_options {
    const char *data;      /* durable folder; NULL: a temporary one, gone in the end */
    const char *temporary; /* where temporary folders go */
    const char *isa;       /* of the workers, or NULL */
    size_t workers;
    uint64_t threads;      /* of each worker */
    uint64_t memory_bytes; /* of each worker, 0: its own choice */
    unsigned restarts_max; /* of each child */
    bool keep;             /* leave a temporary folder behind */
};

struct local_fleet_child {
    char name[32]; /* "coordinator", "worker-1" */
    pid_t pid;     /* 0 when it is not running */
    unsigned restarts;
    uint64_t started_ms;
    int status; /* of its last end, as waitpid gives it */
};

struct local_fleet {
    struct local_fleet_options options;
    char programs[LOCAL_FLEET_PATH_BYTES]; /* folder of this program */
    char data[LOCAL_FLEET_PATH_BYTES];
    char sockets[LOCAL_FLEET_PATH_BYTES]; /* temporary folder */
    char control[LOCAL_FLEET_ENDPOINT_BYTES];
    char bulk[LOCAL_FLEET_ENDPOINT_BYTES];
    int alive[2]; /* pipe whose writing end dies with this process */
    struct local_fleet_child children[1 + LOCAL_FLEET_WORKERS_MAX]; /* the coordinator first */
    size_t child_count;
};

/* Makes the folders and starts everybody. On an error nothing is left running. */
MUST_CHECK enum err local_fleet_open(struct local_fleet *fleet,
                                     const struct local_fleet_options *options,
                                     struct err_text *et);

/* Collects the dead and starts them again. ERR_LOST when one has died too often, with the end of
 * its log; a line about each restart is written to `said` (empty otherwise). */
MUST_CHECK enum err local_fleet_check(struct local_fleet *fleet, uint64_t now_ms,
                                      struct err_text *said, struct err_text *et);

/* Whether any child runs, after collecting the dead. */
bool local_fleet_runs(struct local_fleet *fleet);

/* Sends SIGTERM, waits `grace_ms`, then SIGKILL; collects all, removes what is temporary. */
void local_fleet_close(struct local_fleet *fleet, uint32_t grace_ms);

#endif
