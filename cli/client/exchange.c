/* exchange.c - send, wait, repeat. */
#include "cli/client/exchange.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/version.h"
#include "common/wire/wire.h"

enum {
    LOOK_MS = 100,
    REPEAT_MS = 3000,
    REPEAT_MS_MAX = 24000, /* twice as long from the third on: a slow line is not filled with it */
    RETRY_SEND_MS = 10,
    STRANGER_ROUNDS_MAX = 5,
};

void exchange_init(struct exchange *exchange, struct transport *socket, uint32_t wait_ms)
{
    *exchange = (struct exchange){.socket = socket, .wait_ms = wait_ms, .repeat_ms = REPEAT_MS};
    arena_init(&exchange->arena, WIRE_ARENA_BYTES);
    bytes_init(&exchange->frame, LIMIT_FRAME_BYTES);
    bytes_init(&exchange->greeting, LIMIT_FRAME_BYTES);
}

void exchange_fini(struct exchange *exchange)
{
    transport_close(&exchange->socket);
    arena_fini(&exchange->arena);
    bytes_fini(&exchange->frame);
    bytes_fini(&exchange->greeting);
}

uint64_t exchange_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t exchange_unix_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void exchange_pause(uint32_t ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Who follows a job has signals blocked and meets them between requests. One that came ends a
 * request to which nobody answers at once. */
static bool is_interrupted(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t pending;
    bool is_there = false;
    if (sigpending(&pending) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        is_there = is_there || sigismember(&pending, numbers[i]) == 1;
    return is_there;
}

/* Queues a frame; a socket that is just (re)connecting is waited for. */
static enum err send_frame(struct exchange *exchange, struct span frame, uint64_t deadline_ms)
{
    for (;;) {
        enum err err = transport_send(exchange->socket, NULL, frame);
        if (err != ERR_BUSY && err != ERR_UNREACHABLE)
            return err;
        if (exchange_now_ms() >= deadline_ms || is_interrupted())
            return ERR_UNREACHABLE;
        exchange_pause(RETRY_SEND_MS);
    }
}

/* The next well-formed message, whatever it is. ERR_TIMEOUT at the deadline, or when a signal
 * came and no message for a moment. */
static enum err receive(struct exchange *exchange, uint64_t deadline_ms,
                        const struct message_type **type)
{
    for (;;) {
        uint64_t now = exchange_now_ms();
        int wait = now < deadline_ms ? (int)MIN(deadline_ms - now, (uint64_t)LOOK_MS) : 0;
        struct transport_frame frame;
        enum err err = transport_receive(exchange->socket, wait, &frame);
        bool goes_on = err == ERR_TIMEOUT && now < deadline_ms && !is_interrupted();
        if (err == ERR_PROTOCOL || goes_on)
            continue;
        TRY(err);
        exchange->heard++;
        arena_reset(&exchange->arena);
        return wire_decode(frame.body, &exchange->arena, type, &exchange->reply);
    }
}

static uint64_t ticket_of(const union message_any *message)
{
    uint64_t ticket;
    memcpy(&ticket, message, sizeof ticket);
    return ticket;
}

static bool has_ticket(const struct message_type *type)
{
    return type->field_count > 0 && strcmp(type->fields[0].name, "ticket") == 0;
}

enum err exchange_fail_version(struct text said, struct err_text *et)
{
    if (said.size == 0)
        said = TEXT("is newer: use the programs of one version");
    return error_set(et, ERR_VERSION, "this is qfleet %s, protocol %u; the coordinator: %.*s",
                     version_text(), MESSAGE_PROTOCOL, TEXT_ARGS(said));
}

/* A coordinator of another version cannot read whose request it refuses: its words have no ticket.
 */
static enum err refusal(const struct exchange *exchange, const struct message_type *type,
                        const struct message_type *reply_type, struct err_text *et)
{
    const struct msg_welcome *welcome = &exchange->reply.welcome;
    if (type != &message_type_msg_welcome || type == reply_type || welcome->error != ERR_VERSION)
        return ERR_OK;
    return exchange_fail_version(welcome->detail, et);
}

/* Waits for the awaited message until `deadline_ms`. */
static enum err await(struct exchange *exchange, const struct message_type *reply_type,
                      uint64_t deadline_ms, struct err_text *et)
{
    for (;;) {
        const struct message_type *type = NULL;
        enum err err = receive(exchange, deadline_ms, &type);
        if (err == ERR_VERSION)
            return exchange_fail_version((struct text){"", 0}, et);
        TRY(err);
        TRY(refusal(exchange, type, reply_type, et));
        bool ours = !has_ticket(reply_type) ||
                    (has_ticket(type) && ticket_of(&exchange->reply) == exchange->ticket);
        if (!ours)
            continue;
        if (type == &message_type_msg_status && exchange->reply.status.error != 0)
            return error_set(et, (enum err)exchange->reply.status.error, "%.*s",
                             TEXT_ARGS(exchange->reply.status.detail));
        if (type == reply_type)
            return ERR_OK;
        if (has_ticket(reply_type))
            return error_set(et, ERR_PROTOCOL, "expected a reply of kind %s, found %s",
                             reply_type->name, type->name);
    }
}

static enum err fail_unreachable(const struct exchange *exchange, struct err_text *et)
{
    const char *endpoint = transport_endpoint(exchange->socket);
    bool has_keys = strncmp(endpoint, "tcp://", 6) == 0;
    if (is_interrupted())
        return error_set(et, ERR_UNREACHABLE, "%s: interrupted before there was an answer",
                         endpoint);
    return error_set(et, ERR_UNREACHABLE, "%s: no answer for %g seconds; is the coordinator up%s?",
                     endpoint, (double)exchange->wait_ms / 1000,
                     has_keys ? ", and does it know this key" : "");
}

enum err exchange_greet(struct exchange *exchange, const struct message_type *reply_type,
                        struct err_text *et)
{
    uint64_t deadline_ms = exchange_now_ms() + exchange->wait_ms;
    do {
        enum err err = send_frame(exchange, bytes_span(&exchange->greeting), deadline_ms);
        if (err == ERR_OK)
            err = await(exchange, reply_type,
                        MIN(deadline_ms, exchange_now_ms() + exchange->repeat_ms), et);
        if (err != ERR_TIMEOUT && err != ERR_UNREACHABLE)
            return err;
    } while (exchange_now_ms() < deadline_ms && !is_interrupted());
    return fail_unreachable(exchange, et);
}

/* A coordinator that has just started again knows nobody and says so; the greeting cures that. */
static bool is_stranger(const struct exchange *exchange, enum err err)
{
    return err == ERR_PROTOCOL && exchange->greeting.size > 0;
}

enum err exchange_request(struct exchange *exchange, const struct message_type *type, void *request,
                          const struct message_type *reply_type, struct err_text *et)
{
    ASSERT(has_ticket(type));
    exchange->ticket++;
    memcpy(request, &exchange->ticket, sizeof exchange->ticket);
    bytes_clear(&exchange->frame);
    enum err err = wire_encode(type, request, &exchange->frame);
    if (err == ERR_LIMIT)
        return error_set(
            et, ERR_USAGE,
            "the request holds more than it may: names have at most %d bytes, other texts %d",
            LIMIT_NAME_BYTES, LIMIT_TEXT_BYTES);
    if (err != ERR_OK)
        return error_set(et, err, "request %s: %s", type->name, error_text(err));
    uint64_t deadline_ms = exchange_now_ms() + exchange->wait_ms;
    uint64_t repeat_ms = exchange->repeat_ms;
    unsigned round = 0;
    do {
        bool greets = round > 0 && exchange->greeting.size > 0;
        uint64_t heard = exchange->heard;
        err = ERR_OK;
        if (greets)
            err = send_frame(exchange, bytes_span(&exchange->greeting), deadline_ms);
        if (err == ERR_OK)
            err = send_frame(exchange, bytes_span(&exchange->frame), deadline_ms);
        if (err == ERR_OK)
            err = await(exchange, reply_type, MIN(deadline_ms, exchange_now_ms() + repeat_ms), et);
        bool is_new = is_stranger(exchange, err) && round < STRANGER_ROUNDS_MAX;
        if (err != ERR_TIMEOUT && err != ERR_UNREACHABLE && !is_new)
            return err;
        if (is_new)
            exchange_pause(RETRY_SEND_MS);
        else if (round > 0)
            repeat_ms = MIN(repeat_ms * 2, (uint64_t)REPEAT_MS_MAX);
        if (greets && err == ERR_TIMEOUT && exchange->heard == heard)
            TRY(transport_renew(&exchange->socket, et));
        round++;
    } while (exchange_now_ms() < deadline_ms && !is_interrupted());
    return fail_unreachable(exchange, et);
}
