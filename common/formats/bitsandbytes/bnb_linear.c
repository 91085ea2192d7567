/* bnb_linear.c - a layer's tensors made, found and checked. */
#include "common/formats/bitsandbytes/bnb_linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_float.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"

enum { NAME_BYTES = 512, STATE_BYTES_MAX = 4096, BLOCK_MIN = 32, BLOCK_MAX = 4096 };

static const char *dtype_text(enum safetensors_dtype dtype)
{
    return dtype == SAFETENSORS_BF16  ? "bfloat16"
           : dtype == SAFETENSORS_F16 ? "float16"
                                      : "float32";
}

/* ---- writing ---- */

/* A list in the making. */
struct maker {
    const struct bnb_linear *linear;
    const char *module;
    struct arena *arena;
    struct bnb_linear_tensors list;
};

/* Adds "module.weight" + `what`; a second size of 0 is none. The data, NULL: new memory. */
static enum err add(struct maker *m, const char *what, enum safetensors_dtype dtype, uint64_t size,
                    uint64_t second, void **data)
{
    struct safetensor t = {.dtype = dtype, .rank = second != 0 ? 2 : 1, .shape = {size, second}};
    const char *name = arena_print(m->arena, "%s.weight%s", m->module, what);
    t.data.size = (size_t)size * safetensors_dtype_size_bytes(dtype);
    if (*data == NULL)
        *data = arena_alloc(m->arena, t.data.size, 1);
    if (name == NULL || *data == NULL)
        return ERR_OUT_OF_MEMORY;
    t.name = text_of(name);
    t.data.data = *data;
    m->list.tensors[m->list.count++] = t;
    return ERR_OK;
}

/* Replaces the scales by codes, and adds the tensors of these. */
static enum err add_nested(struct maker *m, size_t blocks, float *absmax, float *offset)
{
    void *codes = NULL, *scales = NULL, *levels = NULL;
    size_t outer = (blocks + BNB_CODE_NESTED_BLOCK - 1) / BNB_CODE_NESTED_BLOCK;
    *offset = bnb_code_nested_offset(blocks, absmax);
    TRY(add(m, ".absmax", SAFETENSORS_U8, blocks, 0, &codes));
    TRY(add(m, ".nested_absmax", SAFETENSORS_F32, outer, 0, &scales));
    TRY(add(m, ".nested_quant_map", SAFETENSORS_F32, BNB_CODE_NESTED_LEVELS, 0, &levels));
    for (size_t i = 0; i < blocks; i++)
        absmax[i] -= *offset;
    bnb_code_nest(blocks, absmax, codes, scales);
    bnb_code_nested_levels(levels);
    return ERR_OK;
}

/* The JSON text, in the order and with the spaces of Python's json.dumps. */
static enum err add_state(struct maker *m, float offset)
{
    const struct bnb_linear *l = m->linear;
    char number[JSON_FLOAT_BYTES], nested[160] = "";
    if (l->nested) {
        (void)json_float_print_f64((double)offset, number);
        (void)snprintf(nested, sizeof nested,
                       ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", "
                       "\"nested_offset\": %s",
                       BNB_CODE_NESTED_BLOCK, number);
    }
    char *text = arena_print(m->arena,
                             "{\"quant_type\": \"%s\", \"blocksize\": %" PRIu32
                             ", \"dtype\": \"%s\", \"shape\": [%" PRIu64 ", %" PRIu64 "]%s}",
                             bnb_code_name(l->type), l->block_size, dtype_text(l->before), l->rows,
                             l->columns, nested);
    if (text == NULL)
        return ERR_OUT_OF_MEMORY;
    const char *what = l->type == BNB_CODE_NF4 ? ".quant_state.bitsandbytes__nf4"
                                               : ".quant_state.bitsandbytes__fp4";
    return add(m, what, SAFETENSORS_U8, strlen(text), 0, (void *[]){text});
}

