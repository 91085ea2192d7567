/* imatrix_legacy.h - importance matrices from before GGUF; for this folder only. */
#ifndef COMMON_FORMATS_IMATRIX_IMATRIX_LEGACY_H
#define COMMON_FORMATS_IMATRIX_IMATRIX_LEGACY_H

#include "common/formats/imatrix/imatrix.h"

/* Counts are floats here: those up to 2^24 are what they were. */
enum { IMATRIX_CALLS_MAX = 1 << 24 };

/* Fills *m, whose arena is ready, in the order of the file. Errors as imatrix_open. */
MUST_CHECK enum err imatrix_legacy_read(struct imatrix *m, struct span content, const char *name,
                                        struct err_text *et);

#endif
