/* error.c - names, sentences and classes of error codes, expanded from error.def. */
#include "common/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct error_row {
    const char *name;
    const char *text;
    enum err_retry retry;
    int exit_code;
};

static const struct error_row rows[ERR_COUNT] = {[ERR_OK] = {"OK", "no error", ERR_PERMANENT, 0},
#define ERR_ROW(n, r, e, t) [ERR_##n] = {#n, t, ERR_##r, e},
                                                 ERROR_ROWS(ERR_ROW)
#undef ERR_ROW
};

static const struct error_row *row_of(enum err code)
{
    unsigned index = (unsigned)code;
    return &rows[index < ERR_COUNT ? index : ERR_INTERNAL];
}

const char *error_name(enum err code)
{
    return row_of(code)->name;
}

const char *error_text(enum err code)
{
    return row_of(code)->text;
}

enum err_retry error_retry(enum err code)
{
    return row_of(code)->retry;
}

int error_exit_code(enum err code)
{
    return row_of(code)->exit_code;
}

enum err error_from_name(const char *name)
{
    for (unsigned i = 0; i < ERR_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return (enum err)i;
    }
    return ERR_COUNT;
}

enum err error_set(struct err_text *et, enum err code, const char *format, ...)
{
    if (et == NULL)
        return code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(et->text, sizeof et->text, format, args);
    va_end(args);
    return code;
}

enum err error_prefix(struct err_text *et, enum err code, const char *format, ...)
{
    if (et == NULL)
        return code;
    char old[sizeof et->text];
    memcpy(old, et->text, sizeof old);
    old[sizeof old - 1] = '\0';
    va_list args;
    va_start(args, format);
    int used = vsnprintf(et->text, sizeof et->text, format, args);
    va_end(args);
    if (used < 0 || (size_t)used >= sizeof et->text)
        return code;
    size_t at = (size_t)used;
    (void)snprintf(et->text + at, sizeof et->text - at, ": %s",
                   old[0] != '\0' ? old : error_text(code));
    return code;
}

enum err error_from_errno(int errno_value)
{
    switch (errno_value) {
    case 0:
        return ERR_OK;
    case ENOMEM:
        return ERR_OUT_OF_MEMORY;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ERR_DISK_FULL;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}
