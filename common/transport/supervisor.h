/* supervisor.h - tells the service manager that started this process how it is: systemd's
 * notification protocol (sd_notify(3)), one datagram of NAME=VALUE lines a message.
 *
 * Without a manager every call does nothing. Telling is never a reason to fail: a manager that does
 * not listen learns nothing. Refuses to know: the environment (main reads it), the clock.
 */
#ifndef COMMON_TRANSPORT_SUPERVISOR_H
#define COMMON_TRANSPORT_SUPERVISOR_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/base/error.h"
#include "common/base/ids.h"

/* What the environment says; any may be NULL. Borrowed. */
struct supervisor_environment {
    const char *socket;       /* NOTIFY_SOCKET: a path, or @NAME in the abstract name space */
    const char *watchdog_us;  /* WATCHDOG_USEC */
    const char *watchdog_pid; /* WATCHDOG_PID: of whom beats are expected; NULL: of anyone */
};

struct supervisor {
    int fd; /* -1: there is no manager */
    struct sockaddr_un address;
    socklen_t address_size;
    struct duration period; /* between two beats; 0: none are expected */
    struct instant beaten;
};

/* The first thing a program does. Descriptors 0 to 2 belong to the streams: where whoever started
 * it left one closed, a file or a socket would get its number, and messages would go into that. */
void supervisor_keep_streams(void);

/* ERR_USAGE: NOTIFY_SOCKET is neither /PATH nor @NAME or too long, WATCHDOG_USEC is no number.
 * Release with supervisor_close. */
MUST_CHECK enum err supervisor_open(const struct supervisor_environment *environment,
                                    struct supervisor *out, struct err_text *et);
void supervisor_close(struct supervisor *supervisor);

/* It serves from now on. Waits until the manager takes it. */
void supervisor_ready(struct supervisor *supervisor);

/* It ends now. */
void supervisor_stopping(struct supervisor *supervisor);

/* A line for people, in `systemctl status`. */
void supervisor_status(struct supervisor *supervisor, const char *format, ...) PRINTF(2, 3);

/* To be called by the loop in each of its turns: it lives. Tells it at half of the time after which
 * the manager would give it up. */
void supervisor_beat(struct supervisor *supervisor, struct instant now);

#endif
