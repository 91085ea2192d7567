/* transport_keys.h - CURVE key pairs and the list of keys that may connect, as files.
 *
 * A key file holds two lines, "public HEX" and "secret HEX", and is readable by its owner only; a
 * public file holds the first line alone. A key list has one line a key:
 *
 *   # role  name    public key
 *   worker  node07  5be1...
 *
 * Roles: admin (everything), submit (jobs and what view may), worker (leases and artifacts), view
 * (looks only). Refuses to know: sockets.
 */
#ifndef COMMON_TRANSPORT_TRANSPORT_KEYS_H
#define COMMON_TRANSPORT_TRANSPORT_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

enum { TRANSPORT_KEY_BYTES = 32, TRANSPORT_USER_BYTES = 64, TRANSPORT_KEYS_MAX = 65536 };

enum transport_role {
    TRANSPORT_VIEW,
    TRANSPORT_SUBMIT,
    TRANSPORT_WORKER,
    TRANSPORT_ADMIN,
    TRANSPORT_ROLE_COUNT
};

struct transport_keys {
    uint8_t public_key[TRANSPORT_KEY_BYTES];
    uint8_t secret_key[TRANSPORT_KEY_BYTES];
};

struct transport_key_row {
    uint8_t public_key[TRANSPORT_KEY_BYTES];
    enum transport_role role;
    char user[TRANSPORT_USER_BYTES];
};

struct transport_key_list {
    struct transport_key_row *rows; /* owned; sorted by key */
    size_t count;
};

/* The word of a role ("worker"). Static. */
const char *transport_keys_role_word(enum transport_role role);

/* A fresh pair. ERR_UNSUPPORTED when the library was built without CURVE. */
MUST_CHECK enum err transport_keys_generate(struct transport_keys *out);

/* Writes `path` (0600, both keys) and `path`.pub (0644, the public one). ERR_EXISTS when either is
 * there: a key is never overwritten. */
MUST_CHECK enum err transport_keys_write(const struct transport_keys *keys, const char *path,
                                         struct err_text *et);

/* Reads a key file. ERR_DENIED when group or others may read it, ERR_FORMAT with file and line. */
MUST_CHECK enum err transport_keys_read(const char *path, struct transport_keys *out,
                                        struct err_text *et);

/* Reads the public key out of a public file or a key file. */
MUST_CHECK enum err transport_keys_read_public(const char *path, uint8_t out[TRANSPORT_KEY_BYTES],
                                               struct err_text *et);

/* Reads a key list. ERR_DENIED when others may write it, ERR_FORMAT with file, line and what was
 * expected, also for a key or a list that is empty or a key that is there twice. */
MUST_CHECK enum err transport_keys_read_list(const char *path, struct transport_key_list *out,
                                             struct err_text *et);
void transport_keys_fini_list(struct transport_key_list *list);

/* The row of a key, NULL when it is not on the list. Borrowed from the list. */
const struct transport_key_row *transport_keys_find(const struct transport_key_list *list,
                                                    const uint8_t key[TRANSPORT_KEY_BYTES]);

#endif
