/* file.h - whole small files in, whole files out; a file is there complete or not at all.
 *
 * Writing goes to a temporary neighbour, then fsync, rename, fsync of the folder: after ERR_OK the
 * content survives a power cut, after an error the old content (or absence) is as it was.
 * Refuses to know: formats, clocks. One writer a path: two at once may overwrite each other's
 * temporary file, and the folders written to belong to one process.
 */
#ifndef COMMON_FORMATS_SOURCE_FILE_H
#define COMMON_FORMATS_SOURCE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/bytes.h"

/* Where a writer of a format puts its bytes, in order. Returns an error of its own kind; the
 * writer stops at the first and passes it on. */
typedef enum err (*file_sink_f)(void *context, struct span piece);

/* A sink into a `struct bytes` (the context). */
enum err file_sink_bytes(void *bytes, struct span piece);

/* A file in the making. */
struct file_writer {
    char *path;      /* owned: the final name */
    char *path_temp; /* owned */
    uint64_t size_bytes;
    int fd; /* -1 when not open */
};

/* Starts `path`.tmp in the same folder. ERR_NOT_FOUND when the folder is missing, ERR_DENIED,
 * ERR_DISK_FULL, ERR_IO with path and reason in `et`. */
MUST_CHECK enum err file_writer_open(struct file_writer *writer, const char *path,
                                     struct err_text *et);

/* Appends. The file_sink_f of a file: context is the struct file_writer. */
enum err file_sink_writer(void *writer, struct span piece);

/* Makes the content durable and closes the descriptor; only the name is missing, which
 * file_writer_commit gives. For many files that shall be there together. Abandons on an error. */
MUST_CHECK enum err file_writer_settle(struct file_writer *writer, struct err_text *et);

/* Makes the file durable under its name and closes the writer, also on failure. */
MUST_CHECK enum err file_writer_commit(struct file_writer *writer, struct err_text *et);

/* Throws the temporary file away. A zeroed, committed or abandoned writer is allowed. */
void file_writer_abandon(struct file_writer *writer);

/* Abandons a writer whose content failed, and passes `err` on: with the path, unless `et` says why
 * already. */
MUST_CHECK enum err file_writer_fail(struct file_writer *writer, enum err err, struct err_text *et);

/* Writes all of `content` to `path`, durably and at once. */
MUST_CHECK enum err file_write_atomic(const char *path, struct span content, struct err_text *et);

/* Appends the whole file to `out`. ERR_LIMIT when it is larger than `size_bytes_max`; nothing is
 * appended on an error. */
MUST_CHECK enum err file_read(const char *path, size_t size_bytes_max, struct bytes *out,
                              struct err_text *et);

/* True when `path` is a regular file that exists. */
bool file_exists(const char *path);

#endif
