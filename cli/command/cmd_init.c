/* cmd_init.c - `qctl init`: keys, key list, what the services start with and what clients read, in
 * one folder, all of it or nothing. Prints what to do next. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client/client_config.h"
#include "cli/command/cmd.h"
#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/bytes.h"
#include "common/transport/transport_keys.h"

enum {
    ARENA_BYTES = 1 << 16,
    TEXT_BYTES = 1 << 14,
    HOST_BYTES = 256,
    PORT_DEFAULT = 7070,
    PATH_BYTES = PATH_MAX,
};

/* Who runs the services where the packages are installed. */
static const char service_user[] = "qfleet";

/* Key pairs in the order of the list's lines; the coordinator's own is on none. */
static const struct pair {
    const char *file, *role, *name;
    bool is_service; /* read by a service, so it belongs to its user */
} pairs[] = {
    {"coordinator.key", NULL, NULL, true},     {"admin.key", "admin", "admin", false},
    {"submit.key", "submit", "submit", false}, {"worker.key", "worker", "workers", true},
    {"view.key", "view", "view", false},
};

static const char *const texts[] = {"keys.list", "providers.yml", "coordinator.env", "worker.env",
                                    "client.yml"};

struct setup {
    char folder[PATH_BYTES / 2]; /* absolute */
    char host[HOST_BYTES];       /* where others reach this machine */
    char listen[HOST_BYTES];     /* the address that the sockets are bound to */
    unsigned port;               /* of the control socket; the bulk socket has the next one */
    bool is_system;              /* the folder that services look into */
    bool made_folder;
    size_t made_pairs, made_texts; /* files that are there by this call */
};

static void path_of(const struct setup *s, const char *name, char out[PATH_BYTES])
{
    (void)snprintf(out, PATH_BYTES, "%s/%s", s->folder, name);
}

static enum err refuse(const char *path, struct err_text *et)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT
                   ? ERR_OK
                   : error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    return error_set(et, ERR_EXISTS,
                     "%s: exists, and keys are never overwritten; give another folder, or make one "
                     "more key with qctl keys create",
                     path);
}

/* Every file there will be. */
static enum err refuse_each(const struct setup *s, struct err_text *et)
{
    char path[PATH_BYTES];
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        path_of(s, texts[i], path);
        TRY(refuse(path, et));
    }
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        path_of(s, pairs[i].file, path);
        TRY(refuse(path, et));
        (void)snprintf(path + strlen(path), 8, ".pub");
        TRY(refuse(path, et));
    }
    return ERR_OK;
}

/* Only what is there by this call: another may have been at it in the same folder. */
static void take_back(const struct setup *s)
{
    char path[PATH_BYTES];
    for (size_t i = 0; i < s->made_texts; i++) {
        path_of(s, texts[i], path);
        (void)unlink(path);
    }
    for (size_t i = 0; i < s->made_pairs; i++) {
        path_of(s, pairs[i].file, path);
        (void)unlink(path);
        (void)snprintf(path + strlen(path), 8, ".pub");
        (void)unlink(path);
    }
    if (s->made_folder)
        (void)rmdir(s->folder);
}

