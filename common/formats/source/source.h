/* source.h - the bytes of a file, read-only.
 *
 * Every parser of files takes a span; a source is what keeps that span alive. Files are mapped, so
 * that sixteen gigabytes of weights cost address space and page cache, not a copy.
 * Refuses to know: what the bytes mean. A file that shrinks while it is mapped is out of scope:
 * models and datasets are immutable once a job is frozen.
 */
#ifndef COMMON_FORMATS_SOURCE_SOURCE_H
#define COMMON_FORMATS_SOURCE_SOURCE_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"

struct source {
    struct span bytes; /* the whole content; valid until source_close */
    void *map;         /* owned: the mapping, NULL for an empty file */
};

/* Maps the regular file `path`. ERR_NOT_FOUND, ERR_DENIED, ERR_IO with the path and the system's
 * reason in `et`; ERR_FORMAT when it is not a regular file. On failure *source is untouched. */
MUST_CHECK enum err source_open(struct source *source, const char *path, struct err_text *et);

/* Tells the kernel that the content will be read in order, once. A hint; never fails. */
void source_will_stream(const struct source *source);

/* Gives back the memory that the pages of `part`, a span of the content, are mapped to; reading
 * them again takes them from the file again. Any other span is ignored. A hint; never fails. */
void source_drop(const struct source *source, struct span part);

/* Unmaps; a zeroed or closed source is allowed. */
void source_close(struct source *source);

#endif
