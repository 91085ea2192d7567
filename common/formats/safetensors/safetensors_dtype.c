/* safetensors_dtype.c - names and sizes, expanded from the rows. */
#include "common/formats/safetensors/safetensors_dtype.h"

#include "common/base/check.h"

struct dtype_row {
    const char *name;
    size_t size_bytes;
};

static const struct dtype_row rows[SAFETENSORS_DTYPE_COUNT] = {
#define DTYPE_ROW(name, size_bytes) [SAFETENSORS_##name] = {#name, size_bytes},
    SAFETENSORS_DTYPE_ROWS(DTYPE_ROW)
#undef DTYPE_ROW
};

size_t safetensors_dtype_size_bytes(enum safetensors_dtype dtype)
{
    ASSERT((unsigned)dtype < SAFETENSORS_DTYPE_COUNT);
    return rows[dtype].size_bytes;
}

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    ASSERT((unsigned)dtype < SAFETENSORS_DTYPE_COUNT);
    return rows[dtype].name;
}

bool safetensors_dtype_of(struct text name, enum safetensors_dtype *out)
{
    for (unsigned i = 0; i < SAFETENSORS_DTYPE_COUNT; i++) {
        if (text_is(name, rows[i].name)) {
            *out = (enum safetensors_dtype)i;
            return true;
        }
    }
    return false;
}
