/* task_choose.c - which tensor becomes what: by the rules behind a scheme's name. */
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_kind.h"

static enum err choose_gguf(struct task_run *run, struct arena *arena, struct task_choices *choices,
                            struct task_gguf *gguf, struct err_text *et)
{
    TRY(task_gguf_open(run, NULL, gguf, et));
    size_t count = convert_gguf_count(gguf->form);
    struct task_choice *items = arena_alloc(arena, count, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct convert_tensor *t = convert_gguf_tensor(gguf->form, i);
        if (!convert_gguf_takes_part(gguf->form, i) || convert_float_is_plain(t->out))
            continue;
        items[choices->count++] = (struct task_choice){
            .name = text_of(t->name),
            .format = text_of(block_format_name(t->out)),
            .rows = t->rows,
            .columns = t->columns,
            .size_bytes = convert_tensor_size_bytes(t),
        };
    }
    choices->form = TEXT("gguf");
    choices->scheme = text_of(convert_mix_name(gguf->quantize.mix));
    choices->items = items;
    return ERR_OK;
}

static enum err write(struct task_run *run, const struct task_choices *choices, struct err_text *et)
{
    struct bytes text;
    if (choices->count == 0)
        return error_set(et, ERR_RECIPE,
                         "quantize.scheme: %.*s leaves every tensor as it is: nothing to quantize",
                         TEXT_ARGS(choices->scheme));
    bytes_init(&text, SIZE_MAX);
    enum err err = task_choices_write(choices, &text);
    if (err == ERR_OK)
        err = task_run_output(run, "choices", bytes_span(&text), false, et);
    bytes_fini(&text);
    TRY(err);
    return task_run_fact(run, "quantize_tasks", choices->count);
}

enum err task_kind_choose(struct task_run *run, struct err_text *et)
{
    struct task_choices choices = {.count = 0};
    struct task_gguf gguf;
    struct arena arena;
    if (recipe_quantize_form(&run->recipe) != RECIPE_QUANTIZE_GGUF)
        return error_set(et, ERR_UNSUPPORTED, "quantize.scheme: %s is not supported by this worker",
                         run->recipe.quantize.scheme);
    arena_init(&arena, SIZE_MAX); /* a list of the model's tensors */
    enum err err = choose_gguf(run, &arena, &choices, &gguf, et);
    if (err == ERR_OK)
        err = write(run, &choices, et);
    task_gguf_close(&gguf);
    arena_fini(&arena);
    return err;
}
