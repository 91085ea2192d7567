/* task_gguf.c - recipe keys and choices to a conversion. */
#include "worker/task/task_gguf.h"

#include <string.h>

#include "common/base/check.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/quant/blocks.h"
#include "worker/task/task_settings.h"

/* The name that a file's keys give the importance, whatever the user's file is called: two jobs of
 * equal content make equal files. */
#define IMPORTANCE_NAME "imatrix.gguf"

/* Both enums are the rows of block_format.def. */
static void decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    kernel_encode(context, (enum dtype)format, rows, columns, x, importance, out);
}

static enum err read_format(const char *key, const char *name, enum block_format *out,
                            struct err_text *et)
{
    if (name == NULL)
        return ERR_OK;
    *out = block_format_named(text_of(name));
    if (*out != BLOCK_FORMAT_COUNT)
        return ERR_OK;
    return error_set(et, ERR_RECIPE,
                     "quantize.%s: expected a tensor type (F16, Q8_0, Q6_K, ...), found %s", key,
                     name);
}

static enum err read_exceptions(const struct recipe_quantize *q, struct task_gguf *gguf,
                                struct err_text *et)
{
    if (q->tensor_type_count > TASK_GGUF_EXCEPTIONS_MAX)
        return error_set(et, ERR_LIMIT, "quantize.tensor_type: expected at most %d, found %zu",
                         TASK_GGUF_EXCEPTIONS_MAX, q->tensor_type_count);
    for (size_t i = 0; i < q->tensor_type_count; i++) {
        const char *pair = q->tensor_type[i];
        const char *equals = strrchr(pair, '=');
        struct convert_exception *e = &gguf->exceptions[i];
        if (equals == NULL || equals == pair)
            return error_set(et, ERR_RECIPE,
                             "quantize.tensor_type: expected pattern: type, found %s", pair);
        e->pattern = arena_copy_text(&gguf->arena, (struct text){pair, (size_t)(equals - pair)});
        if (e->pattern == NULL)
            return ERR_OUT_OF_MEMORY;
        TRY(read_format("tensor_type", equals + 1, &e->format, et));
    }
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
    TRY(read_format("output_tensor_type", q->output_tensor_type, &gguf->quantize.switches.head,
                    et));
    TRY(read_format("token_embedding_type", q->token_embedding_type,
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
    gguf->quantize.encoder = (struct convert_encoder){encode, decode, kernel};
    gguf->quantize.allow_requantize = run->recipe.quantize.allow_requantize;
    gguf->options = (struct convert_model_options){
        .name = arena_copy_text(&gguf->arena, name),
        .format = CONVERT_PLAN_KEEP,
        .decode = decode,
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

enum err task_gguf_check(const struct recipe *recipe, struct err_text *et)
{
    struct task_gguf gguf = {.form = NULL};
    arena_init(&gguf.arena, SIZE_MAX); /* the recipe's patterns */
    enum err err = read_scheme(&recipe->quantize, &gguf, et);
    task_gguf_close(&gguf);
    return err;
}