enum err bnb_linear_encode(const struct bnb_linear *linear, const char *module, const float *w,
                           struct arena *arena, struct bnb_linear_tensors *out)
{
    struct maker m = {linear, module, arena, {.count = 0}};
    size_t count = (size_t)(linear->rows * linear->columns);
    size_t blocks = (count + linear->block_size - 1) / linear->block_size;
    void *codes = NULL, *levels = NULL, *absmax = arena_alloc(arena, blocks, sizeof(float));
    float offset = 0;
    if (absmax == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(add(&m, "", SAFETENSORS_U8, (count + 1) / 2, 1, &codes));
    bnb_code_encode(linear->type, linear->block_size, count, w, codes, absmax);
    if (linear->nested)
        TRY(add_nested(&m, blocks, absmax, &offset));
    else
        TRY(add(&m, ".absmax", SAFETENSORS_F32, blocks, 0, &absmax));
    TRY(add(&m, ".quant_map", SAFETENSORS_F32, BNB_CODE_LEVELS, 0, &levels));
    memcpy(levels, bnb_code_levels(linear->type), BNB_CODE_LEVELS * sizeof(float));
    TRY(add_state(&m, offset));
    *out = m.list;
    return ERR_OK;
}

enum err bnb_linear_config(const struct bnb_linear *linear, const struct text *skipped,
                           size_t skipped_count, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, SIZE_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "quant_method", TEXT("bitsandbytes"));
    json_write_bool(&w, "load_in_4bit", true);
    json_write_bool(&w, "load_in_8bit", false);
    json_write_text(&w, "bnb_4bit_quant_type", text_of(bnb_code_name(linear->type)));
    json_write_bool(&w, "bnb_4bit_use_double_quant", linear->nested);
    json_write_text(&w, "bnb_4bit_compute_dtype", text_of(dtype_text(linear->before)));
    json_write_text(&w, "bnb_4bit_quant_storage", TEXT("uint8"));
    json_write_array_begin(&w, "llm_int8_skip_modules");
    for (size_t i = 0; i < skipped_count; i++)
        json_write_text(&w, NULL, skipped[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

/* ---- reading ---- */

/* A layer being looked at. */
struct finder {
    const struct safetensors *files;
    const char *module;
    struct bnb_linear_view view;
    uint64_t blocks;
    struct err_text *et;
};

static const struct safetensor *find(const struct safetensors *files, const char *module,
                                     const char *what)
{
    char name[NAME_BYTES];
    int size = snprintf(name, sizeof name, "%s.weight%s", module, what);
    return size > 0 && (size_t)size < sizeof name ? safetensors_find(files, text_of(name)) : NULL;
}

bool bnb_linear_is(const struct safetensors *files, const char *module)
{
    const struct safetensor *weight = find(files, module, "");
    return weight != NULL && weight->dtype == SAFETENSORS_U8 &&
           find(files, module, ".quant_map") != NULL;
}

/* The data of a tensor of `dtype` with `count` elements. */
static enum err take(const struct finder *f, const char *what, enum safetensors_dtype dtype,
                     uint64_t count, struct span *out)
{
    const struct safetensor *t = find(f->files, f->module, what);
    if (t == NULL)
        return error_set(f->et, ERR_NOT_FOUND,
                         "tensor %s.weight%s: expected beside a four-bit weight, found no such "
                         "tensor",
                         f->module, what);
    if (t->dtype != dtype)
        return error_set(f->et, ERR_UNSUPPORTED, "tensor %s: expected type %s, found %s",
                         t->name.data, safetensors_dtype_name(dtype),
                         safetensors_dtype_name(t->dtype));
    if (safetensors_element_count(t) != count)
        return error_set(f->et, ERR_SHAPE,
                         "tensor %s: expected %" PRIu64 " elements, found %" PRIu64, t->name.data,
                         count, safetensors_element_count(t));
    *out = t->data;
    return ERR_OK;
}

static float float_at(struct span floats, size_t index)
{
    float value;
    memcpy(&value, floats.data + index * sizeof value, sizeof value);
    return value;
}

static enum err take_floats(const struct finder *f, const char *what, uint64_t count,
                            struct span *out)
{
    TRY(take(f, what, SAFETENSORS_F32, count, out));
    for (size_t i = 0; i < count; i++) {
        float value = float_at(*out, i);
        if (!(value - value == 0))
            return error_set(f->et, ERR_FORMAT,
                             "tensor %s.weight%s: element %zu: expected a finite number, found %g",
                             f->module, what, i, (double)value);
    }
    return ERR_OK;
}

/* Reads the state's members and holds them against config.json's shape. */
static enum err read_state(struct finder *f, struct json_value root)
{
    struct bnb_linear *l = &f->view.linear;
    struct json_value shape;
    struct text type = {NULL, 0};
    int64_t rows = 0, columns = 0, block = 0, nested = 0;
    double offset = 0;
    TRY(json_read_text(root, "quant_type", &type, f->et));
    if (!text_is(type, bnb_code_name(l->type)))
        return json_read_wrong(json_read_find(root, "quant_type"), bnb_code_name(l->type), f->et);
    TRY(json_read_i64(root, "blocksize", BLOCK_MIN, BLOCK_MAX, &block, f->et));
    if ((block & (block - 1)) != 0)
        return json_read_wrong(json_read_find(root, "blocksize"), "a power of two", f->et);
    TRY(json_read_array(root, "shape", &shape, f->et));
    if (json_read_count(shape) != 2)
        return json_read_wrong(shape, "two sizes", f->et);
    TRY(json_read_as_i64(json_read_item(shape, 0), 0, INT64_MAX, &rows, f->et));
    TRY(json_read_as_i64(json_read_item(shape, 1), 0, INT64_MAX, &columns, f->et));
    if ((uint64_t)rows != l->rows || (uint64_t)columns != l->columns)
        return error_set(f->et, ERR_SHAPE,
                         "%s: shape: expected %" PRIu64 " x %" PRIu64
                         " by config.json, found %" PRId64 " x %" PRId64,
                         f->module, l->rows, l->columns, rows, columns);
    l->block_size = (uint32_t)block;
    if (json_read_is_absent(json_read_find(root, "nested_blocksize")))
        return ERR_OK;
    l->nested = true;
    TRY(json_read_i64(root, "nested_blocksize", 1, BLOCK_MAX, &nested, f->et));
    TRY(json_read_f64(root, "nested_offset", &offset, f->et));
    f->view.nested_block_size = (uint32_t)nested;
    f->view.nested_offset = (float)offset;
    if (!(f->view.nested_offset - f->view.nested_offset == 0))
        return json_read_wrong(json_read_find(root, "nested_offset"), "a number of f32", f->et);
    return ERR_OK;
}

static enum err take_state(struct finder *f)
{
    static const char *const names[] = {".quant_state.bitsandbytes__nf4",
                                        ".quant_state.bitsandbytes__fp4"};
    const struct safetensor *t = NULL;
    for (unsigned i = 0; i < COUNT_OF(names) && t == NULL; i++) {
        t = find(f->files, f->module, names[i]);
        f->view.linear.type = (enum bnb_code_type)i;
    }
    if (t == NULL)
        return error_set(f->et, ERR_NOT_FOUND,
                         "tensor %s.weight%s: expected beside a four-bit weight, found no such "
                         "tensor",
                         f->module, names[0]);
    if (t->dtype != SAFETENSORS_U8 || t->data.size > STATE_BYTES_MAX)
        return error_set(f->et, ERR_UNSUPPORTED,
                         "tensor %s: expected a JSON text of up to %d bytes in U8, found %zu bytes "
                         "of %s",
                         t->name.data, STATE_BYTES_MAX, t->data.size,
                         safetensors_dtype_name(t->dtype));
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = t->name.data};
    TRY(json_read_parse(t->data, &options, &doc, f->et));
    enum err err = read_state(f, json_read_root(doc));
    json_read_close(&doc);
    return err;
}

static enum err take_scales(struct finder *f)
{
    struct bnb_linear_view *v = &f->view;
    struct span levels;
    if (!v->linear.nested)
        return take_floats(f, ".absmax", f->blocks, &v->absmax);
    uint64_t outer = (f->blocks + v->nested_block_size - 1) / v->nested_block_size;
    TRY(take(f, ".absmax", SAFETENSORS_U8, f->blocks, &v->absmax));
    TRY(take_floats(f, ".nested_absmax", outer, &v->nested_absmax));
    TRY(take_floats(f, ".nested_quant_map", BNB_CODE_NESTED_LEVELS, &levels));
    memcpy(v->nested_levels, levels.data, sizeof v->nested_levels);
    return ERR_OK;
}

enum err bnb_linear_find(const struct safetensors *files, const char *module, uint64_t rows,
                         uint64_t columns, struct bnb_linear_view *view, struct err_text *et)
{
    struct finder f = {.files = files, .module = module, .et = et};
    struct span levels;
    uint64_t count = rows * columns;
    f.view.linear = (struct bnb_linear){.rows = rows, .columns = columns};
    f.view.linear.before = SAFETENSORS_F32;
    TRY(take_state(&f));
    f.blocks = (count + f.view.linear.block_size - 1) / f.view.linear.block_size;
    TRY(take(&f, "", SAFETENSORS_U8, (count + 1) / 2, &f.view.codes));
    TRY(take_floats(&f, ".quant_map", BNB_CODE_LEVELS, &levels));
    memcpy(f.view.levels, levels.data, sizeof f.view.levels);
    TRY(take_scales(&f));
    *view = f.view;
    return ERR_OK;
}

float bnb_linear_absmax(const struct bnb_linear_view *view, uint64_t block)
{
    if (!view->linear.nested)
        return float_at(view->absmax, (size_t)block);
    float level = view->nested_levels[view->absmax.data[block]];
    return level * float_at(view->nested_absmax, (size_t)(block / view->nested_block_size)) +
           view->nested_offset;
}
