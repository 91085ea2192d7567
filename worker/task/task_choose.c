/* task_choose.c - which tensor becomes what: by the rules behind a scheme's name. */
#include "common/base/check.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/dataset/rows.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_choices.h"
#include "worker/task/task_gguf.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_quantizable.h"
#include "worker/task/task_scheme.h"
#include "worker/task/task_target.h"

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

/* ---- towards a folder: a task for every site in a layer ---- */

static enum err list_site(const struct task_scheme *scheme, const struct model *model,
                          const struct model_site *site, struct arena *arena,
                          struct task_choice *item, struct err_text *et)
{
    *item =
        (struct task_choice){.name = site->name, .format = scheme->name, .columns = site->columns};
    for (size_t i = 0; i < site->param_count; i++) {
        const struct model_param *m = model_param(model, site->params[i]);
        const struct compressed_linear linear = {
            .scheme = scheme->scheme,
            .rows = m->rows,
            .columns = m->columns,
            .scale_dtype = task_scheme_file_type(scheme->grid.scale_dtype)};
        struct compressed_linear_tensors tensors;
        bool takes;
        TRY(task_scheme_takes(scheme, model, site->params[i], &takes, et));
        if (!takes)
            continue;
        item->rows += m->rows;
        if (scheme->form != RECIPE_QUANTIZE_COMPRESSED)
            continue;
        const char *module = task_scheme_module(model, site->params[i], arena);
        if (module == NULL)
            return ERR_OUT_OF_MEMORY;
        TRY(compressed_linear_list(&linear, module, arena, &tensors, et));
        for (size_t k = 0; k < tensors.count; k++)
            item->size_bytes += tensors.tensors[k].data.size;
    }
    return ERR_OK;
}

/* Shards of the calibration rows when layers are replayed: each has a Gram matrix, so not many.
 * Part of the bits of the result. */
enum { REPLAY_SHARDS_MAX = 16 };

static enum err tell_replay(struct task_run *run, const struct model *model, struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct rows rows;
    TRY(task_run_open(run, "calib_rows", &item, et));
    enum err err = rows_open(item->bytes, &rows, et);
    uint64_t count = err == ERR_OK ? rows.row_count : 0;
    cache_release(run->env->options.cache, &item);
    TRY(err);
    TRY(task_run_fact(run, "replay_shards", MIN(count, (uint64_t)REPLAY_SHARDS_MAX)));
    TRY(task_run_fact(run, "replay_groups", model_site_layer_count(model)));
    return task_run_fact(run, "replay_periods", model_shape(model)->layers);
}

static enum err choose_sites(struct task_run *run, struct arena *arena,
                             struct task_choices *choices, struct err_text *et)
{
    const struct model *model;
    struct task_scheme scheme;
    const char *path;
    TRY(task_model_open(run, &model, et));
    TRY(task_model_path(run, &path, et));
    TRY(task_quantizable_check(&run->recipe, model, path, et));
    TRY(task_scheme_read(&run->recipe, model, arena, &scheme, et));
    size_t count = model_site_count(model);
    struct task_choice *items = arena_alloc(arena, count, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct model_site site = model_site(model, i);
        if (!site.in_layer)
            continue;
        TRY(list_site(&scheme, model, &site, arena, &items[choices->count], et));
        choices->count++;
    }
    choices->form = scheme.form == RECIPE_QUANTIZE_COMPRESSED ? TEXT("compressed-tensors")
                                                              : TEXT("bitsandbytes");
    choices->scheme = scheme.name;
    choices->items = items;
    return recipe_quantize_replays(&run->recipe) ? tell_replay(run, model, et) : ERR_OK;
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
    bool is_target = recipe_quantize_targets(&run->recipe);
    bool is_mix = !is_target && recipe_quantize_form(&run->recipe) == RECIPE_QUANTIZE_GGUF;
    arena_init(&arena, SIZE_MAX); /* a list of the model's tensors */
    enum err err = is_target ? task_target_choose(run, &arena, &choices, et)
                   : is_mix  ? choose_gguf(run, &arena, &choices, &gguf, et)
                             : choose_sites(run, &arena, &choices, et);
    if (err == ERR_OK)
        err = write(run, &choices, et);
    if (is_mix)
        task_gguf_close(&gguf);
    arena_fini(&arena);
    return err;
}
