/* blocks.c - decoding outside kernels. */
#include "worker/engine/quant/blocks.h"

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
