/* task_encoder.h - the engine's encoders and decoders of blocks, as conversions want them. */
#ifndef WORKER_TASK_TASK_ENCODER_H
#define WORKER_TASK_TASK_ENCODER_H

#include "common/formats/convert/convert_tensor.h"

struct kernel;

/* Decodes on the calling thread; a convert_decode_f. */
void task_encoder_decode(enum block_format format, size_t count, const void *from, float *out);

/* Encodes on the kernel's threads; the kernel is borrowed for as long as the encoder is used. */
struct convert_encoder task_encoder(struct kernel *kernel);

#endif
