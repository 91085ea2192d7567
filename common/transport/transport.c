/* transport.c - ROUTER and DEALER over CZMQ's context and libzmq's message calls. */
#include "common/transport/transport.h"

#include <czmq.h>
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    HEARTBEAT_IVL_MS = 2000,
    HEARTBEAT_TIMEOUT_MS = 6000,
    HANDSHAKE_IVL_MS = 5000,
    RECONNECT_IVL_MS = 100,
    RECONNECT_IVL_MAX_MS = 2000,
    BACKLOG = 256,
    QUEUE_FRAMES = 1024, /* what ZeroMQ keeps for one peer; loops count bytes on top */
    SOCKETS_MAX = 8192,
    ENDPOINT_BYTES = 4200,
};

struct transport {
    zsock_t *socket; /* owned */
    bool is_router;
    bool is_local;                    /* who can open the socket owns all that is behind it */
    struct transport_options options; /* its keys are borrowed */
    zmq_msg_t body;                   /* the frame last received */
    char endpoint[ENDPOINT_BYTES];
};

enum err transport_startup(void)
{
    if (sodium_init() < 0)
        return ERR_IO;
    zsys_handler_set(NULL); /* before zsys_init: signals belong to the program */
    zsys_set_max_sockets(SOCKETS_MAX);
    if (zsys_init() == NULL)
        return ERR_IO;
    zsys_handler_set(NULL);
    return ERR_OK;
}

void transport_shutdown(void)
{
    zsys_shutdown();
}

