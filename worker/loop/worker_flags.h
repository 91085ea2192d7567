/* worker_flags.h - the command line of qfleet-worker as options of its loop. */
#ifndef WORKER_LOOP_WORKER_FLAGS_H
#define WORKER_LOOP_WORKER_FLAGS_H

#include "worker/loop/worker_loop.h"

/* The options and what they point to; texts are borrowed from argv. */
struct worker_flags {
    struct worker_loop_options options;
    const char *secret, *server_key, *isa;
    uint64_t threads, parent_fd, orphan_s;
    struct transport_keys own;
    uint8_t server_public[TRANSPORT_KEY_BYTES];
};

/* For --help. Static. */
const char *worker_flags_usage(void);

/* Reads flags and key files. `isa` is taken where --isa is not given; it may be NULL. ERR_USAGE
 * names the flag, what was expected and found; the errors of key files as transport_keys.h. */
MUST_CHECK enum err worker_flags_read(int argc, char **argv, const char *isa,
                                      struct worker_flags *out, struct err_text *et);

#endif
