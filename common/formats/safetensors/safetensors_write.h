/* safetensors_write.h - safetensors files, byte for byte as the reference writer lays them out.
 *
 * Tensors are sorted by element type (widest last in safetensors_dtype.h first), then by name; the
 * header has no spaces except those that pad it to a multiple of 8. Equal tensors and notes give
 * equal bytes in whatever order they are given.
 * Data goes straight from where it lies to the sink, so a file of any size needs no copy.
 */
#ifndef COMMON_FORMATS_SAFETENSORS_SAFETENSORS_WRITE_H
#define COMMON_FORMATS_SAFETENSORS_SAFETENSORS_WRITE_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"

/* What a file shall hold. Names are at most 64 KiB of UTF-8 and differ; `data` is row-major,
 * little-endian and as long as type and shape say (asserted). */
struct safetensors_content {
    const struct safetensor *tensors; /* borrowed */
    size_t count;
    const struct safetensors_note *notes; /* borrowed; __metadata__ */
    size_t note_count;
};

/* {"format": "pt"}: what transformers and PEFT expect to find in every file. */
extern const struct safetensors_note safetensors_write_note_pt;

/* Writes the file to `sink`, in order. Passes on the sink's error. ERR_FORMAT when a name or note
 * is not UTF-8, occurs twice or is reserved; ERR_LIMIT; ERR_OUT_OF_MEMORY: then the sink has seen
 * nothing. */
MUST_CHECK enum err safetensors_write(const struct safetensors_content *content, file_sink_f sink,
                                      void *context);

/* Sends the data of `tensor`, as many bytes as its type and shape say, to `sink`. */
typedef enum err (*safetensors_data_f)(void *context, const struct safetensor *tensor,
                                       file_sink_f sink, void *sink_context);

/* The same for tensors whose data is made when its turn comes: data.data is not looked at,
 * data.size says how much there will be. */
MUST_CHECK enum err safetensors_write_made(const struct safetensors_content *content,
                                           safetensors_data_f data, void *data_context,
                                           file_sink_f sink, void *context);

/* Durable and at once, through a temporary file. */
MUST_CHECK enum err safetensors_write_file(const struct safetensors_content *content,
                                           const char *path, struct err_text *et);

/* Bytes of the whole file, header included. ERR_OVERFLOW beyond 64 bits. */
MUST_CHECK enum err safetensors_write_size(const struct safetensors_content *content,
                                           size_t *size_bytes);

#endif
