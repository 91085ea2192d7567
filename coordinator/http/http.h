/* http.h - looking at the coordinator over HTTP: health, metrics, the page and what the page asks.
 *
 *   /healthz        alive; for everybody
 *   /metrics        Prometheus text; on loopback for whoever asks for an address or localhost,
 *                   else with the token
 *   / and its files the page; without the token / is a form that asks for it
 *   /api/...        JSON; with the token
 *
 * The token comes once as ?token=, which answers with a cookie and the same address without it, or
 * as `Authorization: Bearer`. GET and HEAD only: nothing can be changed from here.
 *
 * The one door to libmicrohttpd. It has no thread: the owner watches http_fd and calls http_run.
 * Bounded are connections, those of one address, their idle time, the time from one answer to the
 * next, and the memory of answers that were not taken yet. Refuses to know: jobs, the clock, the
 * event loop, TLS (loopback, or a proxy that has it).
 */
#ifndef COORDINATOR_HTTP_HTTP_H
#define COORDINATOR_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"
#include "coordinator/http/http_token.h"

struct http;

enum http_topic { HTTP_METRICS, HTTP_API };

struct http_request {
    enum http_topic topic;
    struct text path;   /* HTTP_API: after /api/ */
    const void *values; /* for http_value */
};

/* A number given in the query, 0 when it is absent or none. */
uint64_t http_value(const struct http_request *request, const char *name);

/* Appends the answer to `out`: text for METRICS, JSON for API. Failures are answered with their
 * code and *et. Called from http_run. */
typedef enum err (*http_answer_f)(void *context, const struct http_request *request,
                                  struct bytes *out, struct err_text *et);

enum { HTTP_ADDRESS_BYTES = 64, HTTP_STATUS_CLASSES = 6 };

struct http_options {
    const char *address;     /* HOST:PORT, HOST an IPv4 address, [IPv6] or localhost; port 0: any */
    struct http_token token; /* who has it may look */
    http_answer_f answer;
    void *context;
};

/* Whether `address` is of this machine alone. ERR_USAGE when it is no address. */
MUST_CHECK enum err http_is_loopback(const char *address, bool *out, struct err_text *et);

/* Listens. ERR_USAGE, ERR_EXISTS when the port is taken, ERR_DENIED, ERR_IO. */
MUST_CHECK enum err http_open(const struct http_options *options, struct http **out,
                              struct err_text *et);
void http_close(struct http **http);

/* HOST:PORT as it is bound. Borrowed until http_close. */
const char *http_address(const struct http *http);

/* Readable when http_run has something to do. */
int http_fd(const struct http *http);

/* Takes in requests and answers them; never waits. `now_ms` is of a clock that does not go back. */
void http_run(struct http *http, uint64_t now_ms);

/* When http_run is due, from the last one on, even though nothing is readable; false: never. */
bool http_wait_ms(const struct http *http, uint64_t *ms);

/* Answers so far, by the first digit of their status. Borrowed until http_close. */
const uint64_t *http_answers(const struct http *http);

#endif
