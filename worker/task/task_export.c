/* task_export.c - the result of a training run as the files that the rest of the world loads.
 *
 * An adapter or a prompt becomes PEFT's folder, bottlenecks one like it, full training a model
 * folder, training under a quantizer the quantized model. All come with trainer_state.json and, but
 * for a GGUF file, the tokenizer's files.
 */
#include "worker/task/task_export.h"

#include <string.h>

#include "common/formats/convert/convert_tokenizer_files.h"
#include "common/mem/mem.h"
#include "schemas/state_file.def"
#include "worker/engine/train/train_insert.h"
#include "worker/task/task_anchor.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_log.h"
#include "worker/task/task_qat.h"
#include "worker/task/task_settings.h"
#include "worker/task/task_state.h"

enum err task_export_put_span(struct task_export *x, const char *name, struct span content,
                              struct err_text *et)
{
    const char *path = arena_print(&x->arena, "%s%s", x->folder, name);
    return path != NULL ? task_run_output(x->run, path, content, false, et) : ERR_OUT_OF_MEMORY;
}

enum err task_export_put(struct task_export *x, const char *name, enum err printed,
                         struct bytes *text, struct err_text *et)
{
    enum err err = printed;
    if (err == ERR_OK)
        err = bytes_status(text);
    if (err == ERR_OK)
        err = task_export_put_span(x, name, bytes_span(text), et);
    bytes_clear(text);
    return err;
}

struct safetensor *task_export_list_tensors(struct task_export *x,
                                            const struct train_entry *entries, size_t count,
                                            const float *values)
{
    struct safetensor *tensors = arena_alloc(&x->arena, count, sizeof *tensors);
    for (size_t i = 0; tensors != NULL && i < count; i++) {
        const struct train_entry *entry = &entries[i];
        tensors[i] = (struct safetensor){
            .name = text_of(entry->name),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)entry->dimensions,
            .shape = {entry->shape[0], entry->shape[1]},
            .data = {(const uint8_t *)(values + entry->offset), entry->count * sizeof(float)},
        };
    }
    return tensors;
}

/* A file of the tokenizer, as an output. */
static enum err put_tokenizer_file(void *context, const char *name, struct span content,
                                   struct err_text *et)
{
    return task_export_put_span(context, name, content, et);
}

/* A GGUF file has its tokenizer inside: it is written out as a folder has it. */
static enum err unpack_tokenizer(struct task_export *x, struct err_text *et)
{
    const struct tokenizer *tokenizer;
    TRY(task_model_tokenizer(x->run, &tokenizer, et));
    return convert_tokenizer_files_make(tokenizer, "tokenizer", &x->arena, put_tokenizer_file, x,
                                        et);
}

enum err task_export_tokenizer(struct task_export *x, struct err_text *et)
{
    const struct chat_template *chosen = task_settings_template(&x->run->recipe);
    const char *file;
    bool packed;
    TRY(task_model_is_file(x->run, &packed, et));
    if (packed)
        TRY(unpack_tokenizer(x, et));
    for (size_t i = 0; (file = tokenizer_file_name(i)) != NULL; i++) {
        const char *name = arena_print(&x->arena, "model/%s", file);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        bool is_config =
            strcmp(file, "config.json") == 0 || strcmp(file, "generation_config.json") == 0;
        bool is_template = strncmp(file, "chat_template.", strlen("chat_template.")) == 0;
        if (is_config || (is_template && chosen != NULL) || task_run_input(x->run, name) == NULL)
            continue; /* those of a model are written anew, an adapter has none */
        const struct cache_item *item = NULL;
        TRY(task_run_open(x->run, name, &item, et));
        enum err err = task_export_put_span(x, file, item->bytes, et);
        cache_release(x->run->env->options.cache, &item);
        TRY(err);
    }
    if (chosen == NULL)
        return ERR_OK;
    struct text jinja = text_of(chat_template_jinja(chosen));
    return task_export_put_span(x, "chat_template.jinja", span_of_text(jinja), et);
}

static enum err export_log(struct task_export *x, struct err_text *et)
{
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err = task_export_put(x, "trainer_state.json", trainer_log_print_state(&x->log, &text),
                                   &text, et);
    bytes_fini(&text);
    return err;
}

