/* source.c - mapped files. */
#include "common/formats/source/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err map_descriptor(struct source *source, int fd, const char *path, struct err_text *et)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(et, ERR_FORMAT, "%s: expected a file, found a %s", path,
                         S_ISDIR(info.st_mode) ? "folder" : "device, pipe or socket");
    if (info.st_size == 0) {
        *source = (struct source){.bytes = {(const uint8_t *)"", 0}};
        return ERR_OK;
    }
    if ((uint64_t)info.st_size > PTRDIFF_MAX)
        return error_set(et, ERR_OVERFLOW, "%s: larger than the address space", path);
    size_t size = (size_t)info.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return error_set(et, error_from_errno(errno), "%s: cannot be mapped: %s", path,
                         strerror(errno));
    *source = (struct source){.bytes = {map, size}, .map = map};
    return ERR_OK;
}

enum err source_open(struct source *source, const char *path, struct err_text *et)
{
    /* O_NONBLOCK: a pipe in place of a file must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    enum err err = map_descriptor(source, fd, path, et);
    (void)close(fd);
    return err;
}

void source_will_stream(const struct source *source)
{
    if (source->map != NULL)
        (void)posix_madvise(source->map, source->bytes.size, POSIX_MADV_SEQUENTIAL);
}

static bool holds(const struct source *source, struct span part)
{
    uintptr_t first = (uintptr_t)source->map, at = (uintptr_t)part.data;
    return source->map != NULL && at >= first && at - first <= source->bytes.size &&
           part.size <= source->bytes.size - (at - first);
}

void source_drop(const struct source *source, struct span part)
{
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0 || !holds(source, part))
        return;
    /* From a page's start: what lies before the part on its first page can be read again too. */
    size_t before = (uintptr_t)part.data % (size_t)page;
    (void)madvise((uint8_t *)source->map + (part.data - source->bytes.data) - before,
                  part.size + before, MADV_DONTNEED);
}

void source_close(struct source *source)
{
    if (source->map != NULL)
        (void)munmap(source->map, source->bytes.size);
    *source = (struct source){0};
}
