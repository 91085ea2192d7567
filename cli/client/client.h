/* client.h - qctl's side of a coordinator: connect, ask, bring files, fetch files.
 *
 * One thread uses a client. Replies are borrowed until the next call on it.
 * Refuses to know: commands, terminals.
 */
#ifndef CLI_CLIENT_CLIENT_H
#define CLI_CLIENT_CLIENT_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/digest/digest.h"
#include "common/formats/source/file.h"
#include "common/message/message.h"

struct client;

struct client_options {
    const char *endpoint; /* control socket of the coordinator */
    const char *user;     /* who asks; shown as owner of jobs on a local socket */
    const char *keys;     /* TCP: own key file, and the coordinator's public key file; or NULL */
    const char *server;
    uint32_t wait_ms; /* how long a request may take in all */
};

/* Connects and is welcomed. ERR_UNREACHABLE, ERR_DENIED, ERR_VERSION with text. Release with
 * client_close. */
MUST_CHECK enum err client_open(const struct client_options *options, struct client **out,
                                struct err_text *et);
void client_close(struct client **client);

/* What the coordinator said of itself when it welcomed this client. Lives as long as the client. */
struct client_facts {
    char version[LIMIT_NAME_BYTES + 1];
    uint64_t incarnation;
    int64_t clock_ahead_ms; /* of its wall clock to ours, the way of the answer included */
};
const struct client_facts *client_facts(const struct client *client);

/* Asks: `request` is a structure of `type`; its ticket is filled in. On success *reply is the
 * message of `reply_type`, borrowed until the next call. A refusal of the coordinator comes back as
 * its error with its words. */
MUST_CHECK enum err client_request(struct client *client, const struct message_type *type,
                                   void *request, const struct message_type *reply_type,
                                   const union message_any **reply, struct err_text *et);

/* How long later requests may take. */
void client_set_wait(struct client *client, uint32_t wait_ms);

/* Hands `content`, whose root is `digest`, to the coordinator, durably. */
MUST_CHECK enum err client_upload(struct client *client, struct digest digest, struct span content,
                                  struct err_text *et);

/* Fetches an artifact chunk by chunk into `sink`; every chunk is checked against the leaves, and
 * these against `digest`, before the sink sees it. ERR_NOT_FOUND, ERR_DIGEST, ERR_UNREACHABLE. */
MUST_CHECK enum err client_download(struct client *client, struct digest digest, file_sink_f sink,
                                    void *context, struct err_text *et);

/* An artifact of which parts are read, each checked as above; a chunk of it is kept, so reading on
 * from where the last read ended asks for no chunk twice. Close it before the client. */
struct client_reader;
MUST_CHECK enum err client_reader_open(struct client *client, struct digest digest,
                                       struct client_reader **out, struct err_text *et);
void client_reader_close(struct client_reader **reader);
uint64_t client_reader_size(const struct client_reader *reader);

/* `size` bytes from `begin` on, all of which there are. */
MUST_CHECK enum err client_reader_read(struct client_reader *reader, uint64_t begin, void *out,
                                       size_t size, struct err_text *et);

#endif
