/* task_assemble.c - the tensors that others made, and the rest of the model, become the result:
 * here a GGUF file, a folder in task_folder.c. */
#include <stdio.h>

#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_folder.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_kind.h"

struct assembly {
    struct task_run *run;
    struct task_choices choices;
    struct task_gguf gguf;
    const struct cache_item *given; /* the tensor at hand */
    char *folder;                   /* owned: for the file on its way */
    struct arena arena;
};

/* The tensor that a quantize task made, if one did. */
static enum err give(void *context, size_t index, struct span *out, struct err_text *et)
{
    struct assembly *a = context;
    struct text name = text_of(convert_gguf_tensor(a->gguf.form, index)->name);
    size_t i = 0;
    char input[64];
    cache_release(a->run->env->options.cache, &a->given);
    TRY(task_run_progress(a->run, index, convert_gguf_count(a->gguf.form)));
    while (i < a->choices.count && !text_equal(a->choices.items[i].name, name))
        i++;
    if (i == a->choices.count)
        return ERR_OK;
    (void)snprintf(input, sizeof input, "tensors/%zu", i);
    TRY(task_run_open(a->run, input, &a->given, et));
    *out = a->given->bytes;
    return ERR_OK;
}

/* Through a file, so that a model larger than memory can be put together. */
static enum err write_file(struct assembly *a, const char *name, struct err_text *et)
{
    const char *path = folder_join(&a->arena, a->folder, name);
    struct file_writer file;
    struct source source;
    if (path == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(file_writer_open(&file, path, et));
    enum err err = convert_gguf_write(a->gguf.form, give, a, file_sink_writer, &file, et);
    cache_release(a->run->env->options.cache, &a->given);
    if (err != ERR_OK)
        return file_writer_fail(&file, err, et);
    TRY(file_writer_commit(&file, et));
    TRY(source_open(&source, path, et));
    err = task_run_output(a->run, name, source.bytes, false, et);
    source_close(&source);
    return err;
}

/* The importance matrix that was measured goes with the model: it is of use for other types. */
static enum err pass_importance(struct assembly *a, struct err_text *et)
{
    const struct cache_item *item = NULL;
    if (task_run_input(a->run, "imatrix") == NULL)
        return ERR_OK;
    TRY(task_run_open(a->run, "imatrix", &item, et));
    enum err err = task_run_output(a->run, "imatrix.gguf", item->bytes, false, et);
    cache_release(a->run->env->options.cache, &item);
    return err;
}

static enum err assemble(struct assembly *a, struct err_text *et)
{
    TRY(task_gguf_open(a->run, &a->choices, &a->gguf, et));
    TRY(convert_gguf_prepare(a->gguf.form, et));
    const char *name = task_gguf_file_name(&a->run->recipe, a->choices.scheme, &a->arena);
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(cache_view(a->run->env->options.cache, NULL, NULL, 0, &a->folder, et));
    TRY(write_file(a, name, et));
    return pass_importance(a, et);
}

enum err task_kind_assemble(struct task_run *run, struct err_text *et)
{
    struct assembly a = {.run = run};
    if (recipe_quantize_form(&run->recipe) != RECIPE_QUANTIZE_GGUF)
        return task_folder_assemble(run, et);
    arena_init(&a.arena, SIZE_MAX); /* a list of the model's tensors */
    enum err err = task_choices_read(run, &a.arena, &a.choices, et);
    if (err == ERR_OK) {
        err = assemble(&a, et);
        task_gguf_close(&a.gguf);
    }
    cache_unview(run->env->options.cache, &a.folder);
    arena_fini(&a.arena);
    return err;
}
