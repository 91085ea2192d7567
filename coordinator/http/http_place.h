/* http_place.h - HOST:PORT as an address of this machine, and whether a request asks for it by one.
 * Refuses to know: names other than localhost; nothing is looked up.
 */
#ifndef COORDINATOR_HTTP_HTTP_PLACE_H
#define COORDINATOR_HTTP_HTTP_PLACE_H

#include <netinet/in.h>
#include <stdbool.h>

#include "common/base/error.h"

struct http_place {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    bool is_loopback; /* of this machine alone */
};

/* HOST an IPv4 address, an IPv6 address in brackets, or localhost. ERR_USAGE. */
MUST_CHECK enum err http_place_parse(const char *address, struct http_place *out,
                                     struct err_text *et);

/* Whether a request's Host header is an address or localhost, with a port or without. Any other
 * name is its owner's, who may let it point at this machine, and pages of that name then read what
 * a browser here may read (DNS rebinding). Without the header (NULL) it was no browser. */
bool http_place_is_address(const char *host);

#endif
