/* main.c - qfleet-worker: wiring only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/version.h"
#include "worker/loop/worker_flags.h"
#include "worker/loop/worker_loop.h"

/* Without --cache the artifacts of this process lie in a folder that goes with it. */
static enum err settle_cache(struct worker_loop_options *options, char *folder, struct err_text *et)
{
    if (options->cache_folder != NULL)
        return ERR_OK;
    if (mkdtemp(folder) == NULL)
        return error_set(et, ERR_IO, "%s: cannot be made", folder);
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
    char folder[] = "/tmp/qfleet-worker-XXXXXX";
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
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(worker_flags_usage(), stdout) < 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("qfleet-worker %s\n", version_text()) < 0;
    (void)umask(077);
    enum err err = serve(argc, argv, &et);
    if (err == ERR_OK)
        return 0;
    (void)fprintf(stderr, "qfleet-worker: %s\n", et.text[0] != '\0' ? et.text : error_text(err));
    return error_exit_code(err);
}
