/* transport_keys.c - key pairs and key lists as small text files, modes checked. */
#include "common/transport/transport_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <sodium.h>

#include "common/base/check.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"

enum { KEY_FILE_BYTES = 4096, LIST_BYTES = 16 << 20, Z85_BYTES = 41, HEX_BYTES = 65 };

static const char *const ROLE_WORDS[TRANSPORT_ROLE_COUNT] = {
    [TRANSPORT_VIEW] = "view",
    [TRANSPORT_SUBMIT] = "submit",
    [TRANSPORT_WORKER] = "worker",
    [TRANSPORT_ADMIN] = "admin",
};

const char *transport_keys_role_word(enum transport_role role)
{
    return (unsigned)role < TRANSPORT_ROLE_COUNT ? ROLE_WORDS[role] : "?";
}

enum err transport_keys_generate(struct transport_keys *out)
{
    char public_z85[Z85_BYTES], secret_z85[Z85_BYTES];
    struct transport_keys keys;
    enum err err = ERR_OK;
    if (zmq_curve_keypair(public_z85, secret_z85) != 0)
        return zmq_errno() == ENOTSUP ? ERR_UNSUPPORTED : ERR_IO;
    if (zmq_z85_decode(keys.public_key, public_z85) == NULL ||
        zmq_z85_decode(keys.secret_key, secret_z85) == NULL)
        err = ERR_INTERNAL;
    else
        *out = keys;
    sodium_memzero(&keys, sizeof keys);
    sodium_memzero(secret_z85, sizeof secret_z85);
    return err;
}

static enum err write_new(const char *path, mode_t mode, const char *content, struct err_text *et)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return error_set(et, errno == EEXIST ? ERR_EXISTS : error_from_errno(errno), "%s: %s", path,
                         strerror(errno));
    size_t size = strlen(content);
    ssize_t written = write(fd, content, size);
    bool good = written >= 0 && (size_t)written == size && fsync(fd) == 0;
    int code = errno;
    good = close(fd) == 0 && good;
    if (good)
        return ERR_OK;
    unlink(path);
    return error_set(et, ERR_IO, "%s: %s", path, strerror(code));
}

enum err transport_keys_write(const struct transport_keys *keys, const char *path,
                              struct err_text *et)
{
    char public_hex[HEX_BYTES], secret_hex[HEX_BYTES];
    char path_public[4096 + 8], content[256];
    int length = snprintf(path_public, sizeof path_public, "%s.pub", path);
    if (length < 0 || (size_t)length >= sizeof path_public)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    sodium_bin2hex(public_hex, sizeof public_hex, keys->public_key, TRANSPORT_KEY_BYTES);
    sodium_bin2hex(secret_hex, sizeof secret_hex, keys->secret_key, TRANSPORT_KEY_BYTES);
    snprintf(content, sizeof content, "public %s\n", public_hex);
    TRY(write_new(path_public, 0644, content, et));
    snprintf(content, sizeof content, "public %s\nsecret %s\n", public_hex, secret_hex);
    enum err err = write_new(path, 0600, content, et);
    if (err != ERR_OK)
        unlink(path_public);
    sodium_memzero(secret_hex, sizeof secret_hex);
    sodium_memzero(content, sizeof content);
    return err;
}

static enum err read_all(int fd, const char *path, size_t size_max, struct bytes *out,
                         struct err_text *et)
{
    for (;;) {
        uint8_t block[4096];
        ssize_t got = read(fd, block, sizeof block);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(et, ERR_IO, "%s: %s", path, strerror(errno));
        if (got == 0)
            return bytes_status(out);
        if (out->size + (size_t)got > size_max)
            return error_set(et, ERR_LIMIT, "%s: larger than %zu bytes", path, size_max);
        bytes_append(out, block, (size_t)got);
    }
}

/* Reads a file none of whose `refused` mode bits may be set; a pipe only where one may be waited
 * for. */
