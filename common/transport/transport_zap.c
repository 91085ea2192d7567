/* transport_zap.c - the ZAP handler: a CZMQ actor that owns the key list.
 *
 * Request frames (RFC 27): version "1.0", request id, domain, address, identity, mechanism,
 * credentials (CURVE: 32 bytes of public key). Reply: version, request id, status code, status
 * text, user id, metadata. The user id is "ROLE NAME", which transport.c takes apart again.
 */
#include "common/transport/transport_zap.h"

#include <czmq.h>

#include "common/mem/mem.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"

struct transport_zap {
    zactor_t *actor; /* owned */
};

/* What the actor's thread owns. */
struct zap_state {
    struct transport_key_list list; /* owned */
    zsock_t *handler;               /* owned; bound to ZAP_ENDPOINT */
};

static const struct transport_key_row *judge(const struct zap_state *state, zmsg_t *request)
{
    static const char *const EXPECTED[] = {"1.0", NULL, "qfleet", NULL, NULL, "CURVE"};
    zframe_t *frame = zmsg_first(request);
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        if (frame == NULL || (EXPECTED[i] != NULL && !zframe_streq(frame, EXPECTED[i])))
            return NULL;
        frame = zmsg_next(request);
    }
    if (frame == NULL || zframe_size(frame) != TRANSPORT_KEY_BYTES || zmsg_next(request) != NULL)
        return NULL;
    return transport_keys_find(&state->list, zframe_data(frame));
}

static void answer(struct zap_state *state)
{
    zmsg_t *request = zmsg_recv(state->handler);
    if (request == NULL)
        return;
    const struct transport_key_row *row = judge(state, request);
    char user[TRANSPORT_USER_BYTES + 16] = "";
    if (row != NULL)
        snprintf(user, sizeof user, "%s %s", transport_keys_role_word(row->role), row->user);
    zmsg_first(request);
    zframe_t *id = zmsg_next(request);
    zmsg_t *reply = zmsg_new();
    zmsg_addstr(reply, "1.0");
    zmsg_addmem(reply, id != NULL ? zframe_data(id) : NULL, id != NULL ? zframe_size(id) : 0);
    zmsg_addstr(reply, row != NULL ? "200" : "400");
    zmsg_addstr(reply, row != NULL ? "OK" : "this key is not on the list");
    zmsg_addstr(reply, user);
    zmsg_addmem(reply, "", 0);
    zmsg_send(&reply, state->handler);
    zmsg_destroy(&reply);
    zmsg_destroy(&request);
}

/* False when the actor shall end. A command is "$TERM" or "LIST" with a list the actor takes. */
static bool obey(struct zap_state *state, zsock_t *pipe)
{
    char *command = NULL;
    struct transport_key_list *list = NULL;
    if (zsock_recv(pipe, "sp", &command, &list) != 0 || streq(command, "$TERM")) {
        zstr_free(&command);
        return false;
    }
    if (list != NULL) {
        transport_keys_fini_list(&state->list);
        state->list = *list;
        mem_free(list);
        zsock_signal(pipe, 0);
    }
    zstr_free(&command);
    return true;
}

static void run_handler(zsock_t *pipe, void *argument)
{
    struct transport_key_list *list = argument;
    struct zap_state state = {.list = *list, .handler = zsock_new(ZMQ_REP)};
    mem_free(list);
    bool bound = state.handler != NULL && zsock_attach(state.handler, "@" ZAP_ENDPOINT, true) == 0;
    zsock_signal(pipe, 0);
    zsock_signal(pipe, bound ? 0 : 1);
    for (bool running = bound; running;) {
        zmq_pollitem_t items[] = {
            {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN},
            {.socket = zsock_resolve(state.handler), .events = ZMQ_POLLIN},
        };
        if (zmq_poll(items, 2, -1) < 0)
            running = zmq_errno() == EINTR; /* a signal must not end the handler */
        else if ((items[0].revents & ZMQ_POLLIN) != 0)
            running = obey(&state, pipe);
        else
            answer(&state);
    }
    zsock_destroy(&state.handler);
    transport_keys_fini_list(&state.list);
}

/* A heap copy of `list` for the actor's thread; `list` is emptied on success. */
static struct transport_key_list *move_list(struct transport_key_list *list)
{
    struct transport_key_list *moved = mem_alloc(1, sizeof *moved);
    if (moved != NULL) {
        *moved = *list;
        *list = (struct transport_key_list){NULL, 0};
    }
    return moved;
}

enum err transport_zap_start(struct transport_key_list *list, struct transport_zap **out)
{
    struct transport_zap *zap = mem_alloc(1, sizeof *zap);
    struct transport_key_list *moved = zap != NULL ? move_list(list) : NULL;
    if (moved == NULL) {
        mem_free(zap);
        return ERR_OUT_OF_MEMORY;
    }
    zap->actor = zactor_new(run_handler, moved);
    if (zap->actor == NULL || zsock_wait(zap->actor) != 0) {
        transport_zap_stop(&zap);
        return ERR_EXISTS;
    }
    *out = zap;
    return ERR_OK;
}

enum err transport_zap_replace(struct transport_zap *zap, struct transport_key_list *list)
{
    struct transport_key_list *moved = move_list(list);
    if (moved == NULL)
        return ERR_OUT_OF_MEMORY;
    if (zsock_send(zap->actor, "sp", "LIST", moved) != 0 || zsock_wait(zap->actor) != 0)
        return ERR_IO;
    return ERR_OK;
}

void transport_zap_stop(struct transport_zap **zap)
{
    if (*zap == NULL)
        return;
    zactor_destroy(&(*zap)->actor);
    mem_free(*zap);
    *zap = NULL;
}
