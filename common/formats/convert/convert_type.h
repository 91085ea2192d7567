/* convert_type.h - types of tensors as people write them: on a command line, in a recipe. */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_TYPE_H
#define COMMON_FORMATS_CONVERT_CONVERT_TYPE_H

#include "common/formats/convert/convert_quantize.h"

/* Where a value was written, and the error that a wrong one is. */
struct convert_type_place {
    const char *key; /* as it was written: --tensor-type, quantize.tensor_type */
    enum err wrong;
};

/* The type of that name, in any case. The place's error otherwise. */
MUST_CHECK enum err convert_type_read(const struct convert_type_place *place, const char *name,
                                      enum block_format *out, struct err_text *et);

/* pattern=type, split at the last equals sign; the pattern is copied into the arena. The place's
 * error, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err convert_type_read_exception(const struct convert_type_place *place,
                                                const char *pair, struct arena *arena,
                                                struct convert_exception *out, struct err_text *et);

#endif