static enum err read_guarded(const char *path, mode_t refused, bool may_wait, size_t size_max,
                             struct bytes *out, struct err_text *et)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | (may_wait ? 0 : O_NONBLOCK));
    if (fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    struct stat st;
    enum err err = ERR_OK;
    if (fstat(fd, &st) != 0)
        err = error_set(et, ERR_IO, "%s: %s", path, strerror(errno));
    else if (!may_wait && !S_ISREG(st.st_mode))
        err = error_set(et, ERR_FORMAT, "%s: expected a file", path);
    else if ((st.st_mode & refused) != 0)
        err = error_set(et, ERR_DENIED, "%s: mode %o is too open, expected at most %o", path,
                        (unsigned)(st.st_mode & 0777), (unsigned)(0666 & ~refused));
    else
        err = read_all(fd, path, size_max, out, et);
    close(fd);
    return err;
}

static struct text next_line(struct text *rest)
{
    const char *newline = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    struct text line = {rest->data, newline != NULL ? (size_t)(newline - rest->data) : rest->size};
    size_t used = line.size + (newline != NULL ? 1 : 0);
    rest->data += used;
    rest->size -= used;
    return line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct text next_word(struct text *line)
{
    while (line->size > 0 && is_blank(*line->data)) {
        line->data++;
        line->size--;
    }
    struct text word = {line->data, 0};
    while (word.size < line->size && !is_blank(line->data[word.size]))
        word.size++;
    line->data += word.size;
    line->size -= word.size;
    return word;
}

static bool parse_key(struct text hex, uint8_t out[TRANSPORT_KEY_BYTES])
{
    size_t size = 0;
    return hex.size == 2 * TRANSPORT_KEY_BYTES &&
           sodium_hex2bin(out, TRANSPORT_KEY_BYTES, hex.data, hex.size, NULL, &size, NULL) == 0 &&
           size == TRANSPORT_KEY_BYTES;
}

/* The key after `name` in a key file; false when there is none. */
static bool find_key(struct text content, const char *name, uint8_t out[TRANSPORT_KEY_BYTES])
{
    while (content.size > 0) {
        struct text line = next_line(&content);
        if (text_is(next_word(&line), name))
            return parse_key(next_word(&line), out);
    }
    return false;
}

static enum err read_pair(const char *path, bool with_secret, struct transport_keys *out,
                          struct err_text *et)
{
    struct bytes content;
    bytes_init(&content, KEY_FILE_BYTES + 1);
    struct transport_keys keys = {{0}, {0}};
    enum err err = ERR_OK;
    TRY_OUT(read_guarded(path, with_secret ? 077 : 0, true, KEY_FILE_BYTES, &content, et));
    struct text text = {(const char *)content.data, content.size};
    if (!find_key(text, "public", keys.public_key)) {
        err = error_set(et, ERR_FORMAT, "%s: expected a line \"public\" with 64 hex digits", path);
        goto out;
    }
    if (with_secret && !find_key(text, "secret", keys.secret_key)) {
        err = error_set(et, ERR_FORMAT, "%s: expected a line \"secret\" with 64 hex digits", path);
        goto out;
    }
    *out = keys;
out:
    sodium_memzero(&keys, sizeof keys);
    if (content.data != NULL)
        sodium_memzero(content.data, content.size);
    bytes_fini(&content);
    return err;
}

enum err transport_keys_read(const char *path, struct transport_keys *out, struct err_text *et)
{
    return read_pair(path, true, out, et);
}

enum err transport_keys_read_public(const char *path, uint8_t out[TRANSPORT_KEY_BYTES],
                                    struct err_text *et)
{
    struct transport_keys keys;
    TRY(read_pair(path, false, &keys, et));
    memcpy(out, keys.public_key, TRANSPORT_KEY_BYTES);
    return ERR_OK;
}

static bool parse_role(struct text word, enum transport_role *out)
{
    for (int i = 0; i < TRANSPORT_ROLE_COUNT; i++) {
        if (text_is(word, ROLE_WORDS[i])) {
            *out = (enum transport_role)i;
            return true;
        }
    }
    return false;
}

static enum err parse_row(struct text line, const char *path, size_t number,
                          struct transport_key_row *row, struct err_text *et)
{
    struct text role = next_word(&line);
    struct text user = next_word(&line);
    struct text key = next_word(&line);
    if (!parse_role(role, &row->role))
        return error_set(et, ERR_FORMAT,
                         "%s:%zu: expected a role (admin, submit, worker, view), found \"%.*s\"",
                         path, number, TEXT_ARGS(role));
    if (user.size == 0 || user.size >= TRANSPORT_USER_BYTES)
        return error_set(et, ERR_FORMAT, "%s:%zu: expected a name of 1 to %d bytes after the role",
                         path, number, TRANSPORT_USER_BYTES - 1);
    memcpy(row->user, user.data, user.size);
    row->user[user.size] = '\0';
    if (!parse_key(key, row->public_key))
        return error_set(et, ERR_FORMAT,
                         "%s:%zu: expected a public key of 64 hex digits, found \"%.*s\"", path,
                         number, TEXT_ARGS(key));
    if (next_word(&line).size != 0)
        return error_set(et, ERR_FORMAT, "%s:%zu: expected the end of the line after the key", path,
                         number);
    return ERR_OK;
}

/* Place of `key` in the sorted rows: the first row that is not smaller. */
static size_t lower_bound(const struct transport_key_list *list, const uint8_t *key)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(list->rows[middle].public_key, key, TRANSPORT_KEY_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum err insert_row(struct transport_key_list *list, const struct transport_key_row *row,
                           const char *path, size_t number, struct err_text *et)
{
    size_t at = lower_bound(list, row->public_key);
    if (at < list->count && memcmp(list->rows[at].public_key, row->public_key, 32) == 0)
        return error_set(et, ERR_FORMAT, "%s:%zu: this key is already listed for \"%s\"", path,
                         number, list->rows[at].user);
    if (list->count == TRANSPORT_KEYS_MAX)
        return error_set(et, ERR_LIMIT, "%s: more than %d keys", path, TRANSPORT_KEYS_MAX);
    struct transport_key_row *rows = mem_resize(list->rows, list->count + 1, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    list->rows = rows;
    memmove(&rows[at + 1], &rows[at], (list->count - at) * sizeof *rows);
    rows[at] = *row;
    list->count++;
    return ERR_OK;
}

enum err transport_keys_read_list(const char *path, struct transport_key_list *out,
                                  struct err_text *et)
{
    struct transport_key_list list = {NULL, 0};
    struct bytes content;
    bytes_init(&content, LIST_BYTES + 1);
    enum err err = ERR_OK;
    TRY_OUT(read_guarded(path, 022, false, LIST_BYTES, &content, et)); /* read while it serves */
    struct text rest = {(const char *)content.data, content.size};
    for (size_t number = 1; rest.size > 0; number++) {
        struct text line = next_line(&rest);
        struct text first = line;
        first = next_word(&first);
        if (first.size == 0 || first.data[0] == '#')
            continue;
        struct transport_key_row row = {.role = TRANSPORT_VIEW};
        TRY_OUT(parse_row(line, path, number, &row, et));
        TRY_OUT(insert_row(&list, &row, path, number, et));
    }
    if (list.count == 0) {
        err = error_set(et, ERR_FORMAT, "%s: no key is listed, so nobody could connect", path);
        goto out;
    }
    *out = list;
    list = (struct transport_key_list){NULL, 0};
out:
    transport_keys_fini_list(&list);
    bytes_fini(&content);
    return err;
}

void transport_keys_fini_list(struct transport_key_list *list)
{
    mem_free(list->rows);
    *list = (struct transport_key_list){NULL, 0};
}

const struct transport_key_row *transport_keys_find(const struct transport_key_list *list,
                                                    const uint8_t key[TRANSPORT_KEY_BYTES])
{
    size_t at = lower_bound(list, key);
    if (at < list->count && memcmp(list->rows[at].public_key, key, TRANSPORT_KEY_BYTES) == 0)
        return &list->rows[at];
    return NULL;
}
