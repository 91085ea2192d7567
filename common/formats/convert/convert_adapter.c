/* convert_adapter.c - pairs of A and B under the names and in the order of the base's tensors. */
#include "common/formats/convert/convert_adapter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

#define MODULE_ENDING ".weight"

enum { TEMPLATE_BYTES_MAX = 1 << 20 };

/* A conversion on its way; everything in it is owned. */
struct work {
    struct hf_config base;
    struct gguf gguf;           /* of the base, where it is one */
    struct safetensors weights; /* of the base, where its folder has them */
    struct peft_adapter adapter;
    struct convert_plan plan;
    struct arena arena;
    struct gguf_write w;
    const struct gguf_arch *arch; /* static */
    const char *folder;           /* of the adapter, for messages */
    struct err_text *et;
};

/* adapter.lora.alpha: what the most of the modules have no need to fold. */
static double adapter_alpha(const struct peft_config *config)
{
    return config->use_rslora ? config->lora_alpha * sqrt((double)config->r) : config->lora_alpha;
}

static enum err read_base_folder(struct work *work, const char *base)
{
    const char *path = folder_join(&work->arena, base, "config.json");
    if (path == NULL)
        return error_set(work->et, ERR_OUT_OF_MEMORY, "%s: out of memory", base);
    TRY(hf_config_open(&work->base, path, work->et));
    enum err err = safetensors_index_open_folder(&work->weights, base, "model", work->et);
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* the config is enough */
}

static enum err read_base(struct work *work, const char *base)
{
    if (folder_exists(base)) {
        TRY(read_base_folder(work, base));
    } else {
        TRY(gguf_open(&work->gguf, base, work->et));
        TRY(gguf_config_read(&work->gguf, &work->base, work->et));
    }
    return gguf_arch_of_config(&work->base, base, &work->arch, work->et);
}

/* Rows and columns of the base's matrix; false where only its config is at hand. */
static bool find_matrix(const struct work *work, const struct peft_module *module,
                        struct convert_place place, uint64_t *rows, uint64_t *columns)
{
    char name[CONVERT_NAME_BYTES];
    convert_name_print_gguf(work->plan.family, place, name);
    const struct gguf_tensor *t = gguf_find_tensor(&work->gguf, text_of(name));
    if (t != NULL && t->rank == 2) {
        *rows = t->shape[0];
        *columns = t->shape[1];
        return true;
    }
    (void)snprintf(name, sizeof name, "%.*s" MODULE_ENDING, TEXT_ARGS(module->name));
    const struct safetensor *st = safetensors_find(&work->weights, text_of(name));
    if (st == NULL || st->rank != 2)
        return false;
    bool is_turned = strcmp(work->arch->name, "gpt2") == 0;
    uint64_t packed = st->dtype == SAFETENSORS_U8 ? CONVERT_CODES_A_BYTE : 1;
    *rows = is_turned ? st->shape[1] : st->shape[0] * packed;
    *columns = is_turned ? st->shape[0] : st->shape[1];
    return true;
}

/* Where the base has the module; false when this family has none. */
static bool find_module(const struct convert_family *family, const struct peft_module *module,
                        struct convert_place *place)
{
    char name[CONVERT_NAME_BYTES];
    int size = snprintf(name, sizeof name, "%.*s" MODULE_ENDING, TEXT_ARGS(module->name));
    return size > 0 && (size_t)size < sizeof name &&
           convert_name_of_hf(family, text_of(name), place) &&
           convert_name_kind(place->role) == CONVERT_LINEAR;
}

static enum err choose_family(struct work *work)
{
    const struct peft_module *unknown = NULL;
    const struct convert_family *family;
    for (size_t i = 0; (family = convert_name_family(work->arch, i)) != NULL; i++) {
        struct convert_place place;
        bool fits = true;
        for (size_t k = 0; k < work->adapter.count && fits; k++) {
            fits = find_module(family, &work->adapter.modules[k], &place);
            if (!fits)
                unknown = &work->adapter.modules[k];
        }
        if (fits) {
            work->plan.family = family;
            return ERR_OK;
        }
    }
    return error_set(work->et, ERR_UNSUPPORTED,
                     "%s: module %.*s: models of architecture %s have none", work->folder,
                     unknown != NULL ? (int)unknown->name.size : 0,
                     unknown != NULL ? unknown->name.data : "", work->arch->name);
}

static void start_tensor(const struct work *work, const struct safetensor *half,
                         struct convert_place place, const char *ending, enum block_format format,
                         struct convert_tensor *t)
{
    *t = (struct convert_tensor){
        .place = place,
        .rank = 2,
        .shape = {half->shape[0], half->shape[1]},
        .rows = half->shape[0],
        .columns = half->shape[1],
        .data = half->data,
        .out = format,
    };
    (void)convert_float_format_of(half->dtype, &t->in); /* the reader takes no other */
    char name[CONVERT_NAME_BYTES];
    convert_name_print_gguf(work->plan.family, place, name);
    (void)snprintf(t->name, sizeof t->name, "%.240s.%s", name, ending);
}

