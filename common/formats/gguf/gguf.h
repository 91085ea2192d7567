/* gguf.h - a GGUF file (or the files of a split one), read: typed keys and named tensors.
 *
 *   | "GGUF" | u32 version | u64 tensors | u64 keys | keys | tensor table | padding | data |
 *   key:    text (u64 length, bytes), u32 type, value; an array is u32 type, u64 count, items
 *   tensor: text, u32 rank, u64 extents (innermost first), u32 format, u64 offset in the data
 *
 * Versions 2 and 3, little-endian. Everything is checked before the first tensor is handed out:
 * counts and lengths against the file before memory is asked for, types, alignment, whole blocks,
 * no name twice, no two tensors over the same bytes, none beyond the file. Texts and tensor data
 * stay where they are mapped.
 * A split model (NAME-00001-of-00003.gguf) is opened by its first file; keys are those of the
 * first, tensors those of all.
 * Refuses to know: what keys and tensors mean.
 *
 * Source: ggml docs/gguf.md.
 */
#ifndef COMMON_FORMATS_GGUF_GGUF_H
#define COMMON_FORMATS_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/gguf/block_format.h"
#include "common/formats/source/source.h"
#include "common/mem/arena.h"

enum {
    GGUF_RANK_MAX = 4,
    GGUF_KEYS_MAX = 1 << 16,
    GGUF_TENSORS_MAX = 1 << 20,
    GGUF_FILES_MAX = 1024,
    GGUF_KEY_BYTES_MAX = 65535,
    GGUF_NAME_BYTES_MAX = 64, /* of a tensor */
    GGUF_ALIGNMENT = 32       /* where general.alignment is not given */
};

/* Types of values, in the order of their numbers: name, bytes of one. */
#define GGUF_TYPE_ROWS(ROW)                                                                        \
    ROW(U8, 1)                                                                                     \
    ROW(I8, 1)                                                                                     \
    ROW(U16, 2)                                                                                    \
    ROW(I16, 2)                                                                                    \
    ROW(U32, 4)                                                                                    \
    ROW(I32, 4)                                                                                    \
    ROW(F32, 4)                                                                                    \
    ROW(BOOL, 1)                                                                                   \
    ROW(TEXT, 0)                                                                                   \
    ROW(ARRAY, 0)                                                                                  \
    ROW(U64, 8)                                                                                    \
    ROW(I64, 8)                                                                                    \
    ROW(F64, 8)

enum gguf_type {
#define GGUF_TYPE_ENUM(name, size_bytes) GGUF_##name,
    GGUF_TYPE_ROWS(GGUF_TYPE_ENUM)
#undef GGUF_TYPE_ENUM
        GGUF_TYPE_COUNT
};

/* A key with its value. A plain value is an array of one: `type` is that of the items. */
struct gguf_value {
    struct text key; /* not terminated, as all texts here */
    enum gguf_type type;
    bool is_array;
    uint64_t count;           /* of items */
    struct span data;         /* numbers and bools: the items, little-endian, any alignment */
    const struct text *texts; /* GGUF_TEXT: [count] */
};

struct gguf_tensor {
    struct text name;
    enum block_format format;
    uint32_t rank;                 /* 0: a single element */
    uint64_t shape[GGUF_RANK_MAX]; /* outermost first, the reverse of the file's */
    struct span data;              /* row-major blocks */
};

/* Read-only for callers; everything in it is valid until gguf_close. */
struct gguf {
    const char *name; /* of the (first) file, for messages */
    uint32_t version;
    struct gguf_value *values; /* in the order of the file */
    size_t value_count;
    struct gguf_tensor *tensors; /* in the order of the file, or files */
    size_t tensor_count;
    const struct gguf_value **values_by_key;    /* sorted by bytes of the key */
    const struct gguf_tensor **tensors_by_name; /* sorted by bytes of the name */
    struct arena arena;                         /* owned: tables */
    struct source source;                       /* owned: the file */
    struct gguf *parts;                         /* owned: further files of a split model */
    size_t part_count;
};

/* Opens `path`, and the files beside it where it is the first of several. ERR_NOT_FOUND,
 * ERR_DENIED, ERR_IO; ERR_TRUNCATED when the file ends before its tables or tensors do;
 * ERR_FORMAT, ERR_UNSUPPORTED (version, byte order, tensor format), ERR_LIMIT, ERR_OVERFLOW with
 * the file, the key or tensor, expected and found in `et`. On failure *gguf is untouched. */
MUST_CHECK enum err gguf_open(struct gguf *gguf, const char *path, struct err_text *et);

/* One file in memory, which must outlive *gguf; `name` is for messages. A part of a split model is
 * read as it is. */
MUST_CHECK enum err gguf_parse(struct gguf *gguf, struct span content, const char *name,
                               struct err_text *et);

/* Gives back the memory of a tensor's data for now: source_drop of the file that has it. */
void gguf_drop(const struct gguf *gguf, struct span data);

/* A zeroed or closed object is allowed. */
void gguf_close(struct gguf *gguf);

/* Whether the content starts as a GGUF file does. */
bool gguf_recognise(struct span content);

/* NULL when there is none. */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, struct text name);

/* Product of the shape. */
uint64_t gguf_element_count(const struct gguf_tensor *tensor);

/* Item `index` < count of a value of whole numbers or bools (U64 above the range reads as
 * INT64_MAX); of a value of any numbers. */
int64_t gguf_item_i64(const struct gguf_value *value, uint64_t index);
double gguf_item_f64(const struct gguf_value *value, uint64_t index);

/* Keys that must be there, as plain values of the kind. ERR_FORMAT with file, key, expected and
 * found. Whole numbers of any width are taken for integers and within [min, max]; whole numbers
 * and floats for f64. */
MUST_CHECK enum err gguf_text(const struct gguf *gguf, const char *key, struct text *out,
                              struct err_text *et);
MUST_CHECK enum err gguf_i64(const struct gguf *gguf, const char *key, int64_t min, int64_t max,
                             int64_t *out, struct err_text *et);
MUST_CHECK enum err gguf_f64(const struct gguf *gguf, const char *key, double *out,
                             struct err_text *et);

/* The same for keys that may be missing: then *out stays as it is and *found (may be NULL) is
 * false. A wrong type is an error all the same. */
MUST_CHECK enum err gguf_opt_text(const struct gguf *gguf, const char *key, struct text *out,
                                  bool *found, struct err_text *et);
MUST_CHECK enum err gguf_opt_bool(const struct gguf *gguf, const char *key, bool *out, bool *found,
                                  struct err_text *et);
MUST_CHECK enum err gguf_opt_i64(const struct gguf *gguf, const char *key, int64_t min, int64_t max,
                                 int64_t *out, bool *found, struct err_text *et);
MUST_CHECK enum err gguf_opt_f64(const struct gguf *gguf, const char *key, double *out, bool *found,
                                 struct err_text *et);

/* An array of the kind (GGUF_TEXT: texts; GGUF_I64: whole numbers of any width; GGUF_F64: numbers),
 * *out NULL when it is missing. */
MUST_CHECK enum err gguf_opt_array(const struct gguf *gguf, const char *key, enum gguf_type kind,
                                   const struct gguf_value **out, struct err_text *et);

/* Reports that `key` is not what its reader wants: "file: key: expected ..., found ...". Returns
 * ERR_FORMAT. `expected` is a phrase. */
enum err gguf_wrong(const struct gguf *gguf, const char *key, const char *expected,
                    struct err_text *et);

#endif
