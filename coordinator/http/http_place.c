/* http_place.c - see http_place.h. */
#include "coordinator/http/http_place.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/span.h"

enum { HOST_BYTES = 48 };

/* The part before the port, "" when it is none; *port is what follows it, with its colon. */
static void split(const char *address, char host[HOST_BYTES], const char **port)
{
    size_t size = address[0] == '[' ? strcspn(address, "]") : strcspn(address, ":");
    size += address[0] == '[' && address[size] == ']';
    *port = address + size;
    if (size >= HOST_BYTES)
        size = 0;
    memcpy(host, address, size);
    host[size] = '\0';
}

static bool parse_host(char *host, struct http_place *out)
{
    size_t size = strlen(host);
    *out = (struct http_place){0};
    if (inet_pton(AF_INET, strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                  &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->is_loopback = ntohl(out->v4.sin_addr.s_addr) >> 24 == 127;
        return true;
    }
    if (size < 2 || host[0] != '[' || host[size - 1] != ']')
        return false;
    host[size - 1] = '\0';
    if (inet_pton(AF_INET6, host + 1, &out->v6.sin6_addr) != 1)
        return false;
    out->v6.sin6_family = AF_INET6;
    out->is_loopback = IN6_IS_ADDR_LOOPBACK(&out->v6.sin6_addr);
    return true;
}

enum err http_place_parse(const char *address, struct http_place *out, struct err_text *et)
{
    char host[HOST_BYTES];
    const char *port;
    char *end = NULL;
    struct http_place place;
    split(address, host, &port);
    unsigned long number = port[0] == ':' ? strtoul(port + 1, &end, 10) : 0;
    if (port[0] != ':' || port[1] < '0' || port[1] > '9' || *end != '\0' || number > UINT16_MAX ||
        host[0] == '\0')
        return error_set(et, ERR_USAGE,
                         "%s: expected HOST:PORT, such as 127.0.0.1:7072 or [::1]:7072", address);
    if (!parse_host(host, &place))
        return error_set(et, ERR_USAGE,
                         "%s: the host must be an address of this machine, such as "
                         "127.0.0.1, 0.0.0.0 or [::1]",
                         address);
    if (place.any.sa_family == AF_INET)
        place.v4.sin_port = htons((uint16_t)number);
    else
        place.v6.sin6_port = htons((uint16_t)number);
    *out = place;
    return ERR_OK;
}

bool http_place_is_address(const char *host)
{
    char name[HOST_BYTES];
    const char *port;
    struct http_place place;
    if (host == NULL)
        return true;
    split(host, name, &port);
    return parse_host(name, &place) &&
           (port[0] == '\0' ||
            (port[0] == ':' && port[1 + strspn(port + 1, "0123456789")] == '\0'));
}
