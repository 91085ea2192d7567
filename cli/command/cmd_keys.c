/* cmd_keys.c - `qctl keys create`: a key pair, and the line that lets it in. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/transport/transport_keys.h"

static enum err check_role(const char *role, struct err_text *et)
{
    for (unsigned i = 0; i < TRANSPORT_ROLE_COUNT; i++) {
        if (strcmp(role, transport_keys_role_word((enum transport_role)i)) == 0)
            return ERR_OK;
    }
    return error_set(et, ERR_USAGE, "--role: expected admin, submit, worker or view, found \"%s\"",
                     role);
}

enum err cmd_keys_create(struct invocation *invocation, struct err_text *et)
{
    const char *path = invocation->arguments[0];
    const char *role = command_text(invocation, "role");
    const char *name = command_text(invocation, "name");
    const char *slash = strrchr(path, '/');
    struct transport_keys keys;
    role = role != NULL ? role : "worker";
    name = name != NULL ? name : (slash != NULL ? slash + 1 : path);
    if (strlen(name) >= TRANSPORT_USER_BYTES || strchr(name, ' ') != NULL || name[0] == '\0' ||
        !utf8_is_line(text_of(name)))
        return error_set(et, ERR_USAGE, "--name: expected a word of at most %d bytes",
                         TRANSPORT_USER_BYTES - 1);
    TRY(check_role(role, et));
    TRY(transport_keys_generate(&keys));
    TRY(transport_keys_write(&keys, path, et));
    (void)fprintf(invocation->out, "%s  %s  ", role, name);
    for (size_t i = 0; i < TRANSPORT_KEY_BYTES; i++)
        (void)fprintf(invocation->out, "%02x", keys.public_key[i]);
    (void)fprintf(invocation->out, "\n");
    (void)fprintf(invocation->messages,
                  "%s: both keys, for this machine alone; %s.pub: the public one\n", path, path);
    return ERR_OK;
}
