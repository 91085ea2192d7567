/* error.h - how functions fail.
 *
 * Every function that can fail returns `enum err` and is marked MUST_CHECK; results go through the
 * last parameters. Codes are for programs. Text for people goes into an optional
 * `struct err_text *` at the edges only: parsers, recipes, the command line.
 *
 * Check-and-leave has two spellings and no third: TRY(expr) returns, allowed while nothing is held;
 * TRY_OUT(expr) sets the local `err` and jumps to the one label `out`.
 */
#ifndef COMMON_BASE_ERROR_H
#define COMMON_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#include "schemas/error.def"

#define MUST_CHECK   __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define UNUSED       __attribute__((unused))

enum err {
    ERR_OK = 0,
#define ERR_ENUM(name, retry, exit_code, text) ERR_##name,
    ERROR_ROWS(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

enum err_retry { ERR_RETRY, ERR_PERMANENT, ERR_CORRUPT, ERR_BUG };

/* The name without prefix ("DISK_FULL"), the sentence, the class and the exit code of qctl.
 * Any value is accepted: one outside the enum reads as INTERNAL. Static strings. */
const char *error_name(enum err code);
const char *error_text(enum err code);
enum err_retry error_retry(enum err code);
int error_exit_code(enum err code);

/* Code of a name, ERR_COUNT when there is none. */
enum err error_from_name(const char *name);

/* A message for people: where, what was expected, what was found, what to do. */
struct err_text {
    char text[1024];
};

/* Writes the message (cut to fit, always terminated) when `et` is not NULL; returns `code`, so that
 * reporting and returning is one statement. */
enum err error_set(struct err_text *et, enum err code, const char *format, ...) PRINTF(3, 4);

/* Puts "context: " before the message in `et`; returns `code`. With an empty message the code's own
 * sentence follows the context. */
enum err error_prefix(struct err_text *et, enum err code, const char *format, ...) PRINTF(3, 4);

/* Code of an errno value, for use right after a system call. */
enum err error_from_errno(int errno_value);

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (expr);                                                                \
        if (try_err_ != ERR_OK)                                                                    \
            return try_err_;                                                                       \
    } while (0)

#define TRY_OUT(expr)                                                                              \
    do {                                                                                           \
        err = (expr);                                                                              \
        if (err != ERR_OK)                                                                         \
            goto out;                                                                              \
    } while (0)

#endif
