/* blocks.c - decoding and encoding outside kernels. */
#include "worker/engine/quant/blocks.h"

#include <string.h>

#include "common/base/check.h"

void block_decode(enum dtype dtype, size_t count, const void *from, float *out)
{
    if (dtype_is_plain(dtype)) {
        dtype_decode(dtype, count, from, out);
        return;
    }
    size_t elements = dtype_block_elements(dtype);
    ASSERT(count % elements == 0);
    block_portable.decode[dtype](count / elements, from, out);
}

void block_encode(enum dtype dtype, size_t rows, size_t columns, const float *x,
                  const float *importance, void *out)
{
    ASSERT(columns % dtype_block_elements(dtype) == 0);
    if (dtype == DTYPE_F32)
        memcpy(out, x, rows * columns * sizeof(*x));
    else
        block_portable.encode[dtype](rows, columns, x, importance, out);
}
