/* model_ternary.c - one row at a time: its ternary numbers as bytes, then as the engine stores
 * them. */
#include "worker/engine/nn/model_ternary.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/quant/blocks.h"

enum {
    ROWS_A_BYTE = 4,
    BLOCK_ELEMENTS = 256, /* of TQ2_0 */
    BLOCK_CODES = 64,     /* bytes of codes, before the scale */
};

/* What a matrix is made from. */
struct ternary {
    const struct model_param *param;
    const struct safetensor *tensor;
    enum dtype dtype;     /* of masters */
    bool packed, masters; /* neither: the ternary numbers themselves */
    float inverse;        /* of masters: what they are multiplied with before rounding */
    float block_scale;    /* what 1 is in the data */
    float *row;           /* owned: (columns) decoded */
    uint8_t *codes;       /* owned: (columns) the ternary number plus 1 */
};

bool model_ternary_is(const struct model *model, const struct model_param *p)
{
    return strcmp(model->config.quant_method, "bitnet") == 0 && p->kind == MODEL_KIND_LINEAR &&
           family_role_in_layer(p->role);
}

static bool plain_dtype(enum safetensors_dtype from, enum dtype *out)
{
    static const enum dtype plain[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (strcmp(dtype_name(plain[i]), safetensors_dtype_name(from)) == 0) {
            *out = plain[i];
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

static void decode_row(const struct ternary *s, size_t row)
{
    size_t columns = s->param->columns;
    const uint8_t *data = s->tensor->data.data;
    dtype_decode(s->dtype, columns, data + dtype_span_bytes(s->dtype, row * columns), s->row);
}

/* Eight bytes at once: what a shift brings in from the neighbour is masked away. */
static uint64_t load8(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* The codes at bits `shift` of some bytes; false where one is none. */
static bool unpack(const uint8_t *bytes, unsigned shift, size_t count, uint8_t *codes)
{
    const uint64_t low = 0x0303030303030303u, ones = 0x0101010101010101u;
    uint64_t three = 0;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint64_t word = load8(bytes + i) >> shift & low;
        three |= word & word >> 1 & ones;
        memcpy(codes + i, &word, sizeof word);
    }
    for (; i < count; i++) {
        codes[i] = (uint8_t)(bytes[i] >> shift & 3);
        three |= codes[i] == 3;
    }
    return three == 0;
}

/* The codes of a row; false where a packed one is none, or a number is not ternary. */
static bool read_codes(const struct ternary *s, size_t row)
{
    size_t columns = s->param->columns, block = s->param->rows / ROWS_A_BYTE;
    if (!s->packed) {
        bool good = true;
        decode_row(s, row);
        for (size_t i = 0; i < columns; i++) { /* halves go to the even number, which is 0 */
            float value = s->row[i] * s->inverse;
            s->codes[i] = (uint8_t)(1 + (value > 0.5f) - (value < -0.5f));
            good = good && (s->masters || value == (float)s->codes[i] - 1);
        }
        return good;
    }
    const uint8_t *bytes = (const uint8_t *)s->tensor->data.data + row % block * columns;
    return unpack(bytes, 2 * (unsigned)(row / block), columns, s->codes);
}

/* 1 / the mean of all absolute values, as the reference rounds it. ERR_FORMAT: one is not finite.
 */
static enum err inverse_of_mean(const struct ternary *s, float *out, struct err_text *et)
{
    double sum = 0;
    for (size_t row = 0; row < s->param->rows; row++) {
        decode_row(s, row);
        for (size_t i = 0; i < s->param->columns; i++)
            sum += fabs((double)s->row[i]);
    }
    double mean = sum / ((double)s->param->rows * (double)s->param->columns);
    if (!(mean - mean == 0))
        return error_set(et, ERR_FORMAT, "tensor %s: a weight is not finite", s->param->name);
    *out = 1.0f / MAX((float)mean, 1e-5f);
    return ERR_OK;
}

/* ---- storing ---- */

/* TQ2_0: of each 128 elements byte m holds elements m, m + 32, m + 64, m + 96, lowest bits first.
 */
static void store_block(const uint8_t *codes, float scale, uint8_t *block)
{
    for (size_t half = 0; half < 2; half++) {
        const uint8_t *at = codes + half * 128;
        for (size_t i = 0; i < 32; i += 8) {
            uint64_t word = load8(at + i) | load8(at + i + 32) << 2 | load8(at + i + 64) << 4 |
                            load8(at + i + 96) << 6;
            memcpy(block + half * 32 + i, &word, sizeof word);
        }
    }
    block_encode(DTYPE_F16, 1, 1, &scale, NULL, block + BLOCK_CODES);
}

static void store_row(const struct ternary *s, enum dtype dtype, size_t row, uint8_t *data)
{
    size_t columns = s->param->columns;
    uint8_t *at = data + dtype_span_bytes(dtype, row * columns);
    if (dtype != DTYPE_TQ2_0) {
        for (size_t i = 0; i < columns; i++)
            s->row[i] = (float)(s->codes[i] - 1) * s->block_scale;
        block_encode(dtype, 1, columns, s->row, NULL, at);
        return;
    }
    for (size_t i = 0; i < columns; i += BLOCK_ELEMENTS)
        store_block(s->codes + i, s->block_scale, at + dtype_span_bytes(dtype, i));
}

/* A scale that f16 holds goes into the data, where GGUF files have it: then both forms of a model
 * give the same bits. Returns the type of the data. */
static enum dtype settle_scale(struct ternary *s, struct model_param *p)
{
    uint16_t half;
    float rounded = 0;
    block_encode(DTYPE_F16, 1, 1, &p->scale, NULL, &half);
    dtype_decode(DTYPE_F16, 1, &half, &rounded);
    bool fits = !(rounded < p->scale || rounded > p->scale);
    s->block_scale = fits ? p->scale : 1;
    p->scale = fits ? 1 : p->scale;
    return p->columns % BLOCK_ELEMENTS == 0 ? DTYPE_TQ2_0 : fits ? DTYPE_F16 : DTYPE_BF16;
}

static enum err convert(struct model *model, struct model_param *p, struct ternary *s,
                        struct err_text *et)
{
    enum dtype dtype = settle_scale(s, p);
    uint8_t *data = arena_alloc(&model->arena, dtype_span_bytes(dtype, p->rows * p->columns), 1);
    if (data == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t row = 0; row < p->rows; row++) {
        if (!read_codes(s, row))
            return error_set(et, ERR_FORMAT, "tensor %s, row %zu: a %snumber is not ternary",
                             p->name, row, s->packed ? "packed " : "");
        store_row(s, dtype, row, data);
    }
    p->dtype = dtype;
    p->data = data;
    return ERR_OK;
}

/* ---- choosing ---- */

/* weight_scale, which the product is multiplied with, or divided by in class bitlinear. */
static enum err read_scale(const struct model *model, const struct model_param *p,
                           const struct safetensor *scale, float *out, struct err_text *et)
{
    enum dtype dtype = DTYPE_F32;
    if (scale == NULL)
        return error_set(et, ERR_NOT_FOUND,
                         "tensor %s: expected its weight_scale beside it, by quantization_config",
                         p->name);
    if (!plain_dtype(scale->dtype, &dtype) || safetensors_element_count(scale) != 1)
        return error_set(et, ERR_SHAPE, "tensor %s: expected one F32, F16 or BF16 number",
                         scale->name.data);
    dtype_decode(dtype, 1, scale->data.data, out);
    if (strcmp(model->config.quant_linear_class, "autobitlinear") != 0)
        *out = 1 / *out;
    if (!(*out - *out == 0) || !(*out > 0 || *out < 0))
        return error_set(et, ERR_FORMAT, "tensor %s: expected a finite number other than 0",
                         scale->name.data);
    return ERR_OK;
}

static enum err check_tensor(const struct model_param *p, const struct safetensor *t,
                             struct ternary *s, struct err_text *et)
{
    s->packed = t->dtype == SAFETENSORS_U8;
    uint64_t rows = s->packed ? p->rows / ROWS_A_BYTE : p->rows;
    if (s->packed && p->rows % ROWS_A_BYTE != 0)
        return error_set(et, ERR_SHAPE, "tensor %s: %zu rows cannot be packed by four",
                         t->name.data, p->rows);
    if (!s->packed && !plain_dtype(t->dtype, &s->dtype))
        return error_set(et, ERR_UNSUPPORTED, "tensor %s: type %s; expected U8, F32, F16 or BF16",
                         t->name.data, safetensors_dtype_name(t->dtype));
    if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != p->columns)
        return error_set(et, ERR_SHAPE,
                         "tensor %s: expected %" PRIu64 " x %zu by config.json, found rank %" PRIu32
                         ", %" PRIu64 " x %" PRIu64,
                         t->name.data, rows, p->columns, t->rank, t->shape[0],
                         t->rank > 1 ? t->shape[1] : 1);
    return ERR_OK;
}

enum err model_ternary_take(struct model *model, struct model_param *p,
                            const struct safetensor *weight, const struct safetensor *scale,
                            struct err_text *et)
{
    struct ternary s = {.param = p, .tensor = weight, .dtype = DTYPE_F32, .inverse = 1};
    enum err err;
    p->rounds_input = true;
    TRY(check_tensor(p, weight, &s, et));
    s.masters = !s.packed && strcmp(model->config.quant_mode, "online") == 0;
    if (!s.masters)
        TRY(read_scale(model, p, scale, &p->scale, et));
    s.row = mem_alloc(p->columns, sizeof *s.row);
    s.codes = mem_alloc(p->columns, sizeof *s.codes);
    if (s.row == NULL || s.codes == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    if (s.masters) {
        TRY_OUT(inverse_of_mean(&s, &s.inverse, et));
        p->scale = 1.0f / s.inverse;
        p->masters = weight->data.data;
        p->file_dtype = s.dtype;
    }
    TRY_OUT(convert(model, p, &s, et));
out:
    mem_free(s.row);
    mem_free(s.codes);
    return err;
}
