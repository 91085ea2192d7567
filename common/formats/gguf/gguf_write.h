/* gguf_write.h - GGUF files, version 3: keys and tensors in the order given, data as it comes.
 *
 *     gguf_write_init(&w);
 *     gguf_write_text(&w, "general.architecture", TEXT("llama"));  keys ...
 *     gguf_write_tensor(&w, name, format, rank, shape);            tensors ...
 *     TRY(gguf_write_header(&w, sink, context));
 *     TRY(gguf_write_data(&w, piece));                             their bytes, in that order
 *     TRY(gguf_write_finish(&w));
 *
 * Errors of the first part are kept and come out of gguf_write_header, so that keys are written
 * without a check each. Nothing but the tables is held in memory. The same calls give the same
 * bytes. Keys and names are the caller's to keep apart: none is given twice.
 */
#ifndef COMMON_FORMATS_GGUF_GGUF_WRITE_H
#define COMMON_FORMATS_GGUF_GGUF_WRITE_H

#include "common/formats/gguf/gguf.h"
#include "common/formats/source/file.h"
#include "common/mem/bytes.h"

/* Values that llama.cpp gives general.file_type where most weights are plain, and the one that
 * general.quantization_version has. */
enum {
    GGUF_WRITE_FILE_TYPE_F32 = 0,
    GGUF_WRITE_FILE_TYPE_F16 = 1,
    GGUF_WRITE_FILE_TYPE_BF16 = 32,
    GGUF_WRITE_QUANTIZATION_VERSION = 2
};

struct gguf_write {
    struct bytes keys;    /* owned: as in the file */
    struct bytes tensors; /* owned: as in the file */
    struct bytes sizes;   /* owned: uint64_t of each tensor */
    uint64_t key_count;
    uint64_t tensor_count;
    uint64_t data_bytes; /* offset of the next tensor */
    enum err err;        /* first failure */

    /* After the header. */
    file_sink_f sink;
    void *context;
    uint64_t tensor;      /* in the writing */
    uint64_t tensor_done; /* bytes of it */
};

void gguf_write_init(struct gguf_write *w);
void gguf_write_fini(struct gguf_write *w);

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t value);
void gguf_write_f32(struct gguf_write *w, const char *key, float value);
void gguf_write_bool(struct gguf_write *w, const char *key, bool value);
void gguf_write_text(struct gguf_write *w, const char *key, struct text value);

/* Opens an array; `count` calls of the item function of its type must follow. */
void gguf_write_array(struct gguf_write *w, const char *key, enum gguf_type type, uint64_t count);
void gguf_write_item_text(struct gguf_write *w, struct text value);
void gguf_write_item_f32(struct gguf_write *w, float value);
void gguf_write_item_i32(struct gguf_write *w, int32_t value);
void gguf_write_item_u8(struct gguf_write *w, uint8_t value); /* GGUF_U8, GGUF_BOOL */

/* A key as it was read, type and all. */
void gguf_write_value(struct gguf_write *w, const struct gguf_value *value);

/* Declares a tensor; shape[0..rank) outermost first, rows in whole blocks. ERR_LIMIT (kept) for a
 * name beyond GGUF_NAME_BYTES_MAX - 1 or a rank beyond GGUF_RANK_MAX; ERR_SHAPE for broken blocks;
 * ERR_OVERFLOW. */
void gguf_write_tensor(struct gguf_write *w, struct text name, enum block_format format,
                       uint32_t rank, const uint64_t *shape);

/* Bytes of the whole file; valid once all tensors are declared. */
uint64_t gguf_write_size_bytes(const struct gguf_write *w);

/* Writes everything before the data; once more starts the file anew. Passes on the sink's error,
 * also below. */
MUST_CHECK enum err gguf_write_header(struct gguf_write *w, file_sink_f sink, void *context);

/* The next bytes of the tensors; padding between them is added. A piece may be any part of one
 * tensor; more than its rest is ERR_SHAPE. */
MUST_CHECK enum err gguf_write_data(struct gguf_write *w, struct span piece);

/* ERR_SHAPE when data is missing. */
MUST_CHECK enum err gguf_write_finish(struct gguf_write *w);

#endif
