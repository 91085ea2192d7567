/* exchange.h - one request, its one reply, over a socket that may lose its peer in between.
 *
 * A request is sent again until its reply is there or the time is up: every request of the protocol
 * may be repeated. Replies to earlier requests are ignored by their ticket. Where not even a
 * greeting is answered the connection is made anew.
 * Refuses to know: what is asked.
 */
#ifndef CLI_CLIENT_EXCHANGE_H
#define CLI_CLIENT_EXCHANGE_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/transport/transport.h"

struct exchange {
    struct transport *socket; /* owned */
    struct arena arena;       /* owned: of the last reply */
    struct bytes frame;       /* owned: the request in flight */
    struct bytes greeting; /* owned: sent before the first request and each repeat; may be empty */
    union message_any reply; /* the last one; borrowed from it until the next request */
    uint64_t ticket;         /* of the last request */
    uint64_t heard;          /* frames that came, whatever they said */
    uint32_t wait_ms;        /* how long one request may take in all */
    uint32_t repeat_ms;      /* of silence, then it is sent again for the first time */
};

/* Takes over the socket, also on failure. */
void exchange_init(struct exchange *exchange, struct transport *socket, uint32_t wait_ms);
void exchange_fini(struct exchange *exchange);

/* Milliseconds on the monotonic clock. */
uint64_t exchange_now_ms(void);

/* Milliseconds since 1970, for ages that are shown to people. */
uint64_t exchange_unix_ms(void);

/* Lets some time go by before another attempt. */
void exchange_pause(uint32_t ms);

/* Sends a frame without a ticket and waits for a message of `reply_type`. */
MUST_CHECK enum err exchange_greet(struct exchange *exchange, const struct message_type *reply_type,
                                   struct err_text *et);

/* Sends `request` (a structure of `type`, which begins with its ticket, filled here) and waits for
 * a `reply_type` with that ticket; a status with an error becomes that error, with its words.
 * ERR_UNREACHABLE: nobody answered in time, or before a blocked SIGINT, SIGTERM or SIGHUP came. */
MUST_CHECK enum err exchange_request(struct exchange *exchange, const struct message_type *type,
                                     void *request, const struct message_type *reply_type,
                                     struct err_text *et);

/* ERR_VERSION: names this program's version beside what the coordinator said of its own ("": it
 * said nothing, but what it sent was not understood). */
enum err exchange_fail_version(struct text said, struct err_text *et);

#endif