static enum err plan_module(struct work *work, const struct peft_module *module,
                            enum block_format format)
{
    struct convert_place place = {0};
    bool found = find_module(work->plan.family, module, &place);
    ASSERT(found);
    if (convert_name_is_part(work->plan.family, place.role))
        return error_set(work->et, ERR_UNSUPPORTED,
                         "%s: module %.*s: it is a part of a fused matrix, and GGUF adapters name "
                         "whole ones; merge the adapter instead",
                         work->folder, TEXT_ARGS(module->name));
    if (place.layer >= work->base.num_hidden_layers)
        return error_set(work->et, ERR_SHAPE, "%s: module %.*s: the base has %u layers",
                         work->folder, TEXT_ARGS(module->name), work->base.num_hidden_layers);
    uint64_t rows, columns;
    if (find_matrix(work, module, place, &rows, &columns) &&
        (rows != module->out || columns != module->in))
        return error_set(work->et, ERR_SHAPE,
                         "%s: module %.*s: the base has %" PRIu64 " x %" PRIu64
                         ", the adapter is for %" PRIu64 " x %" PRIu64,
                         work->folder, TEXT_ARGS(module->name), rows, columns, module->out,
                         module->in);
    struct convert_tensor *a = &work->plan.tensors[work->plan.count++];
    struct convert_tensor *b = &work->plan.tensors[work->plan.count++];
    start_tensor(work, module->a, place, "lora_a", format, a);
    start_tensor(work, module->b, place, "lora_b", format, b);
    if (!convert_plan_order_rows(&work->base, work->arch, b))
        return error_set(work->et, ERR_SHAPE,
                         "%s: module %.*s: expected rows of whole heads, found %" PRIu64,
                         work->folder, TEXT_ARGS(module->name), module->out);
    double wanted = module->scale * module->rank;
    double given = adapter_alpha(&work->adapter.config);
    b->scale = (float)(wanted / given);
    if (b->scale != 1.0f)
        b->change = CONVERT_CHANGE_SCALE;
    return ERR_OK;
}

/* The template that the adapter was trained with, where its folder has one. */
static enum err write_template(struct work *work)
{
    const char *path = folder_join(&work->arena, work->folder, "chat_template.jinja");
    struct bytes text;
    if (path == NULL)
        return error_set(work->et, ERR_OUT_OF_MEMORY, "%s: out of memory", work->folder);
    if (!file_exists(path))
        return ERR_OK;
    bytes_init(&text, TEMPLATE_BYTES_MAX);
    enum err err = file_read(path, TEMPLATE_BYTES_MAX, &text, work->et);
    if (err == ERR_OK)
        gguf_write_text(&work->w, "tokenizer.chat_template",
                        (struct text){(const char *)text.data, text.size});
    bytes_fini(&text);
    return err;
}

static void write_keys(struct work *work, const struct convert_model_options *options,
                       enum block_format format)
{
    struct gguf_write *w = &work->w;
    gguf_write_text(w, "general.architecture", text_of(work->arch->name));
    gguf_write_text(w, "general.type", TEXT("adapter"));
    if (options->name != NULL)
        gguf_write_text(w, "general.name", text_of(options->name));
    gguf_write_text(w, "adapter.type", TEXT("lora"));
    gguf_write_f32(w, "adapter.lora.alpha", (float)adapter_alpha(&work->adapter.config));
    gguf_write_u32(w, "general.file_type",
                   format == BLOCK_FORMAT_F32   ? GGUF_WRITE_FILE_TYPE_F32
                   : format == BLOCK_FORMAT_F16 ? GGUF_WRITE_FILE_TYPE_F16
                                                : GGUF_WRITE_FILE_TYPE_BF16);
    gguf_write_u32(w, "general.quantization_version", GGUF_WRITE_QUANTIZATION_VERSION);
}

static enum err convert(struct work *work, const char *base, const char *path,
                        const struct convert_model_options *options)
{
    enum block_format format =
        options->format == CONVERT_PLAN_KEEP ? BLOCK_FORMAT_F32 : options->format;
    TRY(read_base(work, base));
    TRY(peft_adapter_open(&work->adapter, work->folder, work->et));
    if (!(adapter_alpha(&work->adapter.config) > 0.0))
        return error_set(work->et, ERR_UNSUPPORTED,
                         "%s: lora_alpha: expected a number above 0, found %g", work->folder,
                         work->adapter.config.lora_alpha);
    work->plan.tensors =
        arena_alloc(&work->arena, work->adapter.count * 2, sizeof *work->plan.tensors);
    if (work->plan.tensors == NULL)
        return error_set(work->et, ERR_OUT_OF_MEMORY, "%s: out of memory", work->folder);
    TRY(choose_family(work));
    for (size_t i = 0; i < work->adapter.count; i++)
        TRY(plan_module(work, &work->adapter.modules[i], format));
    TRY(convert_plan_sort(&work->plan, work->folder, work->et));
    write_keys(work, options, format);
    TRY(write_template(work));
    TRY(convert_plan_declare(&work->plan, path, &work->w, work->et));
    return convert_plan_write(&work->plan, &work->w, path, work->et);
}

enum err convert_adapter_to_gguf(const char *folder, const char *base, const char *path,
                                 const struct convert_model_options *options,
                                 struct convert_model_report *report, struct err_text *et)
{
    struct work *work = mem_alloc(1, sizeof *work);
    if (work == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    work->folder = folder;
    work->et = et;
    arena_init(&work->arena, SIZE_MAX); /* bounded by the adapter's tables */
    gguf_write_init(&work->w);
    enum err err = convert(work, base, path, options);
    if (err == ERR_OK)
        *report = (struct convert_model_report){
            .architecture = work->arch->name,
            .tensor_count = work->plan.count,
            .size_bytes = gguf_write_size_bytes(&work->w),
        };
    gguf_write_fini(&work->w);
    peft_adapter_close(&work->adapter);
    safetensors_close(&work->weights);
    gguf_close(&work->gguf);
    arena_fini(&work->arena);
    mem_free(work);
    return err;
}
