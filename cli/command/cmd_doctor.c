/* cmd_doctor.c - `qctl doctor`: what of this machine would get in the way, before it does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/message/message.h"
#include "common/transport/transport.h"
#include "worker/engine/kernel/kernel.h"

enum { MEMORY_BYTES_MIN = 1 << 30, DISK_BYTES_MIN = 1 << 30, LINE_BYTES = 256 };

enum verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_BAD };

struct examination {
    struct invocation *invocation;
    struct json_write w;
    unsigned bad;
};

static void tell(struct examination *e, enum verdict verdict, const char *what, const char *found)
{
    static const char *const words[] = {"ok", "note", "FAIL"};
    static const enum style_color colors[] = {STYLE_GOOD, STYLE_BUSY, STYLE_BAD};
    const struct style *style = &e->invocation->style;
    e->bad += verdict == VERDICT_BAD;
    if (e->invocation->json) {
        json_write_object_begin(&e->w, NULL);
        json_write_text(&e->w, "check", text_of(what));
        json_write_text(&e->w, "found", text_of(found));
        json_write_text(&e->w, "verdict", text_of(words[verdict]));
        json_write_object_end(&e->w);
        return;
    }
    (void)fprintf(e->invocation->out, "%s%-4s%s  %-12s %s\n", style_on(style, colors[verdict]),
                  words[verdict], style_off(style, colors[verdict]), what, found);
}

static void examine_processor(struct examination *e)
{
    char line[LINE_BYTES];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct kernel *kernel = NULL;
    enum err err = kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &kernel);
    if (err != ERR_OK) {
        tell(e, VERDICT_BAD, "processor", error_text(err));
        return;
    }
    (void)snprintf(line, sizeof line, "%ld cores, kernels %s", cores, kernel_name(kernel));
    bool slow = strstr(line, "portable") != NULL;
    tell(e, slow ? VERDICT_NOTE : VERDICT_OK, "processor", line);
    kernel_destroy(&kernel);
}

static void examine_memory(struct examination *e)
{
    char line[LINE_BYTES], size[HUMAN_BYTES];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    (void)snprintf(line, sizeof line, "%s", human_size(bytes, size));
    tell(e, bytes < MEMORY_BYTES_MIN ? VERDICT_BAD : VERDICT_OK, "memory", line);
}

static void examine_disk(struct examination *e, const char *what, const char *folder)
{
    char line[LINE_BYTES], size[HUMAN_BYTES];
    struct statvfs status;
    if (statvfs(folder, &status) != 0) {
        (void)snprintf(line, sizeof line, "%s: %s", folder, strerror(errno));
        tell(e, VERDICT_BAD, what, line);
        return;
    }
    uint64_t bytes = (uint64_t)status.f_bavail * (uint64_t)status.f_frsize;
    (void)snprintf(line, sizeof line, "%s free in %s", human_size(bytes, size), folder);
    tell(e, bytes < DISK_BYTES_MIN ? VERDICT_BAD : VERDICT_OK, what, line);
}

static void examine_programs(struct examination *e)
{
    static const char *const programs[] = {"qfleet-coordinator", "qfleet-worker"};
    char path[LINE_BYTES];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 32);
    char *slash = NULL;
    if (size > 0) {
        path[size] = '\0';
        slash = strrchr(path, '/');
    }
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        if (slash != NULL)
            (void)snprintf(slash + 1, sizeof path - (size_t)(slash + 1 - path), "%s", programs[i]);
        bool there = slash != NULL && access(path, X_OK) == 0;
        tell(e, there ? VERDICT_OK : VERDICT_BAD, "program", there ? path : programs[i]);
    }
}

/* A local socket as `qctl run` makes it, bound and closed. */
static void examine_socket(struct examination *e, const char *temporary)
{
    char folder[LINE_BYTES], endpoint[LINE_BYTES + 32];
    struct err_text why = {{0}};
    struct transport *socket = NULL;
    const struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    (void)snprintf(folder, sizeof folder, "%s/qfleet-XXXXXX", temporary);
    if (mkdtemp(folder) == NULL) {
        tell(e, VERDICT_BAD, "socket", strerror(errno));
        return;
    }
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/doctor.sock", folder);
    enum err err = transport_listen(endpoint, &options, &socket, &why);
    tell(e, err == ERR_OK ? VERDICT_OK : VERDICT_BAD, "socket",
         err == ERR_OK ? "local sockets can be bound" : why.text);
    transport_close(&socket);
    (void)unlink(endpoint + strlen("ipc://"));
    (void)rmdir(folder);
}

static void examine_coordinator(struct examination *e)
{
    struct client *client = NULL;
    struct err_text why = {{0}};
    const char *endpoint = command_text(e->invocation, "coordinator");
    if (endpoint == NULL && e->invocation->environment->coordinator == NULL) {
        tell(e, VERDICT_NOTE, "coordinator", "none named (qctl run needs none)");
        return;
    }
    enum err err = command_connect(e->invocation, &client, &why);
    tell(e, err == ERR_OK ? VERDICT_OK : VERDICT_BAD, "coordinator",
         err == ERR_OK ? "reachable, and welcomes this client" : why.text);
    client_close(&client);
}

enum err cmd_doctor(struct invocation *invocation, struct err_text *et)
{
    char line[LINE_BYTES];
    const char *temporary = invocation->environment->temporary;
    struct examination e = {.invocation = invocation};
    json_write_init(&e.w, JSON_WRITE_PRETTY, 1 << 20);
    json_write_array_begin(&e.w, NULL);
    int used = snprintf(line, sizeof line, "protocol %d, ", MESSAGE_PROTOCOL);
    tokenizer_unicode_version(line + used, sizeof line - (size_t)used);
    tell(&e, VERDICT_OK, "versions", line);
    examine_processor(&e);
    examine_memory(&e);
    examine_disk(&e, "disk", ".");
    examine_disk(&e, "temporary", temporary != NULL ? temporary : "/tmp");
    examine_programs(&e);
    examine_socket(&e, temporary != NULL ? temporary : "/tmp");
    examine_coordinator(&e);
    json_write_array_end(&e.w);
    enum err err = ERR_OK;
    if (invocation->json)
        err = command_print_json(invocation, &e.w);
    else
        json_write_fini(&e.w);
    if (err == ERR_OK && e.bad > 0)
        return error_set(et, ERR_STATE, "%u of these would get in the way", e.bad);
    return err;
}
