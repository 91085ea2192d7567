/* transport_zap.h - who may connect: answers ZeroMQ's authentication requests (ZAP, RFC 27).
 *
 * One handler a process, on a thread of its own, started before the first TCP socket is bound. It
 * knows a key list and admits nobody else; what it does not understand it refuses.
 */
#ifndef COMMON_TRANSPORT_TRANSPORT_ZAP_H
#define COMMON_TRANSPORT_TRANSPORT_ZAP_H

#include "common/base/error.h"
#include "common/transport/transport_keys.h"

struct transport_zap;

/* Takes over the list's rows (`list` is empty afterwards). ERR_EXISTS: a handler runs already. */
MUST_CHECK enum err transport_zap_start(struct transport_key_list *list,
                                        struct transport_zap **out);

/* Replaces the list for connections made from now on. Takes over its rows. */
MUST_CHECK enum err transport_zap_replace(struct transport_zap *zap,
                                          struct transport_key_list *list);
void transport_zap_stop(struct transport_zap **zap);

#endif