static enum err read_log(struct task_export *x, struct err_text *et)
{
    const struct recipe *recipe = &x->run->recipe;
    const struct cache_item *item = NULL;
    TRY(task_run_open(x->run, "log", &item, et));
    enum err err = task_log_read(item->bytes, &x->arena, &x->log, et);
    cache_release(x->run->env->options.cache, &item);
    TRY(err);
    const struct trainer_log_point *last = task_log_last(&x->log, false);
    x->log.epochs_total = last != NULL ? last->epoch : 0;
    x->log.batch_size = (uint32_t)recipe_round_rows(recipe);
    x->log.logging_steps = recipe->logging_steps;
    x->log.eval_steps = recipe->eval_steps;
    x->log.save_steps = recipe->save_steps;
    return ERR_OK;
}

/* The trained vector and the number of steps behind it. */
static enum err read_state(struct task_export *x, struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct safetensors file;
    TRY(task_run_open(x->run, "state", &item, et));
    enum err err = task_state_read(item->bytes, "state", x->layout, NULL, x->values, et);
    if (err == ERR_OK)
        err = safetensors_parse(&file, item->bytes, "state", et);
    if (err == ERR_OK) {
        struct text step = safetensors_note_of(&file, STATE_FILE_STEP);
        for (size_t i = 0; i < step.size && step.data[i] >= '0' && step.data[i] <= '9'; i++)
            x->log.steps_done = x->log.steps_done * 10 + (uint64_t)(step.data[i] - '0');
        x->log.steps_total = x->log.steps_done;
        safetensors_close(&file);
    }
    cache_release(x->run->env->options.cache, &item);
    return err;
}

static enum err read_values(struct task_export *x, struct err_text *et)
{
    bool anchored = false;
    TRY(read_state(x, et));
    if (task_run_input(x->run, "anchor") == NULL)
        return ERR_OK;
    x->anchor = mem_alloc(train_layout_count(x->layout), sizeof *x->anchor);
    if (x->anchor == NULL)
        return ERR_OUT_OF_MEMORY;
    return task_anchor_read(x->run, x->layout, NULL, x->anchor, &anchored, et);
}

enum err task_export_open(struct task_export *x, struct err_text *et)
{
    arena_init(&x->arena, SIZE_MAX); /* as large as what trains */
    TRY(task_model_open(x->run, &x->model, et));
    task_settings_train(&x->run->recipe, &x->config);
    TRY(train_layout_create(x->model, &x->config, &x->layout, et));
    x->values = mem_alloc(train_layout_count(x->layout), sizeof *x->values);
    return x->values != NULL ? read_values(x, et) : ERR_OUT_OF_MEMORY;
}

void task_export_close(struct task_export *x)
{
    train_layout_destroy(&x->layout);
    mem_free(x->values);
    mem_free(x->anchor);
    arena_fini(&x->arena);
}

static enum err export_all(struct task_export *x, struct err_text *et)
{
    struct task_qat qat;
    TRY(task_export_open(x, et));
    TRY(read_log(x, et));
    TRY(task_qat_read(&x->run->recipe, x->model, &qat, et));
    if (qat.is_on)
        TRY(task_export_quantized(x, &qat, et));
    else if (x->config.method == TRAIN_METHOD_LORA)
        TRY(task_export_adapter(x, et));
    else if (train_insert_is(x->config.method))
        TRY(task_export_insert(x, et));
    else
        TRY(task_export_model(x, et));
    if (!qat.is_on || qat.config.form != FAKE_QUANT_BLOCKS) /* a GGUF file has it inside */
        TRY(task_export_tokenizer(x, et));
    return export_log(x, et);
}

/* An adapter that is merged as well lies beside the merged model. */
enum err task_kind_export(struct task_run *run, struct err_text *et)
{
    bool merges = recipe_merges(&run->recipe);
    struct task_export x = {.run = run, .folder = merges ? "adapter/" : ""};
    enum err err = export_all(&x, et);
    task_export_close(&x);
    return err;
}