void transport_random(void *out, size_t size)
{
    randombytes_buf(out, size);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A local socket is as safe as its folder: ours, and closed to everybody else. */
static enum err check_socket_folder(const char *endpoint, struct err_text *et)
{
    const char *path = endpoint + strlen("ipc://");
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return error_set(et, ERR_LIMIT, "%s: a local socket's path has at most %zu bytes", path,
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return error_set(et, ERR_USAGE, "%s: expected ipc:///FOLDER/NAME", endpoint);
    char folder[sizeof((struct sockaddr_un *)0)->sun_path];
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    struct stat st;
    if (stat(folder, &st) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return error_set(et, ERR_DENIED,
                         "%s: a socket's folder must be its owner's alone (mode 0700), found %o",
                         folder, (unsigned)(st.st_mode & 07777));
    return ERR_OK;
}

static enum err check_endpoint(const char *endpoint, const struct transport_options *options,
                               bool listens, struct err_text *et)
{
    if (strlen(endpoint) >= ENDPOINT_BYTES)
        return error_set(et, ERR_LIMIT, "the endpoint is too long");
    if (starts_with(endpoint, "inproc://"))
        return ERR_OK;
    if (starts_with(endpoint, "ipc://"))
        return listens ? check_socket_folder(endpoint, et) : ERR_OK;
    if (!starts_with(endpoint, "tcp://"))
        return error_set(et, ERR_USAGE,
                         "%s: expected ipc:///PATH or tcp://HOST:PORT as an endpoint", endpoint);
    if (options->own == NULL)
        return error_set(et, ERR_DENIED, "%s: TCP needs a key pair", endpoint);
    if (listens && options->zap == NULL)
        return error_set(et, ERR_DENIED, "%s: TCP needs a list of known keys", endpoint);
    if (!listens && options->server_public == NULL)
        return error_set(et, ERR_DENIED, "%s: TCP needs the coordinator's public key", endpoint);
    return ERR_OK;
}

static bool option(struct transport *t, int name, const void *value, size_t size)
{
    return zmq_setsockopt(zsock_resolve(t->socket), name, value, size) == 0;
}

static bool option_int(struct transport *t, int name, int value)
{
    return option(t, name, &value, sizeof value);
}

/* IPv6 where the endpoint has an address of it: with both allowed, a name is looked up as either,
 * and the first answer need not be the one that is listened at. */
static bool set_common(struct transport *t, const char *endpoint,
                       const struct transport_options *options)
{
    int64_t frame_max = (int64_t)options->frame_bytes_max;
    return option_int(t, ZMQ_IPV6, starts_with(endpoint, "tcp://[")) &&
           option(t, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) &&
           option_int(t, ZMQ_LINGER, (int)options->linger_ms) &&
           option_int(t, ZMQ_HEARTBEAT_IVL, HEARTBEAT_IVL_MS) &&
           option_int(t, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS) &&
           option_int(t, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS) &&
           option_int(t, ZMQ_HANDSHAKE_IVL, HANDSHAKE_IVL_MS) &&
           option_int(t, ZMQ_SNDHWM, QUEUE_FRAMES) && option_int(t, ZMQ_RCVHWM, QUEUE_FRAMES);
}

static bool set_router(struct transport *t)
{
    return option_int(t, ZMQ_ROUTER_MANDATORY, 1) && option_int(t, ZMQ_ROUTER_HANDOVER, 0) &&
           option_int(t, ZMQ_BACKLOG, BACKLOG);
}

static bool set_dealer(struct transport *t)
{
    uint8_t id[TRANSPORT_ID_BYTES];
    transport_random(id, sizeof id);
    id[0] |= 1; /* ids that begin with a zero byte belong to ZeroMQ */
    return option(t, ZMQ_ROUTING_ID, id, sizeof id) && option_int(t, ZMQ_IMMEDIATE, 1) &&
           option_int(t, ZMQ_RECONNECT_IVL, RECONNECT_IVL_MS) &&
           option_int(t, ZMQ_RECONNECT_IVL_MAX, RECONNECT_IVL_MAX_MS);
}

static bool set_curve(struct transport *t, const struct transport_options *options)
{
    static const char domain[] = "qfleet";
    if (!option(t, ZMQ_CURVE_PUBLICKEY, options->own->public_key, TRANSPORT_KEY_BYTES) ||
        !option(t, ZMQ_CURVE_SECRETKEY, options->own->secret_key, TRANSPORT_KEY_BYTES))
        return false;
    if (!t->is_router)
        return option(t, ZMQ_CURVE_SERVERKEY, options->server_public, TRANSPORT_KEY_BYTES);
    return option_int(t, ZMQ_CURVE_SERVER, 1) &&
           option(t, ZMQ_ZAP_DOMAIN, domain, sizeof domain - 1);
}

static enum err attach(struct transport *t, const char *endpoint, struct err_text *et)
{
    void *handle = zsock_resolve(t->socket);
    int rc = t->is_router ? zmq_bind(handle, endpoint) : zmq_connect(handle, endpoint);
    if (rc != 0) {
        int code = zmq_errno();
        enum err err = code == EADDRINUSE ? ERR_EXISTS
                       : code == EINVAL   ? ERR_USAGE
                       : code == EACCES   ? ERR_DENIED
                       : code == ENOTSUP  ? ERR_UNSUPPORTED
                                          : ERR_IO;
        return error_set(et, err, "%s: %s", endpoint, zmq_strerror(code));
    }
    size_t size = sizeof t->endpoint;
    if (zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, t->endpoint, &size) != 0)
        return error_set(et, ERR_IO, "%s: %s", endpoint, zmq_strerror(zmq_errno()));
    return ERR_OK;
}

static enum err open_socket(const char *endpoint, const struct transport_options *options,
                            bool is_router, struct transport **out, struct err_text *et)
{
    TRY(check_endpoint(endpoint, options, is_router, et));
    struct transport *t = mem_alloc(1, sizeof *t);
    if (t == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    t->is_router = is_router;
    t->is_local = !starts_with(endpoint, "tcp://");
    t->options = *options;
    zmq_msg_init(&t->body);
    t->socket = zsock_new(is_router ? ZMQ_ROUTER : ZMQ_DEALER);
    bool set = t->socket != NULL && set_common(t, endpoint, options) &&
               (is_router ? set_router(t) : set_dealer(t)) &&
               (t->is_local || set_curve(t, options));
    if (!set) {
        err = error_set(et, ERR_IO, "%s: no socket: %s", endpoint, zmq_strerror(zmq_errno()));
        goto out;
    }
    TRY_OUT(attach(t, endpoint, et));
    *out = t;
    t = NULL;
out:
    transport_close(&t);
    return err;
}

enum err transport_listen(const char *endpoint, const struct transport_options *options,
                          struct transport **out, struct err_text *et)
{
    return open_socket(endpoint, options, true, out, et);
}

enum err transport_connect(const char *endpoint, const struct transport_options *options,
                           struct transport **out, struct err_text *et)
{
    return open_socket(endpoint, options, false, out, et);
}

enum err transport_renew(struct transport **t, struct err_text *et)
{
    struct transport *fresh;
    ASSERT(!(*t)->is_router);
    TRY(transport_connect((*t)->endpoint, &(*t)->options, &fresh, et));
    transport_close(t);
    *t = fresh;
    return ERR_OK;
}

void transport_close(struct transport **t)
{
    if (*t == NULL)
        return;
    zmq_msg_close(&(*t)->body);
    zsock_destroy(&(*t)->socket);
    mem_free(*t);
    *t = NULL;
}

const char *transport_endpoint(const struct transport *t)
{
    return t->endpoint;
}

int transport_fd(const struct transport *t)
{
    return (int)zsock_fd(t->socket);
}

bool transport_pending(const struct transport *t)
{
    return (zsock_events(t->socket) & ZMQ_POLLIN) != 0;
}

/* Reads the parts that are left of a message nobody wants. */
static void drop_rest(void *handle)
{
    for (;;) {
        int more = 0;
        size_t size = sizeof more;
        if (zmq_getsockopt(handle, ZMQ_RCVMORE, &more, &size) != 0 || more == 0)
            return;
        zmq_msg_t part;
        zmq_msg_init(&part);
        int rc = zmq_msg_recv(&part, handle, ZMQ_DONTWAIT);
        zmq_msg_close(&part);
        if (rc < 0)
            return;
    }
}

/* Who sent the frame: the folder's owner on a local socket, the ZAP handler's "ROLE NAME" on TCP,
 * where nobody is more than a viewer without its word. */
static void read_peer(struct transport *t, struct transport_frame *frame)
{
    frame->role = t->is_local ? TRANSPORT_ADMIN : TRANSPORT_VIEW;
    snprintf(frame->user, sizeof frame->user, t->is_local ? "local" : "unknown");
    const char *user = t->is_local ? NULL : zmq_msg_gets(&t->body, "User-Id");
    if (user == NULL || user[0] == '\0')
        return;
    const char *space = strchr(user, ' ');
    snprintf(frame->user, sizeof frame->user, "%s", space != NULL ? space + 1 : user);
    for (int role = 0; space != NULL && role < TRANSPORT_ROLE_COUNT; role++) {
        const char *word = transport_keys_role_word((enum transport_role)role);
        if (strlen(word) == (size_t)(space - user) && starts_with(user, word))
            frame->role = (enum transport_role)role;
    }
}

static enum err receive_error(void)
{
    int code = zmq_errno();
    if (code == EAGAIN || code == EINTR)
        return ERR_TIMEOUT;
    return ERR_IO;
}

static enum err wait_readable(struct transport *t, int wait_ms)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(t->socket), .events = ZMQ_POLLIN};
    int rc = zmq_poll(&item, 1, wait_ms);
    if (rc < 0)
        return receive_error();
    return rc == 0 ? ERR_TIMEOUT : ERR_OK;
}

/* The routing id in front of a ROUTER's frame. */
static enum err receive_id(void *handle, struct transport_id *id)
{
    enum err err = ERR_OK;
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, handle, ZMQ_DONTWAIT) < 0)
        err = receive_error();
    else if (zmq_msg_size(&part) != TRANSPORT_ID_BYTES || zmq_msg_more(&part) == 0)
        err = ERR_PROTOCOL;
    else
        memcpy(id->v, zmq_msg_data(&part), TRANSPORT_ID_BYTES);
    zmq_msg_close(&part);
    if (err == ERR_PROTOCOL)
        drop_rest(handle);
    return err;
}

