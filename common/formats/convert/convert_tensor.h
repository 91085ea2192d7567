/* convert_tensor.h - one tensor on its way from a format to another, row by row.
 *
 * A tensor is seen as rows of `columns` elements (a vector: rows of one). Nothing but a few rows is
 * held in memory; a tensor that changes neither type nor place is passed on as it lies.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_TENSOR_H
#define COMMON_FORMATS_CONVERT_CONVERT_TENSOR_H

#include "common/formats/convert/convert_float.h"
#include "common/formats/convert/convert_name.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/source/file.h"

/* Ternary numbers in a byte of BitNet's packed matrices: of rows r, r + R/4, ... of R. */
enum { CONVERT_CODES_A_BYTE = 4 };

/* Where a row of the result comes from. H heads, G of them for keys, D rows each. */
enum convert_order {
    CONVERT_ORDER_SAME,
    CONVERT_ORDER_PAIRS,  /* in each head, halves i and i + D/2 become neighbours: llama's q and k
                             on the way to GGUF */
    CONVERT_ORDER_HALVES, /* and back */
    CONVERT_ORDER_SPLIT,  /* for each key its queries, itself, its value: all q, all k, all v;
                             Falcon on the way to GGUF */
    CONVERT_ORDER_GROUPS, /* and back */
    CONVERT_ORDER_TURNED, /* rows become columns: GPT-2, both ways */
};

/* What else happens to the elements. */
enum convert_change {
    CONVERT_CHANGE_NONE,
    CONVERT_CHANGE_ADD,     /* out = in + addend */
    CONVERT_CHANGE_SCALE,   /* out = in * scale */
    CONVERT_CHANGE_UNPACK,  /* four 2-bit codes a byte, rows r, r + R/4, ...: (code - 1) * scale */
    CONVERT_CHANGE_PACK,    /* the reverse: in is -scale, 0 or scale */
    CONVERT_CHANGE_TERNARY, /* clip(round(in / scale), -1, 1) * scale */
};

/* Decodes `count` elements of a block format; what a caller who has kernels may give. */
typedef void (*convert_decode_f)(enum block_format format, size_t count, const void *from,
                                 float *out);

/* Encodes a matrix of finite numbers into blocks; importance: (columns) or NULL. */
typedef void (*convert_encode_f)(void *context, enum block_format format, size_t rows,
                                 size_t columns, const float *x, const float *importance,
                                 void *out);

struct convert_encoder {
    convert_encode_f encode;
    convert_decode_f decode;
    void *context;
};

struct convert_tensor {
    char name[CONVERT_NAME_BYTES]; /* of the result */
    struct convert_place place;
    bool is_made;  /* from the config: no place */
    bool is_given; /* `out` is what a switch, an exception or a choice says, not a mix's rule */
    uint32_t rank;
    uint64_t shape[GGUF_RANK_MAX]; /* of the result */
    size_t rows;                   /* of the result */
    size_t columns;
    struct span data;      /* borrowed: the source, row-major */
    enum block_format in;  /* of the source; of packed codes BLOCK_FORMAT_COUNT */
    enum block_format out; /* of packed codes BLOCK_FORMAT_COUNT */
    enum convert_order order;
    uint32_t heads;
    uint32_t kv_heads;
    enum convert_change change;
    float addend;
    float scale;
    convert_decode_f decode;               /* for an `in` that is not plain */
    const struct convert_encoder *encoder; /* borrowed: for an `out` that is not plain */
    const float *importance;               /* borrowed: [columns], or NULL */
};

/* Bytes of the result. */
uint64_t convert_tensor_size_bytes(const struct convert_tensor *tensor);

/* Sends the result. ERR_OUT_OF_MEMORY, the sink's errors. */
MUST_CHECK enum err convert_tensor_write(const struct convert_tensor *tensor, file_sink_f sink,
                                         void *context);

/* Row `row` of the result as [columns] numbers; not of packed codes. */
void convert_tensor_row(const struct convert_tensor *tensor, size_t row, float *out);

/* max |x| and the sum of |x| over a tensor of a plain format. */
struct convert_range {
    double sum;
    float max;
    bool is_ternary; /* every value is -max, 0 or max */
};
struct convert_range convert_tensor_range(struct span data, enum block_format format);

#endif
