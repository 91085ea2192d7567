/* client_config.h - the file that says which coordinator a user means, and with which keys.
 *
 *   coordinator: tcp://head:7070
 *   secret: admin.key                  # relative to this file
 *   server_key: coordinator.key.pub
 *
 * The first of these counts: $QFLEET_CONFIG (empty: no file), client.yml in $XDG_CONFIG_HOME/qfleet
 * or ~/.config/qfleet, /etc/qfleet/client.yml. Refuses to know: options, sockets.
 */
#ifndef CLI_CLIENT_CLIENT_CONFIG_H
#define CLI_CLIENT_CLIENT_CONFIG_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "schemas/client.def"

#define CLIENT_CONFIG_SYSTEM "/etc/qfleet"

/* NULL: the key, or the file, is not there. Texts live in the arena of the reading. */
struct client_config {
#define CLIENT_CONFIG_MEMBER(kind, name, help) const char *name;
    CLIENT_CONFIG_ROWS(CLIENT_CONFIG_MEMBER)
#undef CLIENT_CONFIG_MEMBER
    const char *file;
};

/* What the environment says; any may be NULL. */
struct client_config_places {
    const char *file;        /* QFLEET_CONFIG */
    const char *config_home; /* XDG_CONFIG_HOME */
    const char *home;        /* HOME */
};

/* The folder of a user's own configuration, NULL when there is no home. In `arena`. */
const char *client_config_folder(const struct client_config_places *places, struct arena *arena);

/* Reads the file that counts; without one *out is empty. ERR_RECIPE names file, line and key, the
 * nearest key for an unknown one; ERR_NOT_FOUND a file that QFLEET_CONFIG names. */
MUST_CHECK enum err client_config_read(const struct client_config_places *places,
                                       struct arena *arena, struct client_config *out,
                                       struct err_text *et);

/* Row by row, for manuals: NULL beyond the last. *help is static too. */
const char *client_config_key(size_t index, const char **help);

#endif
