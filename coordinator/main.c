/* main.c - qfleet-coordinator: flags to options, wiring only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/check.h"
#include "common/base/version.h"
#include "common/mem/mem.h"
#include "common/transport/supervisor.h"
#include "coordinator/loop/server.h"

static const char usage[] =
    "usage: qfleet-coordinator --data DIR [options]\n"
    "\n"
    "  --data DIR        records, artifacts and sockets; made when missing\n"
    "  --control EP      control endpoint: ipc://PATH or tcp://HOST:PORT (default: ipc in DIR)\n"
    "  --bulk EP         endpoint of artifacts (default: ipc in DIR)\n"
    "  --advertise EP    endpoint of artifacts as peers reach it (default: as bound)\n"
    "  --keys FILE       TCP: who may connect: role, name and public key a line\n"
    "  --secret FILE     TCP: own key file\n"
    "  --providers FILE  where workers come from (default: this machine, when asked to)\n"
    "  --http ADDRESS    metrics and page: HOST:PORT or off (default 127.0.0.1:7072, when free)\n"
    "  --http-token FILE who may look at them (default DIR/http.token, for loopback only)\n"
    "  --embedded        serves one `qctl run` on this machine\n"
    "  --parent-fd N     ends when descriptor N reads end of file\n"
    "  --map-size GIB    address space of the record store (default 64)\n"
    "  --traffic MIB     memory for round traffic (default: a quarter of all)\n"
    "  --disk-floor MIB  free space under which nothing new starts (default 256)\n"
    "\n"
    "Prints `ready control=EP bulk=EP` when it listens. SIGTERM ends it, SIGHUP reads --keys "
    "and --providers again.\n"
    "Exit codes: 0 ended, 2 usage, 42 the store failed (start it again), others as `qctl help\n"
    "exit-codes`.\n";

struct flags {
    struct server_options options;
    uint64_t map_gib, traffic_mib, floor_mib, parent_fd;
};

static enum err read_number(const char *name, const char *value, uint64_t max, uint64_t *out,
                            struct err_text *et)
{
    char *end;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || number > max)
        return error_set(et, ERR_USAGE, "%s: a number from 0 to %" PRIu64 " expected, found %s",
                         name, max, value);
    *out = number;
    return ERR_OK;
}

static enum err read_flag(struct flags *f, const char *name, const char *value, struct err_text *et)
{
    const struct {
        const char *name;
        const char **out;
    } texts[] = {
        {"--data", &f->options.data_folder},        {"--control", &f->options.control_endpoint},
        {"--bulk", &f->options.bulk_endpoint},      {"--advertise", &f->options.advertise},
        {"--keys", &f->options.key_list_path},      {"--secret", &f->options.secret_path},
        {"--http", &f->options.http_address},       {"--http-token", &f->options.http_token_path},
        {"--providers", &f->options.providers_path}};
    const struct {
        const char *name;
        uint64_t *out;
        uint64_t max;
    } numbers[] = {{"--map-size", &f->map_gib, 1 << 16},
                   {"--traffic", &f->traffic_mib, 1 << 24},
                   {"--disk-floor", &f->floor_mib, 1 << 24},
                   {"--parent-fd", &f->parent_fd, 1 << 20}};
    if (value == NULL)
        return error_set(et, ERR_USAGE, "%s: unknown, or its value is missing; see --help", name);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].out = value;
            return ERR_OK;
        }
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (strcmp(name, numbers[i].name) == 0)
            return read_number(name, value, numbers[i].max, numbers[i].out, et);
    return error_set(et, ERR_USAGE, "%s: unknown; see --help", name);
}

static enum err read_flags(int argc, char **argv, struct flags *f, struct err_text *et)
{
    f->traffic_mib = 0;
    f->floor_mib = 256;
    f->parent_fd = UINT64_MAX;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--embedded") == 0) {
            f->options.is_embedded = true;
            continue;
        }
        TRY(read_flag(f, argv[i], i + 1 < argc ? argv[i + 1] : NULL, et));
        i++;
    }
    if (f->options.data_folder == NULL)
        return error_set(et, ERR_USAGE, "--data DIR is missing; see --help");
    f->options.map_size_bytes = f->map_gib << 30;
    f->options.ephemeral_bytes_max = f->traffic_mib << 20;
    f->options.free_bytes_min = f->floor_mib << 20;
    f->options.parent_fd = f->parent_fd == UINT64_MAX ? -1 : (int)f->parent_fd;
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

int main(int argc, char **argv)
{
    struct flags flags = {0};
    struct err_text et = {""};
    int exit_code = 0;
    supervisor_keep_streams();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("qfleet-coordinator %s\n", version_text()) < 0;
    (void)umask(077);
    mem_return_large_blocks();
    /* Hashing a large input must not hold up folds and chunks: libuv starts 4 threads otherwise. */
    (void)setenv("UV_THREADPOOL_SIZE", "12", 0);
    flags.options.supervisor = take_supervisor();
    flags.options.search_path = getenv("PATH");
    enum err err = read_flags(argc, argv, &flags, &et);
    if (err == ERR_OK)
        err = server_run(&flags.options, &exit_code, &et);
    if (err == ERR_OK)
        return exit_code;
    (void)fprintf(stderr, "qfleet-coordinator: %s\n", et.text);
    return exit_code != 0 ? exit_code : error_exit_code(err);
}
