/* http_token.h - the one secret of the page: whoever knows it may look.
 *
 * A file of one line, 32 to 128 letters, digits, '-' or '_', that nobody but its owner can read.
 * Refuses to know: HTTP, where randomness comes from.
 */
#ifndef COORDINATOR_HTTP_HTTP_TOKEN_H
#define COORDINATOR_HTTP_HTTP_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

enum { HTTP_TOKEN_CHARS_MIN = 32, HTTP_TOKEN_CHARS_MAX = 128, HTTP_TOKEN_RANDOM_BYTES = 32 };

struct http_token {
    char text[HTTP_TOKEN_CHARS_MAX + 1];
};

/* Reads the file. ERR_NOT_FOUND, ERR_DENIED when group or others may read it, ERR_FORMAT, also of
 * what is no file, such as a pipe. */
MUST_CHECK enum err http_token_read(const char *path, struct http_token *out, struct err_text *et);

/* The same; a file that is not there is made, mode 0600, of these random bytes. */
MUST_CHECK enum err http_token_read_or_make(const char *path,
                                            const uint8_t random[HTTP_TOKEN_RANDOM_BYTES],
                                            struct http_token *out, struct err_text *et);

/* Whether `given` (NULL: nothing) is the token; takes as long whichever byte differs. */
bool http_token_is(const struct http_token *token, const char *given);

#endif