/* The next of `texts`. */
static enum err write_text(struct setup *s, struct bytes *content, struct err_text *et)
{
    char path[PATH_BYTES];
    path_of(s, texts[s->made_texts], path);
    TRY(bytes_status(content));
    TRY(file_write_atomic(path, bytes_span(content), et));
    s->made_texts++;
    bytes_clear(content);
    if (chmod(path, 0644) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    return ERR_OK;
}

/* The services read these as their user. */
static enum err give_away(const char *path, struct err_text *et)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam(service_user) : NULL;
    if (user != NULL && chown(path, user->pw_uid, user->pw_gid) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err write_pairs(struct setup *s, struct bytes *text, struct err_text *et)
{
    char path[PATH_BYTES];
    bytes_print(text, "# Who may connect: role, name, public key. After a change: systemctl reload "
                      "qfleet-coordinator\n");
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct transport_keys keys;
        path_of(s, pairs[i].file, path);
        TRY(transport_keys_generate(&keys));
        TRY(transport_keys_write(&keys, path, et));
        s->made_pairs++;
        if (pairs[i].is_service && s->is_system)
            TRY(give_away(path, et));
        if (pairs[i].role == NULL)
            continue;
        bytes_print(text, "%-7s %-8s ", pairs[i].role, pairs[i].name);
        for (size_t b = 0; b < TRANSPORT_KEY_BYTES; b++)
            bytes_print(text, "%02x", keys.public_key[b]);
        bytes_print(text, "\n");
    }
    return write_text(s, text, et);
}

/* Nothing is started that nobody asked for: the target is 0 until `qctl workers scale`. */
static enum err write_providers(struct setup *s, struct bytes *text, struct err_text *et)
{
    bytes_print(
        text,
        "# Where the coordinator gets workers from when it is asked to (qctl workers scale); "
        "keys: man\n"
        "# qfleet-providers. After a change: systemctl reload qfleet-coordinator\n"
        "providers:\n"
        "  - name: local\n"
        "    kind: local\n"
        "    target: 0\n"
        "    coordinator: tcp://%s:%u\n"
        "    secret: %s/worker.key\n"
        "    server_key: %s/coordinator.key.pub\n",
        s->host, s->port, s->folder, s->folder);
    return write_text(s, text, et);
}

static enum err write_options(struct setup *s, struct bytes *text, struct err_text *et)
{
    bytes_print(text,
                "# What qfleet-coordinator.service starts with.\n"
                "QFLEET_OPTIONS=\"--control tcp://%s:%u --bulk tcp://%s:%u --advertise tcp://%s:%u "
                "--keys %s/keys.list --secret %s/coordinator.key --providers %s/providers.yml\"\n",
                s->listen, s->port, s->listen, s->port + 1, s->host, s->port + 1, s->folder,
                s->folder, s->folder);
    TRY(write_text(s, text, et));
    bytes_print(text,
                "# What qfleet-worker.service starts with.\n"
                "QFLEET_OPTIONS=\"--coordinator tcp://%s:%u --secret %s/worker.key --server-key "
                "%s/coordinator.key.pub\"\n",
                s->host, s->port, s->folder, s->folder);
    TRY(write_text(s, text, et));
    bytes_print(text,
                "# Which coordinator qctl speaks to. Files are looked for beside this one.\n"
                "coordinator: tcp://%s:%u\nsecret: admin.key\nserver_key: coordinator.key.pub\n",
                s->host, s->port);
    return write_text(s, text, et);
}

static enum err write_all(struct setup *s, struct err_text *et)
{
    struct bytes text;
    bytes_init(&text, TEXT_BYTES);
    enum err err;
    TRY_OUT(write_pairs(s, &text, et));
    TRY_OUT(write_providers(s, &text, et));
    TRY_OUT(write_options(s, &text, et));
out:
    bytes_fini(&text);
    if (err != ERR_OK)
        take_back(s);
    return err;
}

/* A folder named by options of a service is one word of their line. */
static enum err settle_folder(const struct invocation *invocation, struct setup *s,
                              struct err_text *et)
{
    char full[PATH_BYTES];
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    const char *name = invocation->argument_count > 0 ? invocation->arguments[0] : NULL;
    if (name == NULL && geteuid() == 0)
        name = CLIENT_CONFIG_SYSTEM;
    if (name == NULL)
        name = client_config_folder(&invocation->environment->config, &arena);
    enum err err = ERR_OK;
    if (name == NULL)
        TRY_OUT(error_set(et, ERR_USAGE, "expected qctl init DIR: there is no home folder"));
    s->made_folder = !folder_exists(name);
    TRY_OUT(folder_create(name, et));
    if (s->made_folder && strcmp(name, CLIENT_CONFIG_SYSTEM) != 0)
        (void)chmod(name, 0700);
    if (realpath(name, full) == NULL)
        TRY_OUT(error_set(et, error_from_errno(errno), "%s: %s", name, strerror(errno)));
    if (strlen(full) >= sizeof s->folder || strpbrk(full, " \"'\\$`") != NULL ||
        !utf8_is_line(text_of(full)))
        TRY_OUT(error_set(et, ERR_USAGE,
                          "%s: expected a folder without blanks, quotes and dollars, in UTF-8, of "
                          "at most %zu bytes",
                          full, sizeof s->folder - 1));
    memcpy(s->folder, full, strlen(full) + 1);
    s->is_system = strcmp(full, CLIENT_CONFIG_SYSTEM) == 0;
out:
    if (err != ERR_OK && s->made_folder)
        (void)rmdir(name);
    arena_fini(&arena);
    return err;
}

/* What stands before the port in an endpoint: a name, an IPv4 address, or an IPv6 address, which
 * gets its brackets. */
static enum err settle_host(const char *option, const char *given, char out[HOST_BYTES],
                            struct err_text *et)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    char inner[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t size = strlen(given);
    size_t bracket = size > 2 && given[0] == '[' && given[size - 1] == ']';
    if (size < sizeof inner) {
        memcpy(inner, given + bracket, size - 2 * bracket);
        inner[size - 2 * bracket] = '\0';
        if (inet_pton(AF_INET6, inner, &address) == 1) {
            (void)snprintf(out, HOST_BYTES, "[%s]", inner);
            return ERR_OK;
        }
    }
    if (size == 0 || size >= HOST_BYTES || given[0] == '-' || given[strspn(given, allowed)] != '\0')
        return error_set(et, ERR_USAGE,
                         "--%s: expected a name or an address without a port, found \"%s\"", option,
                         given);
    memcpy(out, given, size + 1);
    return ERR_OK;
}

static enum err settle_place(const struct invocation *invocation, struct setup *s,
                             struct err_text *et)
{
    char own[HOST_BYTES];
    const char *host = command_text(invocation, "host");
    const char *listen = command_text(invocation, "listen");
    uint64_t port = PORT_DEFAULT;
    TRY(command_u64(invocation, "port", 1, 65534, &port, et));
    s->port = (unsigned)port;
    if (host == NULL)
        host = gethostname(own, sizeof own) == 0 ? own : "localhost";
    TRY(settle_host("host", host, s->host, et));
    if (listen == NULL)
        listen = s->host[0] == '[' ? "::" : "0.0.0.0";
    TRY(settle_host("listen", listen, s->listen, et));
    return settle_folder(invocation, s, et);
}

static void print_next(const struct setup *s, FILE *out)
{
    const char *at = s->folder;
    (void)fprintf(
        out, "%s: keys, key list, providers, options of the services, client.yml\n\nnext\n", at);
    if (s->is_system) {
        (void)fprintf(out,
                      "  systemctl enable --now qfleet-coordinator\n"
                      "  on each machine that shall compute (the package qfleet-worker):\n"
                      "    scp %s:%s/{worker.env,worker.key,coordinator.key.pub} /etc/qfleet/\n"
                      "    chown qfleet: /etc/qfleet/worker.key\n"
                      "    systemctl enable --now qfleet-worker\n",
                      s->host, at);
    } else {
        (void)fprintf(out,
                      "  . %s/coordinator.env; qfleet-coordinator --data DIR $QFLEET_OPTIONS\n"
                      "  on each machine that shall compute, with worker.key and "
                      "coordinator.key.pub at hand:\n"
                      "    qfleet-worker --coordinator tcp://%s:%u --secret worker.key "
                      "--server-key coordinator.key.pub\n",
                      at, s->host, s->port);
    }
    (void)fprintf(out, "  whoever shall use it: client.yml, a key of a role and "
                       "coordinator.key.pub in ~/.config/qfleet\n"
                       "  qctl doctor; qctl workers\n");
}

static enum err print_json(struct invocation *invocation, const struct setup *s)
{
    char endpoint[HOST_BYTES + 32];
    struct json_write w;
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%s:%u", s->host, s->port);
    json_write_init(&w, JSON_WRITE_PRETTY, TEXT_BYTES);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "coordinator", text_of(endpoint));
    json_write_text(&w, "folder", text_of(s->folder));
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

enum err cmd_init(struct invocation *invocation, struct err_text *et)
{
    struct setup s = {0};
    TRY(settle_place(invocation, &s, et));
    TRY(refuse_each(&s, et));
    TRY(write_all(&s, et));
    if (invocation->json)
        return print_json(invocation, &s);
    print_next(&s, invocation->out);
    return ERR_OK;
}
