/* task_encoder.c - both enums of formats are the rows of block_format.def. */
#include "worker/task/task_encoder.h"

#include "worker/engine/kernel/kernel.h"
#include "worker/engine/quant/blocks.h"

void task_encoder_decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    kernel_encode(context, (enum dtype)format, rows, columns, x, importance, out);
}

struct convert_encoder task_encoder(struct kernel *kernel)
{
    return (struct convert_encoder){encode, task_encoder_decode, kernel};
}
