/* worker_flags.h - the command line of qfleet-worker as options of its loop. */
#ifndef WORKER_LOOP_WORKER_FLAGS_H
#define WORKER_LOOP_WORKER_FLAGS_H

#include "common/base/limits.h"
#include "worker/loop/worker_loop.h"

/* What the environment says; NULL where it says nothing. */
struct worker_surroundings {
    const char *isa;                /* QFLEET_ISA */
    const char *slurm_job_id;       /* SLURM_JOB_ID and so on */
    const char *slurm_job_end_time; /* seconds since 1970 */
    const char *slurm_ntasks, *slurm_procid;
    uint64_t unix_s; /* now */
};

/* The options and what they point to; texts are borrowed from argv, the surroundings and this. */
struct worker_flags {
    struct worker_loop_options options;
    const char *secret, *server_key, *isa;
    uint64_t threads, parent_fd, orphan_s, time_limit_s;
    char name[LIMIT_NAME_BYTES + 1]; /* where none is given: of provider and allocation */
    struct transport_keys own;
    uint8_t server_public[TRANSPORT_KEY_BYTES];
};

/* For --help. Static. */
const char *worker_flags_usage(void);

/* Reads flags and key files. Where a flag is not given, the surroundings say instruction set, place
 * and, under Slurm, the end of the job. ERR_USAGE names the flag, what was expected and found; the
 * errors of key files as transport_keys.h. *out must not move afterwards. */
MUST_CHECK enum err worker_flags_read(int argc, char **argv,
                                      const struct worker_surroundings *surroundings,
                                      struct worker_flags *out, struct err_text *et);

#endif
