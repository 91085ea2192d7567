/* compressed_linear.c - names, shapes and bytes of a layer's tensors, both ways. */
#include "common/formats/compressed_tensors/compressed_linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/compressed_tensors/packed_int.h"
#include "common/formats/convert/convert_float.h"

enum { NAME_BYTES = 512 };

static bool packs_zeros(const struct quant_scheme *scheme)
{
    return scheme->layout == QUANT_SCHEME_PACKED &&
           (scheme->strategy == QUANT_SCHEME_GROUP || scheme->strategy == QUANT_SCHEME_CHANNEL);
}

static enum block_format float_format(enum safetensors_dtype dtype)
{
    enum block_format format = BLOCK_FORMAT_F32;
    ASSERT(convert_float_format_of(dtype, &format));
    return format;
}

static bool is_scale_dtype(enum safetensors_dtype dtype)
{
    enum block_format format = BLOCK_FORMAT_F32;
    return convert_float_format_of(dtype, &format);
}

/* ---- the list ---- */

/* What a layer's tensors are to be: for writing the list, for reading the expectation. */
struct layout {
    uint64_t down, across;
    enum safetensors_dtype codes, zeros;
    const char *codes_name;
    uint64_t code_columns;
    uint32_t cell_rank;
    uint64_t cell_shape[2], zero_shape[2];
};

static enum err layout_of(const struct compressed_linear *linear, const char *module,
                          struct layout *out, struct err_text *et)
{
    const struct quant_scheme *s = &linear->scheme;
    if (s->bits < QUANT_SCHEME_BITS_MIN || s->bits > QUANT_SCHEME_BITS_MAX)
        return error_set(et, ERR_UNSUPPORTED, "%s: %u bits a weight; expected %d to %d", module,
                         s->bits, QUANT_SCHEME_BITS_MIN, QUANT_SCHEME_BITS_MAX);
    struct layout l = {.codes = SAFETENSORS_I8, .zeros = SAFETENSORS_I8, .codes_name = "weight"};
    if (!quant_scheme_cells(s, linear->rows, linear->columns, &l.down, &l.across))
        return s->strategy == QUANT_SCHEME_BLOCK
                   ? error_set(et, ERR_SHAPE,
                               "%s: a matrix of %" PRIu64 " x %" PRIu64
                               " is not whole blocks of %" PRIu32 " rows by %" PRIu32 " columns",
                               module, linear->rows, linear->columns, s->block_rows, s->group_size)
                   : error_set(et, ERR_SHAPE,
                               "%s: a matrix of %" PRIu64 " x %" PRIu64
                               " is not whole groups of %" PRIu32 " columns; give a group_size "
                               "that divides them, or ignore the layer",
                               module, linear->rows, linear->columns, s->group_size);
    l.code_columns = linear->columns;
    if (s->layout == QUANT_SCHEME_PACKED) {
        l.codes = SAFETENSORS_I32;
        l.codes_name = "weight_packed";
        l.code_columns = packed_int_words(s->bits, linear->columns);
    }
    l.cell_rank = s->strategy == QUANT_SCHEME_TENSOR ? 1 : 2;
    l.cell_shape[0] = l.zero_shape[0] = l.down;
    l.cell_shape[1] = l.zero_shape[1] = l.cell_rank == 1 ? 0 : l.across;
    if (packs_zeros(s)) {
        l.zeros = SAFETENSORS_I32;
        l.zero_shape[0] = packed_int_words(s->bits, l.down);
    }
    *out = l;
    return ERR_OK;
}

/* Adds "module.what" to the list. */
static enum err add(struct compressed_linear_tensors *list, struct arena *arena, const char *module,
                    const char *what, const struct safetensor *tensor)
{
    struct safetensor t = *tensor;
    const char *name = arena_print(arena, "%s.%s", module, what);
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    t.name = text_of(name);
    t.data.size = safetensors_dtype_size_bytes(t.dtype);
    for (uint32_t i = 0; i < t.rank; i++)
        t.data.size *= (size_t)t.shape[i];
    list->tensors[list->count++] = t;
    return ERR_OK;
}

