/* task_gguf.c - recipe keys and choices to a conversion. */
#include "worker/task/task_gguf.h"

#include "common/base/check.h"
#include "common/formats/convert/convert_type.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_encoder.h"
#include "worker/task/task_settings.h"

/* The name that a file's keys give the importance, whatever the user's file is called: two jobs of
 * equal content make equal files. */
#define IMPORTANCE_NAME "imatrix.gguf"

static enum err read_exceptions(const struct recipe_quantize *q, struct task_gguf *gguf,
                                struct err_text *et)
{
    const struct convert_type_place place = {"quantize.tensor_type", ERR_RECIPE};
    if (q->tensor_type_count > TASK_GGUF_EXCEPTIONS_MAX)
        return error_set(et, ERR_LIMIT, "%s: expected at most %d, found %zu", place.key,
                         TASK_GGUF_EXCEPTIONS_MAX, q->tensor_type_count);
    for (size_t i = 0; i < q->tensor_type_count; i++)
        TRY(convert_type_read_exception(&place, q->tensor_type[i], &gguf->arena,
                                        &gguf->exceptions[i], et));
    gguf->quantize.exceptions = gguf->exceptions;
    gguf->quantize.exception_count = q->tensor_type_count;
    return ERR_OK;
}

static enum err read_scheme(const struct recipe_quantize *q, struct task_gguf *gguf,
                            struct err_text *et)
{
    char known[256];
    const char *scheme = q->scheme != NULL ? q->scheme : "Q4_K_M";
    gguf->quantize.mix = convert_mix_named(scheme);
    if (gguf->quantize.mix == NULL) {
        convert_mix_choices(known, sizeof known);
        return error_set(et, ERR_RECIPE,
                         "quantize.scheme: expected W8A8, W4A16, W4A16_ASYM, W8A16, NF4 or one of "
                         "%s; found %s",
                         known, scheme);
    }
    gguf->quantize.switches = (struct convert_mix_switches){
        .pure = q->pure,
        .leave_head = q->leave_output_tensor,
        .head = CONVERT_MIX_ANY,
        .embedding = CONVERT_MIX_ANY,
    };
    const struct convert_type_place head = {"quantize.output_tensor_type", ERR_RECIPE};
    const struct convert_type_place embedding = {"quantize.token_embedding_type", ERR_RECIPE};
    if (q->output_tensor_type != NULL)
        TRY(convert_type_read(&head, q->output_tensor_type, &gguf->quantize.switches.head, et));
    if (q->token_embedding_type != NULL)
        TRY(convert_type_read(&embedding, q->token_embedding_type,
                              &gguf->quantize.switches.embedding, et));
    return read_exceptions(q, gguf, et);
}

static enum err list_choices(const struct task_choices *choices, struct task_gguf *gguf,
                             struct err_text *et)
{
    struct convert_choice *list = arena_alloc(&gguf->arena, choices->count, sizeof *list);
    if (list == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < choices->count; i++) {
        list[i].name = choices->items[i].name;
        list[i].format = block_format_named(choices->items[i].format);
        if (list[i].format == BLOCK_FORMAT_COUNT)
            return error_set(et, ERR_FORMAT, "choices: tensor %.*s: %.*s is no tensor type",
                             TEXT_ARGS(list[i].name), TEXT_ARGS(choices->items[i].format));
    }
    const char *scheme = arena_copy_text(&gguf->arena, choices->scheme);
    if (scheme == NULL)
        return ERR_OUT_OF_MEMORY;
    gguf->quantize.mix = convert_mix_named(scheme);
    gguf->quantize.choices = list;
    gguf->quantize.choice_count = choices->count;
    return ERR_OK;
}

static enum err open_importance(struct task_run *run, struct task_gguf *gguf, struct err_text *et)
{
    const struct artifact_ref *input = task_run_input(run, "imatrix");
    const struct cache_item *item = NULL;
    if (input == NULL)
        input = task_run_input_under(run, "imatrix/");
    if (input == NULL || recipe_quantize_method(&run->recipe) != RECIPE_QUANTIZE_METHOD_IMPORTANCE)
        return ERR_OK;
    TRY(cache_open(run->env->options.cache, input, &item, et));
    enum err err = imatrix_parse(&gguf->importance, item->bytes, "importance matrix", et);
    cache_release(run->env->options.cache, &item);
    if (err == ERR_TRUNCATED) /* the hash was right: making it again would not help */
        err = ERR_FORMAT;
    TRY(err);
    gguf->quantize.importance = &gguf->importance;
    gguf->quantize.importance_file = IMPORTANCE_NAME;
    return ERR_OK;
}

enum err task_gguf_open(struct task_run *run, const struct task_choices *choices,
                        struct task_gguf *gguf, struct err_text *et)
{
    struct kernel *kernel;
    const char *path;
    *gguf = (struct task_gguf){.form = NULL};
    arena_init(&gguf->arena, SIZE_MAX); /* as large as the lists */
    TRY(task_model_path(run, &path, et));
    TRY(task_run_kernel(run, &kernel, et));
    TRY(choices != NULL ? list_choices(choices, gguf, et)
                        : read_scheme(&run->recipe.quantize, gguf, et));
    TRY(open_importance(run, gguf, et));
    struct text name = task_settings_base_model(&run->recipe);
    gguf->quantize.encoder = task_encoder(kernel);
    gguf->quantize.allow_requantize = run->recipe.quantize.allow_requantize;
    gguf->options = (struct convert_model_options){
        .name = arena_copy_text(&gguf->arena, name),
        .format = CONVERT_PLAN_KEEP,
        .decode = task_encoder_decode,
        .quantize = &gguf->quantize,
    };
    if (gguf->options.name == NULL)
        return ERR_OUT_OF_MEMORY;
    return convert_gguf_open(path, &gguf->options, &gguf->form, et);
}

void task_gguf_close(struct task_gguf *gguf)
{
    convert_gguf_close(&gguf->form);
    imatrix_close(&gguf->importance);
    arena_fini(&gguf->arena);
}

const char *task_gguf_file_name(const struct recipe *recipe, struct text scheme,
                                struct arena *arena)
{
    struct text base = task_settings_base_model(recipe);
    for (size_t i = base.size; i > 0; i--) {
        if (base.data[i - 1] == '/') {
            base = (struct text){base.data + i, base.size - i};
            break;
        }
    }
    if (base.size > 5 && memcmp(base.data + base.size - 5, ".gguf", 5) == 0)
        base.size -= 5;
    return arena_print(arena, "%.*s-%.*s.gguf", TEXT_ARGS(base), TEXT_ARGS(scheme));
}

enum err task_gguf_check(const struct recipe *recipe, struct err_text *et)
{
    struct task_gguf gguf = {.form = NULL};
    arena_init(&gguf.arena, SIZE_MAX); /* the recipe's patterns */
    enum err err = read_scheme(&recipe->quantize, &gguf, et);
    task_gguf_close(&gguf);
    return err;
}
