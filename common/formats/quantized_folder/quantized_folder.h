/* quantized_folder.h - a model folder whose weights are replaced: safetensors in shards, the base's
 * config.json with a quantization_config, and the base's tokenizer beside them.
 *
 * Tensors are named and sized first and made one after another when their turn comes, so that a
 * folder of any size needs no more memory than its largest tensor. Refuses to know: what the
 * tensors mean (compressed_tensors, bitsandbytes).
 */
#ifndef COMMON_FORMATS_QUANTIZED_FOLDER_QUANTIZED_FOLDER_H
#define COMMON_FORMATS_QUANTIZED_FOLDER_QUANTIZED_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/mem/arena.h"

/* The bound of a shard that transformers has. */
#define QUANTIZED_FOLDER_SHARD_BYTES UINT64_C(5000000000)

struct quantized_folder_content {
    const char *base;                 /* folder of the model before: everything but weights */
    struct span quantization_config;  /* a JSON object; with base NULL, data NULL: none */
    struct span config;               /* of base NULL: config.json, beside which nothing lies */
    const struct safetensor *tensors; /* all of them, in model order; data.size is set */
    size_t count;
    safetensors_data_f data;  /* sends a tensor's data; NULL: from data.data */
    void *context;            /* of `data` */
    uint64_t shard_bytes_max; /* 0: QUANTIZED_FOLDER_SHARD_BYTES; one tensor may exceed it */
};

/* A file of the folder. */
struct quantized_folder_file {
    const char *name;
    uint64_t size_bytes;
    struct safetensors_content weights; /* of a shard; count 0: another file */
    struct span text;                   /* of a config or an index; data NULL: a copy of base's */
};

struct quantized_folder {
    const struct quantized_folder_content *content; /* borrowed */
    struct quantized_folder_file *files;            /* in the arena, sorted by name */
    size_t count;
};

/* Which files the folder will hold. A base of NULL is for folders whose config is made anew
 * and whose tokenizer comes from elsewhere. ERR_STATE: the base's config.json has a
 * quantization_config; ERR_NOT_FOUND, ERR_FORMAT, ... of the base's files; ERR_OUT_OF_MEMORY.
 * Everything is in the arena; `content` must outlive *folder. */
MUST_CHECK enum err quantized_folder_plan(const struct quantized_folder_content *content,
                                          struct arena *arena, struct quantized_folder *folder,
                                          struct err_text *et);

/* Sends file `index` to `sink`. Errors of the base's file, the sink and content->data. */
MUST_CHECK enum err quantized_folder_send(const struct quantized_folder *folder, size_t index,
                                          file_sink_f sink, void *context, struct err_text *et);

/* Writes all files into `path`, which is made if it is not there: each durable and at once, config
 * last. */
MUST_CHECK enum err quantized_folder_write(const struct quantized_folder *folder, const char *path,
                                           struct err_text *et);

#endif
