/* convert_gguf.c - a source opened, its plan kept, the header made when it is needed. */
#include "common/formats/convert/convert_gguf.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_gguf_keys.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"

/* Everything in it is owned but for what the options refer to. */
struct convert_gguf {
    struct convert_model_options options;
    const char *path; /* in the arena */
    const struct gguf_arch *arch;
    struct hf_config config;
    struct safetensors weights;      /* of a folder */
    const struct safetensors *given; /* borrowed: instead of the folder's; or NULL */
    struct gguf source;              /* or a file */
    bool is_file;
    struct convert_plan plan;
    struct arena arena;
    struct gguf_write w;
    bool is_prepared; /* *w has keys and tensors */
    bool has_tokenizer;
};

/* Chat models stop at the end of a turn too, which generation_config.json says. */
static enum err read_ends(struct convert_gguf *f, struct err_text *et)
{
    struct hf_config_tokens *eos = &f->config.eos;
    struct hf_generation generation;
    const char *path = folder_join(&f->arena, f->path, "generation_config.json");
    if (path == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", f->path);
    if (!file_exists(path))
        return ERR_OK;
    TRY(hf_generation_open(&generation, path, et));
    for (size_t i = 0; i < generation.eos.count; i++) {
        bool is_new = eos->count < HF_CONFIG_TOKENS_MAX;
        for (size_t k = 0; k < eos->count; k++)
            is_new = is_new && eos->ids[k] != generation.eos.ids[i];
        if (is_new)
            eos->ids[eos->count++] = generation.eos.ids[i];
    }
    return ERR_OK;
}

static enum err open_folder(struct convert_gguf *f, struct err_text *et)
{
    const char *config = folder_join(&f->arena, f->path, "config.json");
    if (config == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", f->path);
    TRY(hf_config_open(&f->config, config, et));
    TRY(read_ends(f, et));
    if (f->given == NULL)
        TRY(safetensors_index_open_folder(&f->weights, f->path, "model", et));
    return convert_plan_gguf(&f->config, f->path, f->given != NULL ? f->given : &f->weights,
                             f->options.format, &f->arena, &f->plan, et);
}

static enum err open_file(struct convert_gguf *f, struct err_text *et)
{
    TRY(gguf_open(&f->source, f->path, et));
    TRY(gguf_config_read(&f->source, &f->config, et));
    return convert_plan_again(&f->source, &f->config, f->options.format, f->options.decode,
                              &f->arena, &f->plan, et);
}

static enum err open_source(struct convert_gguf *f, const char *path, struct err_text *et)
{
    f->path = arena_copy_text(&f->arena, text_of(path));
    if (f->path == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    f->is_file = !folder_exists(path);
    TRY(f->is_file ? open_file(f, et) : open_folder(f, et));
    TRY(gguf_arch_of_config(&f->config, path, &f->arch, et));
    if (f->options.quantize == NULL)
        return ERR_OK;
    return convert_quantize_plan(f->options.quantize, &f->config, path, &f->arena, &f->plan, et);
}

static enum err open_given(const char *path, const struct safetensors *given,
                           const struct convert_model_options *options, struct convert_gguf **out,
                           struct err_text *et)
{
    struct convert_gguf *f = mem_alloc(1, sizeof *f);
    if (f == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    f->options = *options;
    f->given = given;
    arena_init(&f->arena, SIZE_MAX); /* bounded by the files' tables */
    gguf_write_init(&f->w);
    enum err err = open_source(f, path, et);
    if (err == ERR_OK)
        *out = f;
    else
        convert_gguf_close(&f);
    return err;
}

enum err convert_gguf_open(const char *path, const struct convert_model_options *options,
                           struct convert_gguf **out, struct err_text *et)
{
    return open_given(path, NULL, options, out, et);
}

enum err convert_gguf_open_weights(const char *folder, const struct safetensors *weights,
                                   const struct convert_model_options *options,
                                   struct convert_gguf **out, struct err_text *et)
{
    return open_given(folder, weights, options, out, et);
}

void convert_gguf_close(struct convert_gguf **form)
{
    struct convert_gguf *f = *form;
    if (f == NULL)
        return;
    gguf_write_fini(&f->w);
    gguf_close(&f->source);
    safetensors_close(&f->weights);
    arena_fini(&f->arena);
    mem_free(f);
    *form = NULL;
}

size_t convert_gguf_count(const struct convert_gguf *form)
{
    return form->plan.count;
}

const struct convert_tensor *convert_gguf_tensor(const struct convert_gguf *form, size_t index)
{
    ASSERT(index < form->plan.count);
    return &form->plan.tensors[index];
}

size_t convert_gguf_find(const struct convert_gguf *form, struct text name)
{
    size_t i = 0;
    while (i < form->plan.count && !text_is(name, form->plan.tensors[i].name))
        i++;
    return i;
}

bool convert_gguf_takes_part(const struct convert_gguf *form, size_t index)
{
    static const struct convert_quantize plain = {.switches = {.leave_head = false}};
    const struct convert_quantize *q = form->options.quantize;
    return convert_quantize_takes(q != NULL ? q : &plain, convert_gguf_tensor(form, index));
}

struct convert_gguf_total convert_gguf_total(const struct convert_gguf *form)
{
    struct convert_gguf_total total = {0};
    for (size_t i = 0; i < form->plan.count; i++) {
        const struct convert_tensor *t = &form->plan.tensors[i];
        total.weights += (uint64_t)t->rows * t->columns;
        total.size_bytes += convert_tensor_size_bytes(t);
    }
    return total;
}

const struct hf_config *convert_gguf_config(const struct convert_gguf *form)
{
    return &form->config;
}

const char *convert_gguf_architecture(const struct convert_gguf *form)
{
    return form->arch->name;
}

enum err convert_gguf_encode(const struct convert_gguf *form, size_t index, file_sink_f sink,
                             void *context, struct err_text *et)
{
    return convert_plan_encode(convert_gguf_tensor(form, index), sink, context, et);
}

enum err convert_gguf_encode_as(const struct convert_gguf *form, size_t index,
                                enum block_format format, file_sink_f sink, void *context,
                                struct err_text *et)
{
    struct convert_tensor t = *convert_gguf_tensor(form, index);
    ASSERT(form->options.quantize != NULL && convert_gguf_takes_part(form, index));
    if (t.columns % block_format_elements(format) != 0)
        return error_set(et, ERR_SHAPE, "%s: tensor %s: %zu columns are no whole blocks of %s",
                         form->path, t.name, t.columns, block_format_name(format));
    t.out = format;
    t.encoder =
        t.in == format || convert_float_is_plain(format) ? NULL : &form->options.quantize->encoder;
    return convert_plan_encode(&t, sink, context, et);
}

enum err convert_gguf_prepare(struct convert_gguf *form, struct err_text *et)
{
    enum err err = ERR_OK;
    if (form->is_prepared)
        return ERR_OK;
    gguf_write_fini(&form->w); /* of an attempt that failed */
    gguf_write_init(&form->w);
    if (form->is_file)
        convert_gguf_keys_copy(&form->source, &form->options, &form->plan, &form->w,
                               &form->has_tokenizer);
    else
        err = convert_gguf_keys_make(form->path, &form->config, &form->options, &form->plan,
                                     &form->arena, &form->w, &form->has_tokenizer, et);
    if (err == ERR_OK)
        err = convert_plan_declare(&form->plan, form->path, &form->w, et);
    form->is_prepared = err == ERR_OK;
    return err;
}

uint64_t convert_gguf_size_bytes(const struct convert_gguf *form)
{
    ASSERT(form->is_prepared);
    return gguf_write_size_bytes(&form->w);
}

bool convert_gguf_has_tokenizer(const struct convert_gguf *form)
{
    ASSERT(form->is_prepared);
    return form->has_tokenizer;
}

enum err convert_gguf_write(struct convert_gguf *form, convert_plan_given_f given,
                            void *given_context, file_sink_f sink, void *context,
                            struct err_text *et)
{
    TRY(convert_gguf_prepare(form, et));
    return convert_plan_send(&form->plan, &form->w, given, given_context, sink, context, et);
}

enum err convert_gguf_write_file(struct convert_gguf *form, const char *path, struct err_text *et)
{
    TRY(convert_gguf_prepare(form, et));
    return convert_plan_write(&form->plan, &form->w, path, et);
}
