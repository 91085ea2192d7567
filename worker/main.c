/* main.c - qfleet-worker: wiring only. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/version.h"
#include "common/mem/mem.h"
#include "common/transport/supervisor.h"
#include "worker/cache/cache_orphan.h"
#include "worker/loop/worker_flags.h"
#include "worker/loop/worker_loop.h"

enum { HOST_BYTES = 256 };

/* Without --cache the artifacts of this process lie in a folder that goes with it; those of
 * processes of this machine that were killed go now. A lock tells who lives, and some file systems
 * have locks for each machine, so its name is part of the folder's. */
static enum err settle_cache(struct worker_loop_options *options, char folder[PATH_MAX],
                             struct err_text *et)
{
    char machine[HOST_BYTES] = "", prefix[HOST_BYTES + 32];
    const char *parent = getenv("TMPDIR");
    if (options->cache_folder != NULL)
        return ERR_OK;
    if (parent == NULL || *parent == '\0')
        parent = "/tmp";
    (void)gethostname(machine, sizeof machine - 1);
    (void)snprintf(prefix, sizeof prefix, "qfleet-private-cache-%s-", machine);
    (void)cache_orphan_sweep(parent, prefix);
    if (snprintf(folder, PATH_MAX, "%s/%sXXXXXX", parent, prefix) >= PATH_MAX)
        return error_set(et, ERR_USAGE, "TMPDIR: longer than a path may be");
    if (mkdtemp(folder) == NULL)
        return error_set(et, error_from_errno(errno), "%s: %s", folder, strerror(errno));
    options->cache_folder = folder;
    options->cache_is_private = true;
    return ERR_OK;
}

/* The service manager speaks to this process alone: children inherit nothing of it. The texts stay
 * where they are. */
static struct supervisor_environment take_supervisor(void)
{
    const struct supervisor_environment taken = {.socket = getenv("NOTIFY_SOCKET"),
                                                 .watchdog_us = getenv("WATCHDOG_USEC"),
                                                 .watchdog_pid = getenv("WATCHDOG_PID")};
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return taken;
}

static enum err serve(int argc, char **argv, struct err_text *et)
{
    char folder[PATH_MAX];
    const struct supervisor_environment supervisor = take_supervisor();
    struct worker_flags flags;
    const struct worker_surroundings surroundings = {
        .isa = getenv("QFLEET_ISA"),
        .slurm_job_id = getenv("SLURM_JOB_ID"),
        .slurm_job_end_time = getenv("SLURM_JOB_END_TIME"),
        .slurm_ntasks = getenv("SLURM_NTASKS"),
        .slurm_procid = getenv("SLURM_PROCID"),
        .unix_s = worker_loop_unix_s(),
    };
    TRY(worker_flags_read(argc, argv, &surroundings, &flags, et));
    flags.options.supervisor = supervisor;
    if (transport_startup() != ERR_OK)
        return error_set(et, ERR_IO, "ZeroMQ does not start");
    enum err err = settle_cache(&flags.options, folder, et);
    if (err == ERR_OK)
        err = worker_loop_run(&flags.options, et);
    transport_shutdown();
    return err;
}

int main(int argc, char **argv)
{
    struct err_text et = {""};
    supervisor_keep_streams();
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(worker_flags_usage(), stdout) < 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("qfleet-worker %s\n", version_text()) < 0;
    (void)umask(077);
    mem_return_large_blocks(); /* what one kind of task held is not kept beside the next */
    enum err err = serve(argc, argv, &et);
    if (err == ERR_OK)
        return 0;
    (void)fprintf(stderr, "qfleet-worker: %s\n", et.text[0] != '\0' ? et.text : error_text(err));
    return error_exit_code(err);
}
