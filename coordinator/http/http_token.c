/* http_token.c - see http_token.h. */
#include "coordinator/http/http_token.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* One line of token characters, the line feed may lack. */
static bool parse(const char *content, size_t size, struct http_token *out)
{
    if (size > 0 && content[size - 1] == '\n')
        size--;
    if (size < HTTP_TOKEN_CHARS_MIN || size > HTTP_TOKEN_CHARS_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!is_token_char(content[i]))
            return false;
    memcpy(out->text, content, size);
    out->text[size] = '\0';
    return true;
}

static enum err system_error(const char *path, struct err_text *et)
{
    return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
}

static enum err read_open(int fd, const char *path, struct http_token *out, struct err_text *et)
{
    char content[HTTP_TOKEN_CHARS_MAX + 2];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return system_error(path, et);
    if (!S_ISREG(st.st_mode))
        return error_set(et, ERR_FORMAT, "%s: expected a file with the token in it", path);
    if ((st.st_mode & 077) != 0)
        return error_set(
            et, ERR_DENIED,
            "%s: mode %o lets others read the token; chmod 600 it and put a new one in", path,
            (unsigned)(st.st_mode & 0777));
    ssize_t size = read(fd, content, sizeof content);
    if (size < 0)
        return system_error(path, et);
    if (!parse(content, (size_t)size, out))
        return error_set(et, ERR_FORMAT,
                         "%s: expected one line of %d to %d letters, digits, '-' or '_'", path,
                         HTTP_TOKEN_CHARS_MIN, HTTP_TOKEN_CHARS_MAX);
    return ERR_OK;
}

enum err http_token_read(const char *path, struct http_token *out, struct err_text *et)
{
    struct http_token token;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe must not hold up the start */
    if (fd < 0)
        return system_error(path, et);
    enum err err = read_open(fd, path, &token, et);
    (void)close(fd);
    if (err == ERR_OK)
        *out = token;
    return err;
}

static enum err write_line(const char *path, const uint8_t random[HTTP_TOKEN_RANDOM_BYTES],
                           struct err_text *et)
{
    static const char digits[] = "0123456789abcdef";
    char line[2 * HTTP_TOKEN_RANDOM_BYTES + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return system_error(path, et);
    for (size_t i = 0; i < HTTP_TOKEN_RANDOM_BYTES; i++) {
        line[2 * i] = digits[random[i] >> 4];
        line[2 * i + 1] = digits[random[i] & 15];
    }
    line[sizeof line - 1] = '\n';
    enum err err = ERR_OK;
    if (write(fd, line, sizeof line) != (ssize_t)sizeof line || fsync(fd) != 0)
        err = system_error(path, et);
    (void)close(fd);
    return err;
}

/* Half a token would be refused at the next start, so it gets its name when it is whole. */
static enum err make(const char *path, const uint8_t random[HTTP_TOKEN_RANDOM_BYTES],
                     struct err_text *et)
{
    char temporary[PATH_MAX];
    int size = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (size < 0 || (size_t)size >= sizeof temporary)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    (void)unlink(temporary); /* of a start that was killed */
    enum err err = write_line(temporary, random, et);
    if (err == ERR_OK && rename(temporary, path) != 0)
        err = system_error(path, et);
    if (err != ERR_OK)
        (void)unlink(temporary);
    return err;
}

enum err http_token_read_or_make(const char *path, const uint8_t random[HTTP_TOKEN_RANDOM_BYTES],
                                 struct http_token *out, struct err_text *et)
{
    if (access(path, F_OK) != 0 && errno == ENOENT)
        TRY(make(path, random, et));
    return http_token_read(path, out, et);
}

bool http_token_is(const struct http_token *token, const char *given)
{
    size_t size = strlen(token->text);
    if (given == NULL || strlen(given) != size)
        return false;
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < size; i++)
        difference = (unsigned char)(difference | (token->text[i] ^ given[i]));
    return difference == 0;
}