enum err compressed_linear_list(const struct compressed_linear *linear, const char *module,
                                struct arena *arena, struct compressed_linear_tensors *out,
                                struct err_text *et)
{
    struct layout l;
    struct compressed_linear_tensors list = {.count = 0};
    if (!is_scale_dtype(linear->scale_dtype))
        return error_set(et, ERR_UNSUPPORTED, "%s: scales of type %s; expected F32, F16 or BF16",
                         module, safetensors_dtype_name(linear->scale_dtype));
    TRY(layout_of(linear, module, &l, et));
    const struct safetensor codes = {
        .dtype = l.codes, .rank = 2, .shape = {linear->rows, l.code_columns}};
    const struct safetensor scales = {.dtype = linear->scale_dtype,
                                      .rank = l.cell_rank,
                                      .shape = {l.cell_shape[0], l.cell_shape[1]}};
    const struct safetensor zeros = {
        .dtype = l.zeros, .rank = l.cell_rank, .shape = {l.zero_shape[0], l.zero_shape[1]}};
    const struct safetensor shape = {.dtype = SAFETENSORS_I64, .rank = 1, .shape = {2}};
    const struct safetensor input = {.dtype = linear->scale_dtype, .rank = 1, .shape = {1}};
    TRY(add(&list, arena, module, l.codes_name, &codes));
    TRY(add(&list, arena, module, "weight_scale", &scales));
    if (!linear->scheme.symmetric)
        TRY(add(&list, arena, module, "weight_zero_point", &zeros));
    if (linear->scheme.layout == QUANT_SCHEME_PACKED)
        TRY(add(&list, arena, module, "weight_shape", &shape));
    if (linear->scheme.input == QUANT_SCHEME_INPUT_STATIC)
        TRY(add(&list, arena, module, "input_scale", &input));
    *out = list;
    return ERR_OK;
}

/* ---- writing ---- */

static void encode_floats(enum safetensors_dtype dtype, size_t count, const float *from,
                          uint8_t *out)
{
    enum block_format format = float_format(dtype);
    ASSERT(convert_float_holds(format, count, from));
    convert_float_encode(format, count, from, out);
}

static void encode_zeros(const struct compressed_linear *linear, const struct layout *l,
                         const int8_t *zeros, uint8_t *out)
{
    size_t down = (size_t)l->down, across = (size_t)l->across;
    unsigned bits = linear->scheme.bits;
    if (l->zeros == SAFETENSORS_I8) {
        memcpy(out, zeros, down * across);
        return;
    }
    /* Word w of a column of cells lies in row w: packed into a column apart, then laid out. */
    size_t words = packed_int_words(bits, down);
    uint8_t word[4 * QUANT_SCHEME_BITS_MAX];
    for (size_t column = 0; column < across; column++) {
        for (size_t first = 0, at = 0; first < down; first += 32) {
            size_t count = MIN(down - first, (size_t)32), here = packed_int_words(bits, count);
            packed_int_encode(bits, count, zeros + first * across + column, across, word);
            for (size_t w = 0; w < here; w++, at++)
                memcpy(out + 4 * (at * across + column), word + 4 * w, 4);
            ASSERT(at <= words);
        }
    }
}

static void encode_codes(const struct compressed_linear *linear, const struct layout *l,
                         const int8_t *codes, uint8_t *out)
{
    size_t rows = (size_t)linear->rows, columns = (size_t)linear->columns;
    if (l->codes == SAFETENSORS_I8) {
        memcpy(out, codes, rows * columns);
        return;
    }
    for (size_t row = 0; row < rows; row++)
        packed_int_encode(linear->scheme.bits, columns, codes + row * columns, 1,
                          out + row * 4 * (size_t)l->code_columns);
}

static void encode_shape(const struct compressed_linear *linear, uint8_t *out)
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(linear->rows >> 8 * i);
        out[8 + i] = (uint8_t)(linear->columns >> 8 * i);
    }
}

static bool ends_in(struct text name, const char *end)
{
    size_t size = strlen(end);
    return name.size > size && memcmp(name.data + name.size - size, end, size) == 0;
}

enum err compressed_linear_encode(const struct compressed_linear *linear, const char *module,
                                  const struct compressed_linear_values *values,
                                  struct arena *arena, struct compressed_linear_tensors *out,
                                  struct err_text *et)
{
    struct compressed_linear_tensors list;
    struct layout l;
    TRY(compressed_linear_list(linear, module, arena, &list, et));
    TRY(layout_of(linear, module, &l, et));
    for (size_t i = 0; i < list.count; i++) {
        struct safetensor *t = &list.tensors[i];
        uint8_t *data = arena_alloc(arena, t->data.size, 1);
        if (data == NULL)
            return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", module);
        if (i == 0)
            encode_codes(linear, &l, values->codes, data);
        else if (ends_in(t->name, ".weight_scale"))
            encode_floats(t->dtype, (size_t)(l.down * l.across), values->scales, data);
        else if (ends_in(t->name, ".weight_zero_point"))
            encode_zeros(linear, &l, values->zeros, data);
        else if (ends_in(t->name, ".weight_shape"))
            encode_shape(linear, data);
        else
            encode_floats(t->dtype, 1, &values->input_scale, data);
        t->data.data = data;
    }
    *out = list;
    return ERR_OK;
}

