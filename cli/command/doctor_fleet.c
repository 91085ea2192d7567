/* doctor_fleet.c - see doctor_fleet.h. */
#include "cli/command/doctor_fleet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client/client.h"
#include "common/base/check.h"
#include "common/base/version.h"
#include "common/mem/arena.h"
#include "common/transport/transport.h"

enum { ARENA_BYTES = 1 << 20, PATH_BYTES = 512, CLOCK_MS_MAX = 5000 };

static void examine_programs(struct doctor *d)
{
    static const char *const programs[] = {"qfleet-coordinator", "qfleet-worker"};
    char path[PATH_BYTES];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 32);
    char *slash = NULL;
    if (size > 0) {
        path[size] = '\0';
        slash = strrchr(path, '/');
    }
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        if (slash != NULL)
            (void)snprintf(slash + 1, sizeof path - (size_t)(slash + 1 - path), "%s", programs[i]);
        bool is_there = slash != NULL && access(path, X_OK) == 0;
        doctor_tell(d, is_there ? DOCTOR_OK : DOCTOR_NOTE, "program", "%s%s",
                    is_there ? path : programs[i],
                    is_there ? "" : " is not beside qctl: qctl run needs it");
    }
}

/* A local socket as `qctl run` makes it, bound and closed. */
static void examine_socket(struct doctor *d)
{
    const char *temporary = d->invocation->environment->temporary;
    char folder[PATH_BYTES], endpoint[PATH_BYTES + 32];
    struct err_text why = {{0}};
    struct transport *socket = NULL;
    const struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    (void)snprintf(folder, sizeof folder, "%s/qfleet-XXXXXX",
                   temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(folder) == NULL) {
        doctor_tell(d, DOCTOR_BAD, "socket", "%s: %s", folder, strerror(errno));
        return;
    }
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/doctor.sock", folder);
    enum err err = transport_listen(endpoint, &options, &socket, &why);
    doctor_tell(d, err == ERR_OK ? DOCTOR_OK : DOCTOR_BAD, "socket", "%s",
                err == ERR_OK ? "local sockets can be bound" : why.text);
    transport_close(&socket);
    (void)unlink(endpoint + strlen("ipc://"));
    (void)rmdir(folder);
}

static void examine_keys(struct doctor *d, const struct client_config *config)
{
    struct transport_keys keys;
    uint8_t public_key[TRANSPORT_KEY_BYTES];
    struct err_text why = {{0}};
    if (config->secret != NULL) {
        enum err err = transport_keys_read(config->secret, &keys, &why);
        doctor_tell(d, err == ERR_OK ? DOCTOR_OK : DOCTOR_BAD, "key", "%s%s",
                    err == ERR_OK ? config->secret : why.text,
                    err == ERR_DENIED ? "; chmod 600, and it must be yours" : "");
    }
    if (config->server_key != NULL) {
        enum err err = transport_keys_read_public(config->server_key, public_key, &why);
        doctor_tell(d, err == ERR_OK ? DOCTOR_OK : DOCTOR_BAD, "key", "%s",
                    err == ERR_OK ? config->server_key : why.text);
    }
}

static void examine_coordinator(struct doctor *d, const char *endpoint)
{
    struct client *client = NULL;
    struct err_text why = {{0}};
    enum err err = command_connect(d->invocation, &client, &why);
    if (err != ERR_OK) {
        doctor_tell(d, DOCTOR_BAD, "coordinator", "%s: %s", endpoint,
                    why.text[0] != '\0' ? why.text : error_text(err));
        return;
    }
    const struct client_facts *facts = client_facts(client);
    bool is_same = strcmp(facts->version, version_text()) == 0;
    doctor_tell(d, is_same ? DOCTOR_OK : DOCTOR_NOTE, "coordinator",
                "%s welcomes this client: qfleet %s%s", endpoint, facts->version,
                is_same ? "" : ", another version than this one");
    if (llabs(facts->clock_ahead_ms) > CLOCK_MS_MAX)
        doctor_tell(d, DOCTOR_NOTE, "coordinator",
                    "its clock is %.0f s %s this machine's: times of logs will not fit together",
                    (double)llabs(facts->clock_ahead_ms) / 1000,
                    facts->clock_ahead_ms > 0 ? "ahead of" : "behind");
    client_close(&client);
}

void doctor_fleet_examine(struct doctor *doctor)
{
    struct client_config config;
    struct err_text why = {{0}};
    struct arena arena;
    examine_programs(doctor);
    examine_socket(doctor);
    arena_init(&arena, ARENA_BYTES);
    enum err err = command_coordinator(doctor->invocation, &arena, &config, &why);
    if (err != ERR_OK) {
        doctor_tell(doctor, DOCTOR_BAD, "configuration", "%s",
                    why.text[0] != '\0' ? why.text : error_text(err));
    } else if (config.coordinator == NULL) {
        doctor_tell(doctor, DOCTOR_NOTE, "coordinator", "none named (qctl run needs none)");
    } else {
        if (config.file != NULL)
            doctor_tell(doctor, DOCTOR_OK, "configuration", "%s", config.file);
        examine_keys(doctor, &config);
        examine_coordinator(doctor, config.coordinator);
    }
    arena_fini(&arena);
}
