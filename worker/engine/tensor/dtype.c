/* dtype.c - one row per element type. */
#include "worker/engine/tensor/dtype.h"

#include "common/base/check.h"

struct dtype_row {
    const char *name;
    size_t size_bytes;
};

static const struct dtype_row rows[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4},
    [DTYPE_F16] = {"F16", 2},
    [DTYPE_BF16] = {"BF16", 2},
};

size_t dtype_size_bytes(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].size_bytes;
}

const char *dtype_name(enum dtype dtype)
{
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return rows[dtype].name;
}