/* ---- reading ---- */

static const struct safetensor *find(const struct safetensors *files, const char *module,
                                     const char *what, char name[NAME_BYTES])
{
    int size = snprintf(name, NAME_BYTES, "%s.%s", module, what);
    return size > 0 && size < NAME_BYTES ? safetensors_find(files, text_of(name)) : NULL;
}

bool compressed_linear_is(const struct safetensors *files, const char *module)
{
    char name[NAME_BYTES];
    const struct safetensor *weight = find(files, module, "weight", name);
    return (weight != NULL && weight->dtype == SAFETENSORS_I8) ||
           find(files, module, "weight_packed", name) != NULL;
}

/* "rank 2, 5 x 7" */
static void print_shape(uint32_t rank, const uint64_t *shape, char *out, size_t size)
{
    int used = snprintf(out, size, "rank %" PRIu32, rank);
    for (uint32_t i = 0; i < rank && used > 0 && (size_t)used < size; i++)
        used += snprintf(out + used, size - (size_t)used, i == 0 ? ", %" PRIu64 : " x %" PRIu64,
                         shape[i]);
}

static enum err check_shape(const struct safetensor *t, uint32_t rank, const uint64_t *shape,
                            struct err_text *et)
{
    char expected[128], found[256];
    if (t->rank == rank && memcmp(t->shape, shape, rank * sizeof *shape) == 0)
        return ERR_OK;
    print_shape(rank, shape, expected, sizeof expected);
    print_shape(t->rank, t->shape, found, sizeof found);
    return error_set(et, ERR_SHAPE, "tensor %s: expected %s by quantization_config, found %s",
                     t->name.data, expected, found);
}

/* The tensor with its type and shape checked. `dtype` SAFETENSORS_DTYPE_COUNT: a type of scales. */
static enum err take(const struct safetensors *files, const char *module, const char *what,
                     const struct safetensor *expected, const struct safetensor **out,
                     struct err_text *et)
{
    char name[NAME_BYTES];
    const struct safetensor *t = find(files, module, what, name);
    if (t == NULL)
        return error_set(et, ERR_NOT_FOUND,
                         "tensor %s.%s: expected by quantization_config, found no such tensor",
                         module, what);
    bool any_float = expected->dtype == SAFETENSORS_DTYPE_COUNT;
    if (any_float ? !is_scale_dtype(t->dtype) : t->dtype != expected->dtype)
        return error_set(et, ERR_UNSUPPORTED, "tensor %s: expected type %s, found %s", t->name.data,
                         any_float ? "F32, F16 or BF16" : safetensors_dtype_name(expected->dtype),
                         safetensors_dtype_name(t->dtype));
    TRY(check_shape(t, expected->rank, expected->shape, et));
    *out = t;
    return ERR_OK;
}

static enum err check_scales(const struct safetensor *t, struct err_text *et)
{
    enum block_format format = float_format(t->dtype);
    size_t count = (size_t)safetensors_element_count(t), size = block_format_bytes(format);
    for (size_t i = 0; i < count; i++) {
        float scale;
        convert_float_decode(format, 1, t->data.data + i * size, &scale);
        if (!(scale > 0 && scale - scale == 0))
            return error_set(et, ERR_FORMAT,
                             "tensor %s: element %zu: expected a finite scale above 0, found %g",
                             t->name.data, i, (double)scale);
    }
    return ERR_OK;
}

static uint64_t u64_at(const uint8_t *from)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

/* weight_shape says the same as config.json. */
static enum err check_said_shape(const struct safetensors *files, const char *module,
                                 const struct compressed_linear *linear, struct err_text *et)
{
    const struct safetensor expected = {.dtype = SAFETENSORS_I64, .rank = 1, .shape = {2}}, *t;
    TRY(take(files, module, "weight_shape", &expected, &t, et));
    uint64_t rows = u64_at(t->data.data), columns = u64_at(t->data.data + 8);
    if (rows != linear->rows || columns != linear->columns)
        return error_set(et, ERR_SHAPE,
                         "tensor %s: expected %" PRIu64 " x %" PRIu64
                         " by config.json, found %" PRIu64 " x %" PRIu64,
                         t->name.data, linear->rows, linear->columns, rows, columns);
    return ERR_OK;
}