enum err transport_receive(struct transport *t, int wait_ms, struct transport_frame *frame)
{
    if (wait_ms != 0)
        TRY(wait_readable(t, wait_ms));
    void *handle = zsock_resolve(t->socket);
    struct transport_id id = {{0}};
    if (t->is_router)
        TRY(receive_id(handle, &id));
    if (zmq_msg_recv(&t->body, handle, ZMQ_DONTWAIT) < 0)
        return receive_error();
    if (zmq_msg_more(&t->body) != 0) {
        drop_rest(handle);
        return ERR_PROTOCOL;
    }
    *frame = (struct transport_frame){
        .body = {zmq_msg_data(&t->body), zmq_msg_size(&t->body)},
        .id = id,
    };
    if (t->is_router)
        read_peer(t, frame);
    return ERR_OK;
}

static enum err send_error(void)
{
    switch (zmq_errno()) {
    case EAGAIN:
        return ERR_BUSY;
    case EHOSTUNREACH:
        return ERR_UNREACHABLE;
    case EINTR:
        return ERR_BUSY;
    default:
        return ERR_IO;
    }
}

enum err transport_send(struct transport *t, const struct transport_id *to, struct span body)
{
    ASSERT((to != NULL) == t->is_router);
    if (body.size > t->options.frame_bytes_max)
        return ERR_LIMIT;
    void *handle = zsock_resolve(t->socket);
    if (to != NULL && zmq_send(handle, to->v, TRANSPORT_ID_BYTES, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_error();
    if (zmq_send(handle, body.data, body.size, ZMQ_DONTWAIT) < 0)
        return send_error();
    return ERR_OK;
}
