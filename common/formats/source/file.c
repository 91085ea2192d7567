/* file.c - durable replacement by rename. */
#include "common/formats/source/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

enum { WRITE_BYTES_MAX = 1 << 30 };

enum err file_sink_bytes(void *bytes, struct span piece)
{
    bytes_append(bytes, piece.data, piece.size);
    return bytes_status(bytes);
}

static char *name_temp(const char *path)
{
    size_t size = strlen(path);
    char *name = mem_alloc(size + sizeof ".tmp", 1);
    if (name != NULL) {
        memcpy(name, path, size);
        memcpy(name + size, ".tmp", sizeof ".tmp");
    }
    return name;
}

enum err file_writer_open(struct file_writer *writer, const char *path, struct err_text *et)
{
    struct file_writer made = {.fd = -1};
    made.path = mem_copy_text(text_of(path));
    made.path_temp = name_temp(path);
    if (made.path == NULL || made.path_temp == NULL) {
        file_writer_abandon(&made);
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    made.fd = open(made.path_temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (made.fd < 0) {
        enum err err = error_set(et, error_from_errno(errno), "%s: cannot be written: %s",
                                 made.path_temp, strerror(errno));
        mem_free(made.path_temp); /* not ours to unlink */
        made.path_temp = NULL;
        file_writer_abandon(&made);
        return err;
    }
    *writer = made;
    return ERR_OK;
}

enum err file_sink_writer(void *context, struct span piece)
{
    struct file_writer *writer = context;
    ASSERT(writer->fd >= 0);
    while (piece.size > 0) {
        ssize_t done = write(writer->fd, piece.data, MIN(piece.size, (size_t)WRITE_BYTES_MAX));
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? error_from_errno(errno) : ERR_IO;
        piece.data += done;
        piece.size -= (size_t)done;
        writer->size_bytes += (uint64_t)done;
    }
    return ERR_OK;
}

enum err file_writer_settle(struct file_writer *writer, struct err_text *et)
{
    ASSERT(writer->fd >= 0);
    enum err err = ERR_OK;
    if (fsync(writer->fd) != 0)
        err = error_set(et, error_from_errno(errno), "%s: fsync: %s", writer->path_temp,
                        strerror(errno));
    if (close(writer->fd) != 0 && err == ERR_OK)
        err = error_set(et, error_from_errno(errno), "%s: close: %s", writer->path_temp,
                        strerror(errno));
    writer->fd = -1;
    if (err != ERR_OK)
        file_writer_abandon(writer);
    return err;
}

enum err file_writer_commit(struct file_writer *writer, struct err_text *et)
{
    ASSERT(writer->path_temp != NULL);
    enum err err = ERR_OK;
    if (writer->fd >= 0)
        TRY(file_writer_settle(writer, et));
    if (rename(writer->path_temp, writer->path) != 0)
        err =
            error_set(et, error_from_errno(errno), "%s: rename: %s", writer->path, strerror(errno));
    if (err == ERR_OK) {
        mem_free(writer->path_temp);
        writer->path_temp = NULL;
        err = folder_sync_parent(writer->path, et);
    }
    file_writer_abandon(writer);
    return err;
}

void file_writer_abandon(struct file_writer *writer)
{
    if (writer->path == NULL && writer->path_temp == NULL)
        return;
    if (writer->fd >= 0)
        (void)close(writer->fd);
    if (writer->path_temp != NULL)
        (void)unlink(writer->path_temp);
    mem_free(writer->path);
    mem_free(writer->path_temp);
    *writer = (struct file_writer){.fd = -1};
}

enum err file_writer_fail(struct file_writer *writer, enum err err, struct err_text *et)
{
    if (et != NULL && et->text[0] == '\0')
        err = error_set(et, err, "%s: cannot be written: %s", writer->path, error_text(err));
    file_writer_abandon(writer);
    return err;
}

enum err file_write_atomic(const char *path, struct span content, struct err_text *et)
{
    struct file_writer writer;
    TRY(file_writer_open(&writer, path, et));
    enum err err = file_sink_writer(&writer, content);
    if (err != ERR_OK) {
        file_writer_abandon(&writer);
        return error_set(et, err, "%s: cannot be written: %s", path, error_text(err));
    }
    return file_writer_commit(&writer, et);
}

enum err file_read(const char *path, size_t size_bytes_max, struct bytes *out, struct err_text *et)
{
    struct source source;
    TRY(source_open(&source, path, et));
    enum err err = ERR_OK;
    if (source.bytes.size > size_bytes_max) {
        err = error_set(et, ERR_LIMIT, "%s: expected at most %zu bytes, found %zu", path,
                        size_bytes_max, source.bytes.size);
    } else {
        size_t size_before = out->size;
        bytes_append(out, source.bytes.data, source.bytes.size);
        err = bytes_status(out);
        if (err != ERR_OK) {
            out->size = size_before;
            (void)error_set(et, err, "%s: %s", path, error_text(err));
        }
    }
    source_close(&source);
    return err;
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}