static enum err take_input(const struct safetensors *files, const char *module,
                           struct compressed_linear_view *v, struct err_text *et)
{
    const struct safetensor expected = {.dtype = SAFETENSORS_DTYPE_COUNT, .rank = 1, .shape = {1}};
    const struct safetensor *t = NULL;
    TRY(take(files, module, "input_scale", &expected, &t, et));
    TRY(check_scales(t, et));
    convert_float_decode(float_format(t->dtype), 1, t->data.data, &v->input_scale);
    return ERR_OK;
}

/* Columns of a file with weight_g_idx belong to groups in another order than they lie in. */
static enum err check_order(const struct safetensors *files, const char *module,
                            struct err_text *et)
{
    char name[NAME_BYTES];
    if (find(files, module, "weight_g_idx", name) == NULL)
        return ERR_OK;
    return error_set(et, ERR_UNSUPPORTED,
                     "tensor %s: groups of reordered columns (actorder: group) are not supported",
                     name);
}

enum err compressed_linear_find(const struct safetensors *files, const char *module,
                                const struct quant_scheme *scheme, uint64_t rows, uint64_t columns,
                                struct compressed_linear_view *view, struct err_text *et)
{
    struct compressed_linear_view v = {.linear = {*scheme, rows, columns, SAFETENSORS_F32}};
    struct layout l;
    TRY(layout_of(&v.linear, module, &l, et));
    TRY(check_order(files, module, et));
    const struct safetensor codes = {.dtype = l.codes, .rank = 2, .shape = {rows, l.code_columns}};
    struct safetensor cells = {.dtype = SAFETENSORS_DTYPE_COUNT,
                               .rank = l.cell_rank,
                               .shape = {l.cell_shape[0], l.cell_shape[1]}};
    const struct safetensor *t = NULL;
    TRY(take(files, module, l.codes_name, &codes, &t, et));
    v.codes = t->data;
    TRY(take(files, module, "weight_scale", &cells, &t, et));
    TRY(check_scales(t, et));
    v.scales = t->data;
    v.linear.scale_dtype = t->dtype;
    if (!scheme->symmetric) {
        const struct safetensor zeros = {
            .dtype = l.zeros, .rank = l.cell_rank, .shape = {l.zero_shape[0], l.zero_shape[1]}};
        TRY(take(files, module, "weight_zero_point", &zeros, &t, et));
        v.zeros = t->data;
        v.packed_zeros = l.zeros == SAFETENSORS_I32;
    }
    if (scheme->layout == QUANT_SCHEME_PACKED)
        TRY(check_said_shape(files, module, &v.linear, et));
    if (scheme->input == QUANT_SCHEME_INPUT_STATIC)
        TRY(take_input(files, module, &v, et));
    *view = v;
    return ERR_OK;
}

void compressed_linear_codes(const struct compressed_linear_view *view, uint64_t row, int8_t *codes)
{
    const struct compressed_linear *linear = &view->linear;
    size_t columns = (size_t)linear->columns;
    ASSERT(row < linear->rows);
    if (linear->scheme.layout == QUANT_SCHEME_INT) {
        memcpy(codes, view->codes.data + (size_t)row * columns, columns);
        return;
    }
    size_t words = packed_int_words(linear->scheme.bits, columns);
    packed_int_decode(linear->scheme.bits, columns, view->codes.data + (size_t)row * 4 * words, 1,
                      codes);
}

/* Element `line` of a column that is packed along the rows. */
static int8_t packed_zero(const struct compressed_linear_view *view, size_t line, size_t column,
                          size_t across)
{
    unsigned bits = view->linear.scheme.bits;
    size_t first = line / 32 * 32, word = line / 32 * bits;
    int8_t codes[32];
    packed_int_decode(bits, line - first + 1, view->zeros.data + 4 * (word * across + column),
                      across, codes);
    return codes[line - first];
}

void compressed_linear_cells(const struct compressed_linear_view *view, uint64_t row, float *scales,
                             int8_t *zeros)
{
    const struct compressed_linear *linear = &view->linear;
    uint64_t down = 0, across = 0;
    ASSERT(row < linear->rows &&
           quant_scheme_cells(&linear->scheme, linear->rows, linear->columns, &down, &across));
    size_t line = (size_t)(row / (linear->rows / down)), width = (size_t)across;
    enum block_format format = float_format(linear->scale_dtype);
    convert_float_decode(format, width,
                         view->scales.data + line * width * block_format_bytes(format), scales);
    for (size_t column = 0; column < width; column++) {
        if (view->zeros.data == NULL)
            zeros[column] = 0;
        else if (view->packed_zeros)
            zeros[column] = packed_zero(view, line, column, width);
        else
            zeros[column] = (int8_t)view->zeros.data[line * width + column];
    }
}
