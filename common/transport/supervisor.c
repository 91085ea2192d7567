/* supervisor.c - datagrams to a service manager. See supervisor.h. */
#include "common/transport/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 256 };

void supervisor_keep_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0) /* what is opened in its place fails as it would */
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static enum err read_number(const char *name, const char *value, uint64_t *out, struct err_text *et)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0)
        return error_set(et, ERR_USAGE, "%s: a whole number expected, found \"%s\"", name, value);
    *out = number;
    return ERR_OK;
}

static enum err read_period(const struct supervisor_environment *e, struct supervisor *s,
                            struct err_text *et)
{
    uint64_t us = 0, pid = (uint64_t)getpid();
    if (e->watchdog_us == NULL)
        return ERR_OK;
    TRY(read_number("WATCHDOG_USEC", e->watchdog_us, &us, et));
    if (e->watchdog_pid != NULL)
        TRY(read_number("WATCHDOG_PID", e->watchdog_pid, &pid, et));
    if (pid == (uint64_t)getpid() && us <= UINT64_MAX / 1000)
        s->period.ns = us * 1000 / 2;
    return ERR_OK;
}

enum err supervisor_open(const struct supervisor_environment *environment, struct supervisor *out,
                         struct err_text *et)
{
    const char *name = environment->socket;
    struct supervisor s = {.fd = -1, .address = {.sun_family = AF_UNIX}};
    if (name == NULL || name[0] == '\0') {
        *out = s;
        return ERR_OK;
    }
    size_t size = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || size < 2 || size >= sizeof s.address.sun_path)
        return error_set(et, ERR_USAGE, "NOTIFY_SOCKET: /PATH or @NAME expected, found \"%s\"",
                         name);
    TRY(read_period(environment, &s, et));
    memcpy(s.address.sun_path, name, size);
    if (name[0] == '@')
        s.address.sun_path[0] = '\0';
    s.address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    s.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s.fd < 0)
        return error_set(et, error_from_errno(errno), "NOTIFY_SOCKET: %s", strerror(errno));
    *out = s;
    return ERR_OK;
}

void supervisor_close(struct supervisor *supervisor)
{
    if (supervisor->fd >= 0)
        (void)close(supervisor->fd);
    supervisor->fd = -1;
}

static void tell(struct supervisor *s, const char *text, int flags)
{
    if (s->fd < 0)
        return;
    ssize_t sent;
    do {
        sent = sendto(s->fd, text, strlen(text), MSG_NOSIGNAL | flags,
                      (const struct sockaddr *)&s->address, s->address_size);
    } while (sent < 0 && errno == EINTR);
}

void supervisor_ready(struct supervisor *supervisor)
{
    tell(supervisor, "READY=1", 0);
}

void supervisor_stopping(struct supervisor *supervisor)
{
    tell(supervisor, "STOPPING=1", MSG_DONTWAIT);
}

void supervisor_status(struct supervisor *supervisor, const char *format, ...)
{
    char text[MESSAGE_BYTES] = "STATUS=";
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
    text[strcspn(text, "\n")] = '\0'; /* a line is a field */
    tell(supervisor, text, MSG_DONTWAIT);
}

void supervisor_beat(struct supervisor *supervisor, struct instant now)
{
    struct supervisor *s = supervisor;
    if (s->period.ns == 0 || now.ns - s->beaten.ns < s->period.ns)
        return;
    s->beaten = now;
    tell(s, "WATCHDOG=1", MSG_DONTWAIT);
}
